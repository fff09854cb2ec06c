"""The playground's controls."""

from __future__ import annotations

import streamlit as st

from explorer import compute, controls, state
from explorer.numbers import short
from explorer.state import PlaygroundState
from quant_engine import QuantizerSpec

RANGE_MEMORY = "play_last_range"  # where the range last shown is kept for "by hand" to start from


def settings_panel(model: str, layer: str) -> PlaygroundState:
    """Draw the controls and return what they say."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        with st.container(width=220):
            controls.slider(state.BITS)
        controls.choice(state.SYMMETRY)
        signed = controls.choice(state.CODES) == "signed"
        controls.choice(state.LEVELS, disabled=not signed)
        granularity = controls.choice(state.GRANULARITY)
        if granularity == "channel group":
            with st.container(width=170):
                controls.whole_number(state.CHANNELS)
        if granularity == "sub-channel":
            with st.container(width=170):
                controls.whole_number(state.GROUP)
        clipping = controls.choice(state.CLIPPING, on_change=_start_by_hand)
        if clipping == "percentile":
            with st.container(width=170):
                controls.real_number(state.PERCENTILE, width=10.0)
        if clipping == "by hand":
            _range_fields(model, layer)
        st.button("Reset", icon=":material/restart_alt:", on_click=controls.reset, args=(state.PLAYGROUND_FIELDS,))
    shown = {
        field.key: st.session_state[field.key] for field in state.PLAYGROUND_FIELDS if field.key in st.session_state
    }
    return PlaygroundState.from_fields(shown)


def block_field(spec: QuantizerSpec, shape: tuple[int, ...]) -> int:
    """Draw the choice of the block shown, where there is more than one, and return it."""
    blocks = spec.granularity.blocks(shape).count
    if blocks == 1:
        return 0
    asked = st.query_params.get(state.BLOCK.key, "0")
    if asked.isdecimal() and int(asked) >= blocks:
        st.warning(f"Block {asked} does not exist here: there are blocks 0 to {blocks - 1}. Block 0 is shown.")
        st.session_state[state.BLOCK.key] = 0
    with st.container(width=200):
        return controls.whole_number(state.BLOCK, greatest=blocks - 1)


def remember_range(lo: float, hi: float) -> None:
    """Keep the range that is shown, for "by hand" to start from."""
    st.session_state[RANGE_MEMORY] = lo, hi


def _range_fields(model: str, layer: str) -> None:
    """Draw α and β; symmetric ranges have only β."""
    values = compute.matrix(model, layer)
    low, high = float(values.min()), float(values.max())
    if st.session_state[state.SYMMETRY.key] == "asymmetric":
        with st.container(width=170):
            controls.real_number(state.LO, width=high - low, placeholder=short(low))
    with st.container(width=170):
        controls.real_number(state.HI, width=high - low, placeholder=short(high))


def _start_by_hand() -> None:
    """On the change to "by hand", start from the range that was shown."""
    remembered = st.session_state.get(RANGE_MEMORY)
    if st.session_state[state.CLIPPING.key] == "by hand" and remembered is not None:
        controls.assign(dict(zip((state.LO.key, state.HI.key), remembered, strict=True)))
