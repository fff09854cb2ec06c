"""Formats of equal width on one tensor: which loses least, and where the radix point is best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.lessons.formats.number_encodings import point_name
from explorer.tensors import Subject
from quant_engine import (
    E2M1,
    E4M3,
    E5M2,
    NF4,
    ErrorReport,
    FixedPointFormat,
    FloatFormat,
    IntFormat,
    MinMax,
    MinMSE,
    QuantizerSpec,
    fit,
    power_of_two,
)
from quant_engine.clipping import Clipping

RANGES: dict[str, Clipping] = {"min–max": MinMax(), "least MSE": MinMSE()}
OTHERS: Mapping[int, Mapping[str, tuple[str, Any]]] = {
    8: {
        "e4m3": ("E4M3", E4M3),
        "e5m2": ("E5M2", E5M2),
        "e3m4": ("E3M4", FloatFormat(3, 4, specials="none")),
    },
    4: {"e2m1": ("E2M1", E2M1), "nf4": ("NF4", NF4), "powers": ("powers of two", power_of_two(4))},
}


@dataclass(frozen=True)
class FormatCandidate:
    """A format in the contest: `key` names its feedback, `name` is shown."""

    key: str
    name: str
    format: Any

    def spec(self, clipping: str) -> QuantizerSpec:
        """Return its quantizer under a way to find the range; formats that are not scaled have but one."""
        return QuantizerSpec(self.format, clipping=RANGES[clipping] if self.format.scaled else MinMax())


def candidates(subject: Subject, bits: int) -> tuple[FormatCandidate, ...]:
    """Return the formats of a width; integers and fixed point spend no sign on a tensor without negative values."""
    signed = subject.statistics.lo < 0
    whole = FormatCandidate("int", f"{'' if signed else 'u'}int{bits}", IntFormat(bits, signed))
    point = best_point(subject, bits)
    fixed = FormatCandidate("fixed", f"fixed {point_name(point)}", point)
    others = (FormatCandidate(key, name, form) for key, (name, form) in OTHERS[bits].items())
    return (whole, *others, fixed)


def report(subject: Subject, spec: QuantizerSpec) -> ErrorReport:
    """Return what a spec loses on the tensor."""
    key = ResultKey("report", subject.key, spec)
    return compute.kept(key, lambda: fit(subject.values, spec).measure(subject.values))


def levels(subject: Subject, spec: QuantizerSpec) -> NDArray[np.float32]:
    """Return the values that a spec can stand for on the tensor."""
    return compute.kept(ResultKey("levels", subject.key, spec), lambda: fit(subject.values, spec).levels())


def from_place(subject: Subject, spec: QuantizerSpec, place: float) -> tuple[float, float]:
    """Return the share of the values whose magnitude is `place` or more, and theirs of the squared error."""

    def measured() -> tuple[float, float]:
        values = subject.values.astype(np.float64)
        squared = (fit(subject.values, spec).fake_quantize(subject.values) - values) ** 2
        far, total = np.abs(values) >= place, float(squared.sum())
        return float(far.mean()), float(squared[far].sum()) / total if total else 0.0

    return compute.kept(ResultKey("from_place", subject.key, spec, place), measured)


def losses(subject: Subject, bits: int, clipping: str) -> dict[FormatCandidate, ErrorReport]:
    """Return the error of every format, the least first."""
    found = {candidate: report(subject, candidate.spec(clipping)) for candidate in candidates(subject, bits)}
    return dict(sorted(found.items(), key=lambda pair: pair[1].mse))


def points(subject: Subject, bits: int) -> dict[FixedPointFormat, ErrorReport]:
    """Return the error of a fixed-point word with its point at every place."""
    signed = subject.statistics.lo < 0
    formats = [FixedPointFormat(bits - signed - n, n, signed) for n in range(bits - signed + 1)]
    return {form: report(subject, QuantizerSpec(form)) for form in formats}


def best_point(subject: Subject, bits: int) -> FixedPointFormat:
    """Return the place of the point that loses least."""
    found = points(subject, bits)
    return min(found, key=lambda form: found[form].mse)
