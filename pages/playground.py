"""Playground: one real tensor, every setting, and what it does to buckets, error, size and accuracy."""

import streamlit as st

from explorer import compute, panels
from explorer.language import read_words
from explorer.panels.large import outcome_awaited
from explorer.panels.settings import block_field, remember_range
from explorer.presenting import presenting
from explorer.teaching.restrictions import answers_wait
from quant_engine import QuantError


@st.fragment
def playground() -> None:
    """Draw everything that answers the controls."""
    said = read_words("frame")
    try:
        model, layer, settings = panels.settings_panel()
        if settings.as_stored:
            panels.stored_panel(model, layer)
            return
        values = compute.matrix(model, layer)
        spec = settings.spec(*compute.value_range(model, layer))
        plan, others = settings.plans(spec)
        outcome_awaited(model, layer, settings, spec)
        with st.spinner(said["waiting"]["quantizing"]):
            result = compute.outcome(model, layer, spec)
    except QuantError as error:
        st.error(said["refusals"]["setting"].format(error=error), icon=":material/error:")
        return
    panels.stored_note(model, layer)
    if answers_wait():
        panels.waiting_panel(model, layer, settings, spec)
        return
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        accuracy = st.container(width="content")
        if not presenting():
            panels.metrics_panel(result)
    if settings.kind.scalar:
        block = block_field(spec.granularity.blocks(values.shape).count)
        view = compute.block_view(model, layer, spec, block)
        remember_range(view.lo, view.hi, settings.clipping)
        panels.instrument_panel(model, layer, settings, spec, block, view)
        panels.tensor_panel(model, layer, result)
        panels.formula_panel(spec, view)
        panels.code_panel(model, layer, plan, others, (block, view))
    else:
        panels.vectors_panel(model, layer, result)
        panels.tensor_panel(model, layer, result)
        panels.code_panel(model, layer, plan, others, None)
    with accuracy:
        panels.accuracy_panel(model, layer, plan, others)
    with st.container(key="play_compare"):
        panels.compare_panel(model, layer, settings)


playground()
