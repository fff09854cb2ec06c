"""Error against clipping value, with the way to the optimum."""

from __future__ import annotations

import streamlit as st

from explorer import charts, compute, controls, state
from explorer.figures.error_curve import describe_error_curve, error_curve_figure
from explorer.figures.theme import Canvas
from explorer.notation import short
from explorer.results import BlockView
from quant_engine import QuantizerSpec

CHART_KEY = "play_error_curve"


def clip_panel(model: str, layer: str, spec: QuantizerSpec, block: int, view: BlockView, canvas: Canvas) -> None:
    """Draw the curves of the block shown; a click on one sets β, a button goes to the least error."""
    curves = compute.clip_curves(model, layer, block, spec)
    if not curves:
        st.info("All values are 0: every clipping range gives them back exactly.")
        return
    bits = spec.format.bits
    arguments = curves, bits, view.hi, view.error
    figure = error_curve_figure(*arguments, view.distribution.sigma, canvas)
    charts.show(figure, CHART_KEY, describe_error_curve(*arguments), on_click=_clip_there)
    best = next(curve for curve in curves if curve.bits == bits)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Go to the least error",
            icon=":material/my_location:",
            on_click=controls.assign,
            args=({state.CLIPPING.key: "least MSE", state.LO.key: None, state.HI.key: None},),
            disabled=spec.clipping == state.LEAST_ERROR,
            help="Sets the clipping to least MSE.",
        )
        st.caption(
            f"✕ now {short(view.error)} at β = {short(view.hi)}; ● least {short(best.best_error)} at "
            f"β = {short(best.best_clip)}, {compute.improvement(view.error, best.best_error)}. "
            + (
                "Click the curve to set β."
                if spec.symmetric
                else "Curves shrink α and β together; ○ and ● have both free."
            ),
            width="stretch",
        )


def _clip_there() -> None:
    """Take over the clipping range of the point that was clicked (a callback)."""
    points = st.session_state[CHART_KEY].selection.points
    if points and "customdata" in points[0]:
        low, symmetric = points[0]["customdata"], st.session_state[state.SYMMETRY.key] == "symmetric"
        low = low[0] if isinstance(low, list) else low
        controls.assign(
            {state.CLIPPING.key: "by hand", state.LO.key: None if symmetric else low, state.HI.key: points[0]["x"]}
        )
