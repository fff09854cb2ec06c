"""What a sweep has found, as matrices of tensors × specs: for figures, and for all tensors under a spec together."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer.sweep_specs import format_of, name_of
from quant_engine import QuantError, QuantizerSpec
from quant_engine.sweep import SweepTable

Matrix = NDArray[np.float64]
MEASURED = (
    "sqnr_db",
    "mse",
    "max_abs",
    "cosine",
    "clipped_share",
    "bits_per_value",
    "score_change",
    "damage",
    "seconds",
)


@dataclass(frozen=True, eq=False)
class SweepResults:
    """The cells of a sweep.

    Attributes:
        model: what it was called.
        tensors: their names, in the file's order.
        sizes: their numbers of values, (tensors,).
        specs: canonical texts, the fewest bits a value first.
        names: what each is called.
        formats: what its format is called.
        measured: by column, (tensors, specs); NaN where nothing was found.
        errors: what went wrong, by places of tensor and spec.
    """

    model: str
    tensors: tuple[str, ...]
    sizes: NDArray[np.int64]
    specs: tuple[str, ...]
    names: tuple[str, ...]
    formats: tuple[str, ...]
    measured: Mapping[str, Matrix]
    errors: Mapping[tuple[int, int], str]

    @property
    def bits(self) -> Matrix:
        """Bits a value of each spec, over all tensors that it was measured on, (specs,)."""
        return _weighted(self.measured["bits_per_value"], self.sizes, ~np.isnan(self.measured["bits_per_value"]))

    @property
    def found(self) -> tuple[str, ...]:
        """The columns in which anything was found."""
        return tuple(name for name in MEASURED if not np.isnan(self.measured[name]).all())

    def part(self, tensors: Sequence[int], specs: Sequence[int]) -> SweepResults:
        """Return the cells of some tensors and specs, by their places."""
        rows, columns = {old: new for new, old in enumerate(tensors)}, {old: new for new, old in enumerate(specs)}
        kept = {(rows[t], columns[s]): text for (t, s), text in self.errors.items() if t in rows and s in columns}
        return replace(
            self,
            tensors=tuple(self.tensors[place] for place in tensors),
            sizes=self.sizes[list(tensors)],
            specs=tuple(self.specs[place] for place in specs),
            names=tuple(self.names[place] for place in specs),
            formats=tuple(self.formats[place] for place in specs),
            measured={name: values[np.ix_(tensors, specs)] for name, values in self.measured.items()},
            errors=kept,
        )


@dataclass(frozen=True)
class SpecSummary:
    """All tensors under one spec, weighted by their number of values.

    Attributes:
        spec: its canonical text.
        bits_per_value: all that is stored, over all values.
        mse: the squared error over all values.
        sqnr_db: Σx² over Σe² of all values.
        tensors: how many are compared: those that every spec measured.
        failed: how many were not measured.
        on_front: whether no other spec has fewer bits and less error.
    """

    spec: str
    name: str
    bits_per_value: float
    mse: float
    sqnr_db: float
    tensors: int
    failed: int
    on_front: bool


def results_of(table: SweepTable) -> SweepResults:
    """Return the cells of a table.

    Raises:
        QuantError: for a table with a cell twice.
    """
    columns = table.columns
    tensors, specs = (list(dict.fromkeys(columns[name])) for name in ("tensor", "spec"))
    places = {name: place for place, name in enumerate(tensors)}, {text: place for place, text in enumerate(specs)}
    at = (
        np.array([places[0][name] for name in columns["tensor"]], np.int64),
        np.array([places[1][text] for text in columns["spec"]], np.int64),
    )
    if len(np.unique(at[0] * len(specs) + at[1])) < at[0].size:
        raise QuantError("the table has a cell twice; sweep anew, to another file")
    sizes = np.zeros(len(tensors), np.int64)
    np.maximum.at(sizes, at[0], np.array([size or 0 for size in columns["parameters"]], np.int64))
    measured = {}
    for name in MEASURED:
        measured[name] = np.full((len(tensors), len(specs)), np.nan)
        measured[name][at] = np.array([math.nan if one is None else one for one in columns[name]], np.float64)
    cells = zip(*at, columns["error_kind"], columns["error"], strict=True)
    errors = {(int(t), int(s)): str(text) for t, s, kind, text in cells if kind}
    model, read = str(table.plan.get("model", "")), [_read(text) for text in specs]
    names, formats = tuple(name for name, _ in read), tuple(form for _, form in read)
    whole = SweepResults(model, tuple(tensors), sizes, tuple(specs), names, formats, measured, errors)
    order = np.lexsort((np.arange(len(specs)), np.nan_to_num(whole.bits, nan=np.inf)))
    return whole.part(range(len(tensors)), order.tolist())


def chosen(shown: SweepResults, pattern: str, formats: Sequence[str], bits: tuple[float, float]) -> SweepResults:
    """Return the cells of some specs and of tensors with a text in their names, in which * and ? stand for others.

    No formats are all; `bits` are the ends of the bits a value.
    """
    wanted = f"*{pattern.strip().casefold()}*"
    tensors = [t for t, name in enumerate(shown.tensors) if fnmatch.fnmatchcase(name.casefold(), wanted)]
    specs = [
        s
        for s, (form, width) in enumerate(zip(shown.formats, shown.bits, strict=True))
        if (not formats or form in formats) and (math.isnan(width) or bits[0] <= width <= bits[1])
    ]
    return shown.part(tensors, specs)


def summaries(shown: SweepResults) -> list[SpecSummary]:
    """Return what each spec does to all tensors, the fewest bits first; specs that measured nothing are left out."""
    error, bits = shown.measured["mse"], shown.measured["bits_per_value"]
    known = ~np.isnan(error)
    some = known.any(axis=0)
    common = known[:, some].all(axis=1) if some.any() else np.zeros(len(shown.tensors), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        power = error * 10 ** (shown.measured["sqnr_db"] / 10)  # 0 · ∞ of what was lost nowhere tells nothing
    signal = np.where(np.isfinite(power), power, 0.0).max(axis=1, initial=0.0)
    found = []
    for place in np.flatnonzero(some):
        rows = common if common.any() else known[:, place]
        weights = shown.sizes[rows] / max(int(shown.sizes[rows].sum()), 1)
        mse, total = float(weights @ error[rows, place]), float(weights @ signal[rows])
        sqnr = 10 * math.log10(total / mse) if total > 0 and mse > 0 else math.inf
        about = int(rows.sum()), int((~known[:, place]).sum())
        width = float(weights @ bits[rows, place])
        found.append(SpecSummary(shown.specs[place], shown.names[place], width, mse, sqnr, *about, on_front=False))
    return _with_front(sorted(found, key=lambda one: (one.bits_per_value, one.mse)))


def _with_front(found: Sequence[SpecSummary]) -> list[SpecSummary]:
    """Mark those than which no other has fewer bits and less error."""
    best, marked = math.inf, []
    for one in found:
        marked.append(replace(one, on_front=one.mse < best))
        best = min(best, one.mse)
    return marked


def _weighted(values: Matrix, sizes: NDArray[np.int64], known: NDArray[np.bool_]) -> Matrix:
    weights = np.where(known, sizes[:, None], 0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Matrix = (np.where(known, values, 0.0) * weights).sum(axis=0) / weights.sum(axis=0)
    return found


def _read(text: str) -> tuple[str, str]:
    """Return what a spec and its format are called: the text itself where it is none."""
    try:
        spec: Any = QuantizerSpec.from_json(text)
    except QuantError:
        return text, text
    return name_of(spec), format_of(spec)
