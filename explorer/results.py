"""What the engine's answers look like to figures and pages: plain frozen records of arrays and numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine import Distribution, ErrorReport, Quantizer, QuantizerSpec, Storage, measure

ENCODE_ROUNDS = 5
VECTOR_BOOKS = 4  # axes of the codebooks of vectors: stages, parts, codewords, values


@dataclass(frozen=True)
class Outcome:
    """What one spec does to one tensor."""

    spec: QuantizerSpec
    quantizer: Quantizer
    report: ErrorReport
    storage: Storage
    codes_used: int
    codes_total: int

    @property
    def largest_scale(self) -> float:
        """The largest scale of all blocks."""
        return float(self.quantizer.scale.max())


@dataclass(frozen=True)
class BlockView:
    """One block of a tensor: its values' statistics, its levels, and how often each code is used."""

    distribution: Distribution
    lo: float
    hi: float
    scale: float
    zero_point: int
    first_code: int
    levels: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    counts: NDArray[np.int64]
    error: float
    report: ErrorReport

    @property
    def example(self) -> float:
        """A value of the block's own size to follow through the formulas: its standard deviation, two figures long."""
        sigma = self.distribution.sigma or abs(self.distribution.hi)
        return float(f"{sigma:.2g}")


@dataclass(frozen=True)
class Compared:
    """One of several settings side by side, on one tensor: where its values come back, how far off, how fast."""

    name: str
    outcome: Outcome
    returned: NDArray[np.int64]
    errors: NDArray[np.int64]
    encode_seconds: float


def encode_seconds(values: NDArray[np.float32], quantizer: Quantizer) -> float:
    """Return how long it takes to encode a tensor: the least of a few times, after one that does not count."""
    quantizer.encode(values)
    times = []
    for _ in range(ENCODE_ROUNDS):
        start = time.perf_counter()
        quantizer.encode(values)
        times.append(time.perf_counter() - start)
    return min(times)


def outcome_of(values: NDArray[np.float32], quantizer: Quantizer) -> Outcome:
    """Quantize a tensor and say what that does."""
    spec = quantizer.spec
    codes = quantizer.encode(values).codes
    used, total = _codes_used(codes, quantizer)
    return Outcome(
        spec=spec,
        quantizer=quantizer,
        report=quantizer.measure(values),
        storage=quantizer.storage(values.shape),
        codes_used=used,
        codes_total=total,
    )


def _codes_used(codes: NDArray[Any], quantizer: Quantizer) -> tuple[int, int]:
    """Return how many codes occur, and of how many: of vectors, over all codebooks."""
    form, learned = quantizer.spec.format, quantizer.learned
    if learned is not None and learned.ndim == VECTOR_BOOKS:
        books = codes.reshape(-1, codes.shape[-1]).T
        return sum(int(np.unique(book).size) for book in books), len(books) * learned.shape[2]
    return int(np.unique(codes).size), form.qmax - form.qmin + 1 if form.even else 1 << form.bits


def ends(quantizer: Quantizer, block: int = 0) -> tuple[float, float]:
    """Return the range that a block's levels stand for: of symmetric integers with a sign it is [−β, β]."""
    spec, levels = quantizer.spec, quantizer.levels(block)
    highest = float(levels[-1])
    mirrored = spec.format.even and spec.format.scaled and spec.symmetric and spec.format.lowest < 0
    return (-highest if mirrored else float(levels[0])), highest


def view_of(values: NDArray[np.float32], quantizer: Quantizer, statistics: Distribution, block: int = 0) -> BlockView:
    """Return everything that is drawn of one block, whose `values` and `statistics` are given."""
    spec, place = quantizer.spec, np.unravel_index(block, quantizer.scale.shape)
    levels, thresholds = quantizer.levels(block), quantizer.thresholds(block)
    flat = values.reshape(-1)
    buckets = np.searchsorted(thresholds, flat, side="right")
    lo, hi = ends(quantizer, block)
    return BlockView(
        distribution=statistics,
        lo=lo,
        hi=hi,
        scale=float(quantizer.scale[place]),
        zero_point=int(quantizer.zero_point[place]),
        first_code=spec.format.qmin if spec.format.even else 0,
        levels=levels,
        thresholds=thresholds,
        counts=np.bincount(buckets, minlength=levels.size),
        error=statistics.error(levels),
        report=measure(flat, levels[buckets], (levels[0], levels[-1])),
    )
