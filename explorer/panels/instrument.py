"""The instrument on the playground: the block shown, and what a hand on it sets."""

from __future__ import annotations

from explorer import charts, compute, controls
from explorer.instrument import Move, instrument
from explorer.instrument.setting import setting_of
from explorer.instrument.words import describe_curve, describe_values
from explorer.notation import improvement, short
from explorer.panels.settings import take_range
from explorer.playground_table import BITS
from explorer.results import BlockView
from explorer.sources import ModelKey
from explorer.state import PlaygroundState, found_by
from quant_engine import QuantizerSpec

KEY = "play_instrument"


def instrument_panel(
    model: ModelKey, layer: str, settings: PlaygroundState, spec: QuantizerSpec, block: int, view: BlockView
) -> None:
    """Draw the instrument for one block."""
    setting, name = setting_of(settings, spec, view), settings.format_name
    if settings.clips:
        min_error = compute.min_error(model, layer, block, spec)
        note = (
            f"✕ now {short(view.error)} at β = {short(view.hi)}; the least with {name} is {short(min_error)}, "
            f"{improvement(view.error, min_error)}. Press or drag on the curve to set β."
        )
        curve_alt = describe_curve(name, view, min_error)
    else:
        note = (
            f"Dashed: {name}, {short(view.error)}; it has no range to choose. The curves are integers under any range."
        )
        curve_alt = note
    instrument(
        KEY,
        compute.packed_statistics(model, layer, spec.granularity, block),
        setting,
        compute.marks(model, layer, block, spec, settings.methods) if settings.clips else (),
        _moved,
        unit="weight",
        alt=describe_values(view, "weight"),
        curve_alt=curve_alt,
        note=note,
        ink=charts.ink(),
        bits=BITS.ends if settings.kind.integer else (setting.bits, setting.bits),
    )


def _moved(move: Move) -> None:
    """Take over what a hand has set (a callback)."""
    settings = controls.now(PlaygroundState)
    if settings.kind.integer:
        controls.change(PlaygroundState, bits=move.bits)
    if move.method is not None:
        controls.change(PlaygroundState, **found_by(move.method))
    elif move.range is not None:
        lo, hi = move.range
        take_range(None if settings.symmetric else lo, hi, settings.clipping)
