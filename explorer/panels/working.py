"""The working: formulas with the live numbers, and code that reproduces them."""

from __future__ import annotations

import streamlit as st

from explorer import compute, controls, formulas, frame
from explorer.notation import short
from explorer.panels.settings import COARSE_STEPS
from explorer.results import BlockView
from explorer.snippets import engine_code, numpy_code
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from quant_engine import LayerPlan, QuantizerSpec


def formula_panel(spec: QuantizerSpec, view: BlockView) -> None:
    """Write out how one value r gets its code and comes back: by S and Z, or by the nearest codeword."""
    steps = spec.format.even and spec.format.scaled
    with st.container(border=True, key="play_formula"):
        convention = frame.convention() if steps else None
        if convention:
            left, right = st.columns(2, vertical_alignment="center")
            left.latex(formulas.scale_formula(spec, view))
            right.latex(formulas.zero_point_formula(spec, view, convention))
        step = (view.hi - view.lo) / COARSE_STEPS or None
        typed = controls.show(PlaygroundState.fields()["value"], step=step, placeholder=short(view.example))
        r = view.example if typed is None else typed
        left, right = st.columns(2 if steps else [3, 2], vertical_alignment="center")
        if convention:
            left.latex(formulas.code_formula(spec, view, r, convention))
            right.latex(formulas.value_formula(view, r, convention))
            words = "Rounding takes the nearest integer, half to even; codes saturate at the ends of their range. "
            st.caption(words + convention.sentence)
        else:
            left.latex(formulas.nearest_formula(view, r))
            right.latex(formulas.codeword_formula(view, r))
            st.caption("The codewords c are the triangles under the histogram; each value goes to the nearest one.")


def code_panel(
    model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None, shown: tuple[int, BlockView] | None
) -> None:
    """Offer the code behind the picture: this layer's plan and that of the others, if it is another.

    `shown` is the block on display and its view, if it is one of scalars.
    """
    spec = plan.weight
    assert isinstance(spec, QuantizerSpec)
    with st.expander("Show the code", icon=":material/code:"):
        engine, plain = st.tabs(["quant_engine", "numpy"])
        engine.code(engine_code(compute.name(model), layer, plan, others), language="python")
        if shown is None:
            plain.caption("Vectors are looked up among learned codewords: see the lines of quant_engine.")
            return
        block, view = shown
        slices = spec.granularity.blocks(compute.matrix(model, layer).shape).slices(block)
        plain.code(numpy_code(compute.name(model), layer, spec, view, slices), language="python")
