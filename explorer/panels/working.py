"""The working: formulas with the live numbers, and code that reproduces them."""

from __future__ import annotations

import streamlit as st

from explorer import compute, controls, formulas, frame
from explorer.language import read_words
from explorer.notation import short
from explorer.panels.settings import COARSE_STEPS
from explorer.results import BlockView
from explorer.snippets import Origin, engine_code, numpy_code
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from quant_engine import LayerPlan, QuantizerSpec


def formula_panel(spec: QuantizerSpec, view: BlockView) -> None:
    """Write out how one value r gets its code and comes back: by S and Z, or by the nearest codeword."""
    steps, said = spec.format.even and spec.format.scaled, read_words("panels")["formula"]
    with st.container(border=True, key="play_formula"):
        with st.container(horizontal=True, vertical_alignment="bottom", key="play_formula_settings"):
            convention = frame.convention() if steps else None
            step = (view.hi - view.lo) / COARSE_STEPS or None
            typed = controls.show(PlaygroundState.fields()["value"], step=step, placeholder=short(view.example))
        r = view.example if typed is None else typed
        left, right = st.columns(2 if steps else [3, 2], vertical_alignment="center")
        if convention:
            code = formulas.code_formula(spec, view, r, convention)
            left.latex(formulas.stacked(formulas.scale_formula(spec, view), code))
            back = formulas.value_formula(view, r, convention)
            right.latex(formulas.stacked(formulas.zero_point_formula(spec, view, convention), back))
            st.caption(f"{said['rounding']} {convention.sentence}")
        else:
            left.latex(formulas.nearest_formula(view, r))
            right.latex(formulas.codeword_formula(view, r))
            st.caption(said["nearest"])


def code_panel(
    model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None, shown: tuple[int, BlockView] | None
) -> None:
    """Offer the code behind the picture: this layer's plan and that of the others, if it is another.

    `shown` is the block on display and its view, if it is one of scalars.
    """
    spec, said = plan.weight, read_words("panels")["code"]
    assert isinstance(spec, QuantizerSpec)
    code = st.expander(said["title"], key="play_code", icon=":material/code:", on_change="rerun")
    if not code.open:
        return
    info = compute.network(model).layers()[layer]
    origin = Origin(compute.name(model), layer, info.op == "tensor", len(info.shape) < 2)
    with code:
        engine, plain = st.tabs(["quant_engine", "numpy"])
        engine.code(engine_code(origin, plan, others), language="python")
        if shown is None:
            plain.caption(said["vectors"])
            return
        block, view = shown
        slices = spec.granularity.blocks(compute.matrix(model, layer).shape).slices(block)
        plain.code(numpy_code(origin, spec, view, slices), language="python")
