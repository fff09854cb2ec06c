"""Playground: one real tensor, every setting, and what it does to buckets, error, size and accuracy."""

import streamlit as st

from explorer import charts, compute, panels
from explorer.figures.buckets import bucket_figure, describe_buckets
from explorer.frame import selected
from explorer.panels.settings import block_field, remember_range
from quant_engine import QuantError


@st.fragment
def instrument() -> None:
    """Draw everything that answers the controls."""
    model, layer = selected()
    settings = panels.settings_panel(model, layer)
    values = compute.matrix(model, layer)
    try:
        spec = settings.spec(float(values.min()), float(values.max()))
        result = compute.outcome(model, layer, spec.key, spec)
    except QuantError as error:
        st.error(f"This setting cannot be used: {error}", icon=":material/error:")
        return
    figure_column, side_column = st.columns([0.57, 0.43], gap="medium")
    with figure_column:
        block = block_field(spec, values.shape)
        view = compute.block_view(model, layer, spec.key, block, spec)
        remember_range(view.lo, view.hi)
        canvas = charts.canvas(f"{model} {layer} {block}")
        charts.show(bucket_figure(view, "weight", canvas), "play_buckets", describe_buckets(view, "weight"))
    with side_column:
        accuracy = st.empty()
        panels.clip_panel(model, layer, spec, block, view, canvas)
        panels.metrics_panel(model, layer, result)
    panels.formula_panel(spec, view)
    panels.code_panel(model, layer, spec, block, view)
    panels.accuracy_panel(accuracy, model, layer, spec)


instrument()
