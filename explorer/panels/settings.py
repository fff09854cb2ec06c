"""The playground's controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer import compute, controls, frame
from explorer.fields import Number, Text
from explorer.language import read_words
from explorer.notices import still_said
from explorer.own_files import models
from explorer.panels.large import range_awaited
from explorer.panels.metrics import EXPLAINED
from explorer.sources import ModelKey
from explorer.state import PlaygroundState, found_by, set_by_hand
from explorer.stored import stored_of
from quant_engine import FixedRange

STORED_WIDTH = 118  # pixels of the tensor's menu
COARSE_STEPS = 100  # of a number field across the span of the values
RANGE_MEMORY = "play_last_range"  # where the range last shown is kept for "by hand" to start from
METHOD_MEMORY = "play_last_method"  # and the method that found it, for the other layers to keep


def settings_panel() -> tuple[ModelKey, str, PlaygroundState]:
    """Draw the choice of a tensor and the controls that the format heeds, and return what they say."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="play_settings"):
        with frame.menus("play_subject"):
            model, layer = frame.choose_tensor(**_narrow())
        if stored_of(model, layer) is not None and controls.show(PlaygroundState.fields()["as_stored"], help=None):
            return model, layer, _unshown()
        range_awaited(model, layer)
        low, high = compute.value_range(model, layer)
        span = high - low
        settings = _shown(controls.now(PlaygroundState), span, more=False)
        _help(settings, span)
    with (  # no popover: what it holds is not there while it is closed, and keeps what a callback has changed
        st.expander(_more(), key="play_more"),
        st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
    ):
        settings = _shown(settings, span, more=True)
        st.button(_said()["reset"], icon=":material/restart_alt:", on_click=controls.restore, args=(PlaygroundState(),))
    return model, layer, settings


def _narrow() -> dict[str, Any]:
    """Return the width of the tensor's menu where one more control stands in the row, full at 1280 pixels."""
    name = controls.current(frame.model_field())
    layer = controls.current(frame.tensor_field(name))
    return {} if stored_of(models().key(name), layer) is None else {"width": STORED_WIDTH}


def _unshown() -> PlaygroundState:
    """Keep what is set while none of it is shown, and return it."""
    for field in PlaygroundState.fields().values():
        if not field.apart and st.session_state.get(field.key, st.query_params.get(field.key)) is not None:
            controls.unshown(field)
    return controls.now(PlaygroundState)


def _help(settings: PlaygroundState, span: float) -> None:
    """Explain all settings that are shown, and the numbers."""
    explained = st.popover(
        "", icon=":material/help:", help=_said()["help"], width=44, key="play_help", on_change="rerun"
    )
    if not explained.open:
        return
    with explained:
        said = []
        for name, field in PlaygroundState.fields().items():
            if not isinstance(field, Text) and not field.apart and field.shown(settings):
                special = _special(name, settings, span)
                said.append(f"**{special.get('label', field.label)}.** {special.get('help') or field.help}")
        numbers = read_words("panels")["numbers"]
        said += [f"**{numbers[name]}.** {numbers[f'{name}_help']}" for name in EXPLAINED]
        st.markdown("\n\n".join(said))


def _shown(settings: PlaygroundState, span: float, more: bool) -> PlaygroundState:
    """Draw the controls of one of the two places, and return the settings with what they say."""
    for name, field in PlaygroundState.fields().items():
        if field.apart or field.more != more or not field.shown(settings):
            continue
        if isinstance(field, Number) and (limit := field.limit(settings)) is not None:
            controls.hold(field, limit)
        special = {**_special(name, settings, span), "help": None}
        settings = replace(settings, **{name: controls.show(field, disabled=field.disabled(settings), **special)})
    return settings


def _more() -> str:
    """Name what is set among the settings that are seldom changed, also where a link has just set it."""
    changed = []
    for field in (field for field in PlaygroundState.fields().values() if field.more):
        text = str(st.session_state.get(field.key, st.query_params.get(field.key, field.default)))
        if field.accepts(text) and field.parse(text) != field.default:
            changed.append(field.label)
    return _said()["more_set"].format(changed=", ".join(changed)) if changed else _said()["more"]


def _said() -> Mapping[str, str]:
    found: Mapping[str, str] = read_words("panels")["settings"]
    return found


def _special(name: str, settings: PlaygroundState, span: float) -> dict[str, Any]:
    """Return what the control of a field has here that its row does not say."""
    if name == "granularity" and not settings.kind.ranged:
        return {"label": _said()["codebook"], "help": _said()["codebook_help"]}
    if name == "clipping":
        return {"on_change": _clipping_changed}
    if name in ("lo", "hi"):
        empty = "−β" if name == "lo" and settings.symmetric else "auto"
        return {"step": span / COARSE_STEPS or None, "placeholder": empty, "on_change": _range_changed}
    return {}


def block_field(blocks: int, **special: Any) -> int:
    """Draw the choice of the block shown, where there is more than one, and return it."""
    if blocks == 1:
        return 0
    field = PlaygroundState.fields()["block"]
    asked = st.query_params.get(field.key, "0")
    said = []
    if asked.isdecimal() and int(asked) >= blocks:
        said = [_said()["no_block"].format(asked=asked, last=blocks - 1)]
        st.session_state[field.key] = 0
    for notice in still_said("block", said):
        st.warning(notice)
    return int(controls.show(field, max_value=blocks - 1, **special))


def remember_range(lo: float, hi: float, clipping: type[Any]) -> None:
    """Keep the range that is shown and what chose it, for "by hand" to start from."""
    st.session_state[RANGE_MEMORY], st.session_state[METHOD_MEMORY] = (lo, hi), clipping


def take_range(lo: float | None, hi: float | None, before: type[Any]) -> None:
    """Take a range by hand, in the place of the method that was chosen before (for callbacks)."""
    controls.change(PlaygroundState, **set_by_hand(lo, hi, before))


def _clipping_changed() -> None:
    """Start "by hand" from the range that was shown, and let the other methods find their own (a callback)."""
    settings = controls.now(PlaygroundState)
    if settings.clipping is not FixedRange:
        controls.change(PlaygroundState, **found_by(settings.word("clipping")))
        return
    lo, hi = st.session_state.get(RANGE_MEMORY, (None, None))
    take_range(None if settings.symmetric else lo, hi, st.session_state.get(METHOD_MEMORY, FixedRange))


def _range_changed() -> None:
    """Take a typed range (a callback)."""
    settings = controls.now(PlaygroundState)
    if settings.lo is not None or settings.hi is not None:
        take_range(settings.lo, settings.hi, settings.clipping)
