"""The instrument on the playground: the block shown, and what a hand on it sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from explorer import compute, controls
from explorer.instrument import Move, instrument
from explorer.instrument.setting import setting_of
from explorer.instrument.words import describe_curve
from explorer.language import read_words
from explorer.notation import improvement, short
from explorer.payloads import InstrumentSetting, Mark, Statistics
from explorer.playground_table import BITS
from explorer.results import BlockView
from explorer.sources import ModelKey
from explorer.state import PlaygroundState, found_by, set_by_hand
from quant_engine import QuantizerSpec

KEY = "play_instrument"


def changes(settings: PlaygroundState, move: Move) -> dict[str, Any]:
    """Return the attributes of a setting that a hand has changed."""
    width = {"bits": move.bits} if settings.kind.integer else {}
    if move.method is not None:
        return {**width, **found_by(move.method)}
    if move.range is None:
        return width
    lo, hi = move.range
    return {**width, **set_by_hand(None if settings.symmetric else lo, hi, settings.clipping)}


def _moved(move: Move) -> None:
    """Take over what a hand has set (a callback)."""
    controls.change(PlaygroundState, **changes(controls.now(PlaygroundState), move))


def instrument_panel(
    model: ModelKey,
    layer: str,
    settings: PlaygroundState,
    spec: QuantizerSpec,
    block: int,
    view: BlockView,
    key: str = KEY,
    on_move: Callable[[Move], None] = _moved,
    compact: bool = False,
    plain: bool = False,
    veiled: bool = False,
) -> None:
    """Draw the instrument for one block: a `plain` one in one column, a `compact` one its values and handles alone.

    A `veiled` one says nothing of errors, of codes in use, and of where the least error is.
    """
    setting = setting_of(settings, spec, view)
    draw_instrument(
        key,
        compute.packed_statistics(model, layer, spec.granularity, block),
        setting,
        compute.marks(model, layer, block, spec, settings.methods) if settings.clips else (),
        view,
        compute.min_error(model, layer, block, spec) if settings.clips else None,
        settings.format_name,
        on_move,
        unit="weight",
        bits=BITS.ends if settings.kind.integer and not controls.is_locked(BITS) else (setting.bits, setting.bits),
        plain=plain or compact,
        compact=compact,
        veiled=veiled,
    )


def draw_instrument(
    key: str,
    source: Statistics,
    setting: InstrumentSetting,
    marks: Sequence[Mark],
    view: BlockView,
    min_error: float | None,
    name: str,
    on_move: Callable[[Move], None],
    *,
    unit: str,
    bits: tuple[int, int],
    plain: bool = True,
    compact: bool = False,
    veiled: bool = False,
) -> None:
    """Draw the instrument over values of a kind; `min_error` is the least that any range gives, if there is one."""
    said = read_words("panels")["instrument"]
    if min_error is None:
        curve_alt = note = said["fixed"].format(name=name, error=short(view.error))
    else:
        told = {"least": short(min_error), "improvement": improvement(view.error, min_error)}
        note = said["range"].format(error=short(view.error), beta=short(view.hi), name=name, **told)
        curve_alt = describe_curve(name, view, min_error)
    instrument(
        key,
        source,
        setting,
        marks,
        on_move,
        view=view,
        unit=unit,
        curve_alt=curve_alt,
        note="" if veiled else note,
        bits=bits,
        plain=plain,
        compact=compact,
        veiled=veiled,
    )


def waiting_panel(model: ModelKey, layer: str, settings: PlaygroundState, spec: QuantizerSpec) -> None:
    """Draw the values, and nothing that would answer what a teacher asks of them."""
    st.caption(read_words("teach")["playing"]["answers_hidden"])
    if settings.kind.scalar:
        view = compute.block_view(model, layer, spec, 0)
        instrument_panel(model, layer, settings, spec, 0, view, veiled=True)
