"""What a sweep has found, for figures and tables: all tensors under a spec together, and each by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from explorer.sweep_specs import name_of
from quant_engine import QuantError, QuantizerSpec

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SpecSummary:
    """All tensors under one spec, weighted by their number of values.

    Attributes:
        spec: its canonical text.
        bits_per_value: all that is stored, over all values.
        mse: the squared error over all values.
        sqnr_db: Σx² over Σe² of all values.
        tensors: how many were measured.
        failed: how many were not.
        on_front: whether no other spec has fewer bits and less error.
    """

    spec: str
    name: str
    bits_per_value: float
    mse: float
    sqnr_db: float
    tensors: int
    failed: int
    on_front: bool = False


def summaries(rows: Iterable[Row]) -> list[SpecSummary]:
    """Return what each spec does to all tensors, the fewest bits first; specs that measured nothing are left out.

    Only tensors that every spec measured are compared, where there are such.
    """
    by_spec: dict[str, list[Row]] = {}
    for row in rows:
        by_spec.setdefault(row["spec"], []).append(row)
    measured = {spec: {row["tensor"] for row in found if not row["error_kind"]} for spec, found in by_spec.items()}
    common = set.intersection(*(names for names in measured.values() if names)) if any(measured.values()) else set()
    found = [
        _summary(spec, [row for row in held if row["tensor"] in (common or measured[spec])], held)
        for spec, held in by_spec.items()
        if measured[spec]
    ]
    found.sort(key=lambda one: (one.bits_per_value, one.mse))
    return _with_front(found)


def _summary(spec: str, rows: Sequence[Row], held: Sequence[Row]) -> SpecSummary:
    values = sum(row["parameters"] for row in rows)
    error = math.fsum(row["mse"] * row["parameters"] for row in rows)
    power = math.fsum(signal(row) * row["parameters"] for row in rows)
    return SpecSummary(
        spec,
        spec_name(spec),
        math.fsum(row["bits_per_value"] * row["parameters"] for row in rows) / values,
        error / values,
        10 * math.log10(power / error) if error > 0 and power > 0 else math.inf,
        len(rows),
        sum(bool(row["error_kind"]) for row in held),
    )


def signal(row: Row) -> float:
    """Return a tensor's mean square: MSE · 10^(SQNR/10); 0 where nothing was lost, which tells nothing of it."""
    return float(row["mse"] * 10 ** (row["sqnr_db"] / 10)) if math.isfinite(row["sqnr_db"]) else 0.0


def _with_front(found: Sequence[SpecSummary]) -> list[SpecSummary]:
    """Mark those than which no other has fewer bits and less error."""
    best, marked = math.inf, []
    for one in found:
        marked.append(SpecSummary(**{**vars(one), "on_front": one.mse < best}))
        best = min(best, one.mse)
    return marked


def spec_name(text: str) -> str:
    """Return what the spec of a canonical text is called; the text itself where it says none."""
    try:
        return name_of(QuantizerSpec.from_json(text))
    except QuantError:
        return text
