"""The working: formulas with the live numbers, and code that reproduces them."""

from __future__ import annotations

import streamlit as st

from explorer import compute, controls, formulas, state
from explorer.formulas import Convention
from explorer.notation import short
from explorer.results import BlockView
from explorer.snippets import engine_code, numpy_code
from quant_engine import LayerPlan, QuantizerSpec


def formula_panel(spec: QuantizerSpec, view: BlockView, convention: Convention) -> None:
    """Write out S, Z and Q(r) for one value r."""
    with st.container(border=True):
        left, right = st.columns(2, vertical_alignment="center")
        left.latex(formulas.scale_formula(spec, view))
        right.latex(formulas.zero_point_formula(spec, view, convention))
        with st.container(width=170):
            typed = controls.real_number(state.VALUE, width=view.hi - view.lo, placeholder=short(view.example))
        r = view.example if typed is None else typed
        left, right = st.columns(2, vertical_alignment="center")
        left.latex(formulas.code_formula(spec, view, r, convention))
        right.latex(formulas.value_formula(view, r, convention))
        st.caption(
            "Rounding takes the nearest integer, half to even; codes saturate at the ends of their range. "
            + convention.sentence
        )


def code_panel(model: str, layer: str, spec: QuantizerSpec, plan: LayerPlan, block: int, view: BlockView) -> None:
    """Offer the code behind the picture."""
    with st.expander("Show the code", icon=":material/code:"):
        engine, plain = st.tabs(["quant_engine", "numpy"])
        engine.code(engine_code(model, layer, spec, plan), language="python")
        slices = spec.granularity.blocks(compute.matrix(model, layer).shape).slices(block)
        plain.code(numpy_code(model, layer, view, slices), language="python")
