"""The playground's controls."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from explorer import compute, controls, state
from explorer.fields import Choice
from explorer.number_formats import FORMAT, KINDS, LIMITS, SCALES, Kind
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from quant_engine import QuantizerSpec

BITS_WIDTH = 130
FORMAT_WIDTH = 150
FIELD_WIDTH = 96
NUMBER_WIDTH = 124
CODEBOOKS = replace(
    state.GRANULARITY,
    label="One codebook for each",
    help="Which values share learned codewords: the whole tensor, some output channels, one, or a run inside one.",
)
RANGE_MEMORY = "play_last_range"  # where the range last shown is kept for "by hand" to start from
METHOD_MEMORY = "play_last_method"  # and the method that found it, for the other layers to keep


def settings_panel(model: ModelKey, layer: str) -> PlaygroundState:
    """Draw the controls that the format heeds, and return what they say."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        with st.container(width=FORMAT_WIDTH):
            kind = KINDS[controls.menu(FORMAT)]
        _format_fields(kind)
        granularity = state.GRANULARITY.default
        if _settings().grouped:
            granularity = controls.choice(state.GRANULARITY if kind.ranged else CODEBOOKS)
        symmetric = not kind.integer or controls.choice(state.SYMMETRY) == "symmetric"
        if _menu(state.ACTIVATIONS) != state.ACTIVATIONS.default:
            _menu(state.CALIBRATION)
        settings = _settings()
        clipping = controls.choice(state.CLIPPING, on_change=_clipping_changed) if settings.clips else ""
        _more(granularity, clipping)
        if kind.integer:
            signed = _menu(state.CODES) == "signed"
            _menu(state.LEVELS, disabled=not signed)
        if settings.clips:
            _range_fields(model, layer, symmetric)
            if clipping == state.BY_HAND:
                with st.container(width=NUMBER_WIDTH):
                    controls.menu(state.OTHERS)
            if granularity != state.GRANULARITY.default or settings.scales != SCALES.default:
                _menu(SCALES)
        st.button("Reset", icon=":material/restart_alt:", on_click=controls.reset, args=(state.PLAYGROUND_FIELDS,))
    return _settings()


def _settings() -> PlaygroundState:
    """Return what the controls say."""
    keys = [field.key for field in state.PLAYGROUND_FIELDS if field.key in st.session_state]
    return PlaygroundState.from_fields({key: st.session_state[key] for key in keys})


def _format_fields(kind: Kind) -> None:
    """Draw what a kind of format leaves to choose."""
    if kind.most_bits is not None:
        controls.hold(state.BITS, kind.most_bits)
        with st.container(width=BITS_WIDTH):
            controls.slider(state.BITS)
    for field in kind.fields:
        if isinstance(field, Choice):
            _menu(field)
        else:
            if field.key in LIMITS:
                controls.hold(field, LIMITS[field.key](_settings()))
            with st.container(width=NUMBER_WIDTH):
                controls.whole_number(field)


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


def remember_range(lo: float, hi: float, clipping: str) -> None:
    """Keep the range that is shown and what chose it, for "by hand" to start from."""
    st.session_state[RANGE_MEMORY], st.session_state[METHOD_MEMORY] = (lo, hi), clipping


def _menu(field: Choice, disabled: bool = False) -> str:
    with st.container(width=FIELD_WIDTH):
        return controls.menu(field, disabled)


def _more(granularity: str, clipping: str) -> None:
    """Draw the number that goes with a choice."""
    for number in state.SIZES.get(granularity, ()):
        with st.container(width=NUMBER_WIDTH):
            controls.whole_number(number)
    if clipping == "percentile":
        with st.container(width=NUMBER_WIDTH):
            controls.real_number(state.PERCENTILE, width=10.0)


def _range_fields(model: ModelKey, layer: str, symmetric: bool) -> None:
    """Draw α and β; a number typed into one makes the clipping "by hand"."""
    values = compute.matrix(model, layer)
    span = float(values.max() - values.min())
    with st.container(width=FIELD_WIDTH):
        controls.real_number(
            state.LO, span, "−β" if symmetric else "auto", disabled=symmetric, on_change=_range_changed
        )
    with st.container(width=FIELD_WIDTH):
        controls.real_number(state.HI, span, "auto", on_change=_range_changed)


def take_range(lo: float | None, hi: float | None, before: str) -> None:
    """Take a range by hand, in the place of the method that was chosen before (for callbacks)."""
    controls.assign(state.set_by_hand(lo, hi, before))
    controls.address(state.OTHERS)


def _clipping_changed() -> None:
    """Start "by hand" from the range that was shown, and let the other methods find their own (a callback)."""
    method = st.session_state[state.CLIPPING.key]
    if method != state.BY_HAND:
        controls.assign(state.found_by(method))
        return
    lo, hi = st.session_state.get(RANGE_MEMORY, (None, None))
    symmetric = st.session_state.get(state.SYMMETRY.key, "symmetric") == "symmetric"
    before = st.session_state.get(METHOD_MEMORY, state.BY_HAND)
    take_range(None if symmetric else lo, hi, before)


def _range_changed() -> None:
    """Take a typed range (a callback)."""
    lo, hi = (st.session_state[field.key] for field in (state.LO, state.HI))
    if lo is not None or hi is not None:
        take_range(lo, hi, st.session_state[state.CLIPPING.key])
