"""The instrument on the playground: the block shown, and what a hand on it sets."""

from __future__ import annotations

import streamlit as st

from explorer import charts, compute, controls, state
from explorer.instrument import Move, Setting, instrument
from explorer.instrument.words import describe_curve, describe_values
from explorer.notation import short
from explorer.results import BlockView
from explorer.state import PlaygroundState
from quant_engine import QuantizerSpec

KEY = "play_instrument"


def instrument_panel(
    model: str, layer: str, settings: PlaygroundState, spec: QuantizerSpec, block: int, view: BlockView
) -> None:
    """Draw the instrument for one block."""
    least = compute.least_error(model, layer, block, spec)
    form, (lo, hi) = spec.format, settings.asked_range(spec) or (view.lo, view.hi)
    instrument(
        KEY,
        compute.packed_statistics(model, layer, spec.granularity.to_json(), block, spec),
        Setting(form.bits, form.signed, form.narrow, spec.symmetric, lo, hi),
        compute.marks(model, layer, block, spec, settings.methods),
        _moved,
        unit="weight",
        alt=describe_values(view, "weight"),
        curve_alt=describe_curve(form.bits, view, least),
        note=f"✕ now {short(view.error)} at β = {short(view.hi)}; the least at {form.bits} bits is {short(least)}, "
        f"{compute.improvement(view.error, least)}. Press or drag on the curve to set β.",
        ink=charts.ink(),
    )


def _moved(move: Move) -> None:
    """Take over what a hand has set (a callback)."""
    values: dict[str, object] = {state.BITS.key: move.bits}
    if move.method is not None:
        values |= state.found_by(move.method)
    elif move.range is not None:
        lo, hi = move.range
        symmetric = st.session_state[state.SYMMETRY.key] == "symmetric"
        values |= {state.CLIPPING.key: "by hand", state.LO.key: None if symmetric else lo, state.HI.key: hi}
    controls.assign(values)
