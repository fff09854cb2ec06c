"""Codebooks of one size on one tensor, side by side: even, tabled and learned ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer.lessons.formats import format_comparison
from explorer.tensors import Subject
from quant_engine import (
    NF4,
    ErrorReport,
    IntFormat,
    KMeans,
    MinMax,
    MinMSE,
    Quantiles,
    QuantizerSpec,
    power_of_two,
)
from quant_engine.clipping import Clipping


@dataclass(frozen=True)
class CodebookCandidate:
    """A way to choose 2ᵇ codewords; `bits` are the widths that it can have."""

    key: str
    name: str
    spec: Callable[[int], QuantizerSpec]
    bits: range = range(1, 6)


def _even(bits: int, clipping: Clipping) -> QuantizerSpec:
    """Return integers whose range is free at both ends, so that none of their 2ᵇ levels has to lie beside the data."""
    return QuantizerSpec(IntFormat(bits, signed=False), symmetric=False, clipping=clipping)


UNIFORM = CodebookCandidate("uniform", "uniform", lambda bits: _even(bits, MinMax()))
CLIPPED = CodebookCandidate("clipped", "clipped uniform", lambda bits: _even(bits, MinMSE()))
OPTIMAL = CodebookCandidate("optimal", "k-means, optimal", lambda bits: QuantizerSpec(KMeans(1 << bits)))
CANDIDATES = (
    UNIFORM,
    CLIPPED,
    CodebookCandidate("quantiles", "quantiles", lambda bits: QuantizerSpec(Quantiles(1 << bits))),
    CodebookCandidate(
        "powers", "powers of two", lambda bits: QuantizerSpec(power_of_two(bits), clipping=MinMSE()), range(2, 6)
    ),
    CodebookCandidate("nf4", "NF4", lambda bits: QuantizerSpec(NF4, clipping=MinMSE()), range(4, 5)),
    OPTIMAL,
)


def entered(bits: int) -> dict[CodebookCandidate, QuantizerSpec]:
    """Return those that have this width, each with its spec."""
    return {candidate: candidate.spec(bits) for candidate in CANDIDATES if bits in candidate.bits}


def report(subject: Subject, candidate: CodebookCandidate, bits: int) -> ErrorReport:
    """Return what one of them loses on a tensor."""
    return format_comparison.report(subject, candidate.spec(bits))


def levels(subject: Subject, candidate: CodebookCandidate, bits: int) -> NDArray[np.float32]:
    """Return the codewords of one of them on a tensor."""
    return format_comparison.levels(subject, candidate.spec(bits))
