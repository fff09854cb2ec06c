"""What the file stores of a tensor on the playground: its codes' levels over its values, block by block."""

from __future__ import annotations

import streamlit as st

from explorer import controls
from explorer.instrument import Move, instrument
from explorer.instrument.setting import levels_setting
from explorer.language import read_words
from explorer.notation import short
from explorer.panels.settings import block_field
from explorer.sources import ModelKey
from explorer.stored import as_settings, description, numbers, stored_block, stored_of

KEY = "play_stored_instrument"


def stored_note(model: ModelKey, layer: str) -> None:
    """Say that a tensor is already quantized, where it is."""
    stored = stored_of(model, layer)
    if stored is not None:
        said = read_words("stored")
        st.caption(f"{description(stored)} {said['over' if stored.read is None else 'requantizes']}")


def stored_panel(model: ModelKey, layer: str) -> None:
    """Draw a block's stored levels over its values, with the numbers that the file has for it."""
    stored, said = stored_of(model, layer), read_words("stored")
    assert stored is not None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="stored_row"):
        block = block_field(stored.blocks)
        settings = as_settings(stored)
        if settings is not None:
            st.button(
                said["set"], icon=":material/tune:", on_click=controls.restore, args=(settings,), help=said["set_help"]
            )
        st.markdown(description(stored), width="stretch")
    shown = stored_block(model, layer, stored, block)
    view, beside = shown.view, stored.read is None
    st.markdown(numbers(stored, block, view))
    instrument(
        KEY,
        shown.packed,
        levels_setting(stored.bits, stored.name, (view.lo, view.hi), view),
        (),
        _ignored,
        view=view,
        unit="weight",
        curve_alt=said["curve"].format(name=stored.name, error=short(view.error)),
        note=said["note"].format(name=stored.name, error=short(view.error)),
        bits=(stored.bits, stored.bits),
        plain=not beside,
        hint=said["hint"],
    )


def _ignored(move: Move) -> None:
    """Leave what is stored as it is."""
