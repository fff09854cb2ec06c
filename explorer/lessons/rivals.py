"""Codebooks of one size on one tensor, side by side: even, tabled and learned ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer.lessons import contest
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
class Rival:
    """A way to choose 2ᵇ codewords; `bits` are the widths that it can have."""

    key: str
    name: str
    spec: Callable[[int], QuantizerSpec]
    bits: range = range(1, 6)


def _even(bits: int, clipping: Clipping) -> QuantizerSpec:
    """Return integers whose range is free at both ends, so that none of their 2ᵇ levels has to lie beside the data."""
    return QuantizerSpec(IntFormat(bits, signed=False), symmetric=False, clipping=clipping)


UNIFORM = Rival("uniform", "uniform", lambda bits: _even(bits, MinMax()))
CLIPPED = Rival("clipped", "clipped uniform", lambda bits: _even(bits, MinMSE()))
OPTIMAL = Rival("optimal", "k-means, optimal", lambda bits: QuantizerSpec(KMeans(1 << bits)))
RIVALS = (
    UNIFORM,
    CLIPPED,
    Rival("quantiles", "quantiles", lambda bits: QuantizerSpec(Quantiles(1 << bits))),
    Rival("powers", "powers of two", lambda bits: QuantizerSpec(power_of_two(bits), clipping=MinMSE()), range(2, 6)),
    Rival("nf4", "NF4", lambda bits: QuantizerSpec(NF4, clipping=MinMSE()), range(4, 5)),
    OPTIMAL,
)


def entered(bits: int) -> dict[Rival, QuantizerSpec]:
    """Return those that have this width, each with its spec."""
    return {rival: rival.spec(bits) for rival in RIVALS if bits in rival.bits}


def report(subject: Subject, rival: Rival, bits: int) -> ErrorReport:
    """Return what one of them loses on a tensor."""
    return contest.report(subject, rival.spec(bits))


def levels(subject: Subject, rival: Rival, bits: int) -> NDArray[np.float32]:
    """Return the codewords of one of them on a tensor."""
    return contest.levels(subject, rival.spec(bits))
