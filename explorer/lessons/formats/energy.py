"""The table of a lesson that says what formats cost: bytes, multiplying and moving, all of it estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explorer import compute
from explorer.caches import ResultKey
from explorer.notation import short, size
from explorer.sources import ModelKey
from quant_engine import BF16, E2M1, E4M3, FP16, FP32, IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.energy import Energy, accumulate_energy, move_energy, multiply_energy
from quant_engine.studies import Footprint, footprint

FORMATS: Mapping[str, Any] = {
    "FP32": FP32,
    "FP16": FP16,
    "BF16": BF16,
    "E4M3": E4M3,
    "int16": IntFormat(16),
    "int8": IntFormat(8),
    "E2M1": E2M1,
    "int4": IntFormat(4),
}
PICO_IN_MICRO = 1e6
MARKS = {"measured": "", "interpolated": " ᵇ", "extrapolated": " ᵃ"}


def energy_table(model: ModelKey, words: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a row for each format, as what every weight and activation of the network is in."""
    rows = []
    for name, form in FORMATS.items():
        found = whole(model, name)
        rows.append(
            {
                words["energy_format"]: name,
                words["energy_arithmetic"]: f"{written(multiply_energy(form))} + {written(accumulate_energy(form))}",
                words["energy_move"]: written(move_energy(form.bits)),
                words["energy_weights"]: size(found.size_bytes),
                words["energy_whole"].format(unit=compute.sample_unit(model)): " + ".join(
                    written(part * (1 / PICO_IN_MICRO)) for part in (found.compute, found.move)
                ),
            }
        )
    return rows


def whole(model: ModelKey, name: str) -> Footprint:
    """Return the footprint of a network with everything in one format."""
    return compute.kept(ResultKey("footprint", model, name), lambda: _whole(model, FORMATS[name]))


def _whole(model: ModelKey, form: Any) -> Footprint:
    network, spec = compute.network(model), QuantizerSpec(form)
    return footprint(network, QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(spec, spec))))


def written(energy: Energy) -> str:
    """Write an estimate, as a range where it is one, marked where it is not measured.

    >>> written(Energy(162.5, 325.0, "measured")), written(Energy(0.051, 0.051, "extrapolated"))
    ('162–325', '0.051 ᵃ')
    """
    ends = short(energy.low) if energy.low == energy.high else f"{short(energy.low)}–{short(energy.high)}"
    return ends + MARKS[energy.basis]
