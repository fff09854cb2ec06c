"""What the engine's answers look like to figures and pages: plain frozen records of arrays and numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine import (
    Distribution,
    EditedRanges,
    ErrorReport,
    FixedRange,
    PerTensor,
    Quantizer,
    QuantizerSpec,
    Storage,
    measure,
)
from quant_engine.clipping import Blocks
from quant_engine.quantizer import ranges_of_blocks
from quant_engine.studies import encoded_counts

LARGE = 1 << 22  # values: from which on codes are counted, as thresholds are too slow for them
MAX_COUNTED_BITS = 16  # of codes that are counted one by one
ENCODE_ROUNDS = 3
MANY_VALUES, GROWTH = 1 << 20, 16  # values of which encoding is timed, and how a tensor grows to that
LONG_CALL = 0.05  # seconds: a thousand times what it costs to call at all
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
    code_counts: NDArray[np.int64] | None = None  # from the lowest code to the highest; not of vectors, nor wide codes

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
    chosen: tuple[float, float]  # the range before rounding the zero point moved it
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
    encode_ns: float


def encode_ns(values: NDArray[np.float32], quantizer: Quantizer) -> float:
    """Return the nanoseconds that encoding takes for each value: the least of a few times.

    A small tensor is repeated until there are a million values, or until a call takes so long that what it costs to
    call at all does not count.
    """
    shown, fitted = values, quantizer
    quantizer.encode(values)
    took = _encode_seconds(shown, fitted)
    while shown.size < MANY_VALUES and took < LONG_CALL:
        shown, fitted = repeated(values, quantizer, min(GROWTH * shown.size, MANY_VALUES))
        took = _encode_seconds(shown, fitted)
    return 1e9 * took / shown.size


def repeated(values: NDArray[np.float32], quantizer: Quantizer, min_size: int) -> tuple[NDArray[np.float32], Quantizer]:
    """Return a matrix repeated row after row until it has `min_size` values, and a quantizer of its blocks.

    The rows' scales are repeated with them, as far as blocks divide the rows; the time does not depend on them.
    """
    tall = np.tile(values, (-(-min_size // values.size), 1))
    rows = np.arange(quantizer.spec.granularity.blocks(tall.shape).grid[0]) % len(quantizer.scale)
    learned = quantizer.learned
    return tall, Quantizer(
        quantizer.spec,
        quantizer.scale[rows],
        quantizer.zero_point[rows],
        learned if learned is None or learned.ndim == VECTOR_BOOKS else learned[rows],
    )


def _encode_seconds(values: NDArray[np.float32], quantizer: Quantizer) -> float:
    """Return the least time of a few calls."""
    times = []
    for _ in range(ENCODE_ROUNDS):
        start = time.perf_counter()
        quantizer.encode(values)
        times.append(time.perf_counter() - start)
    return min(times)


def outcome_of(
    values: NDArray[np.float32],
    quantizer: Quantizer,
    report: ErrorReport | None = None,
    counts: NDArray[np.int64] | None = None,
) -> Outcome:
    """Quantize a tensor and say what that does; its `report`, and the `counts` of even codes, may be known."""
    spec = quantizer.spec
    form, learned = spec.format, quantizer.learned
    total = 1 << form.bits
    if learned is not None and learned.ndim == VECTOR_BOOKS:
        used, total = _codewords_used(quantizer.encode(values).codes, learned)
    elif form.bits > MAX_COUNTED_BITS:
        used = int(np.unique(quantizer.encode(values).codes).size)
    else:
        counts = encoded_counts(values, quantizer) if counts is None else counts
        used, total = int(np.count_nonzero(counts)), counts.size if form.even else total
    return Outcome(
        spec=spec,
        quantizer=quantizer,
        report=quantizer.measure(values) if report is None else report,
        storage=quantizer.storage(values.shape),
        codes_used=used,
        codes_total=total,
        code_counts=counts,
    )


def _codewords_used(codes: NDArray[Any], learned: NDArray[np.float32]) -> tuple[int, int]:
    """Return how many codes of vectors occur, and of how many, over all codebooks."""
    books = codes.reshape(-1, codes.shape[-1]).T
    return sum(int(np.unique(book).size) for book in books), len(books) * learned.shape[2]


def ends(quantizer: Quantizer, block: int = 0) -> tuple[float, float]:
    """Return the range that a block's levels stand for: of symmetric integers with a sign it is [−β, β]."""
    spec, levels = quantizer.spec, quantizer.levels(block)
    highest = float(levels[-1])
    mirrored = spec.format.even and spec.format.scaled and spec.symmetric and spec.format.lowest < 0
    return (-highest if mirrored else float(levels[0])), highest


def _chosen(blocks: Blocks, spec: QuantizerSpec, block: int) -> tuple[float, float]:
    """Return the asymmetric range that was chosen for one block, for which the zero point is then rounded."""
    clipping = spec.clipping
    if isinstance(clipping, EditedRanges):
        clipping = clipping.of_block(block)
    if isinstance(clipping, FixedRange) and isinstance(clipping.lo, tuple) and isinstance(clipping.hi, tuple):
        clipping = FixedRange(clipping.lo[block], clipping.hi[block])
    lo, hi = ranges_of_blocks(blocks, replace(spec, granularity=PerTensor(), clipping=clipping))[0]
    return float(lo), float(hi)


def view_of(
    values: NDArray[np.float32],
    quantizer: Quantizer,
    statistics: Distribution,
    block: int = 0,
    known: Blocks | None = None,
    outcome: Outcome | None = None,
) -> BlockView:
    """Return everything that is drawn of one block, whose `values` and `statistics` are given.

    `known`: what was found of this block's values; `outcome`: what became of the tensor of which it is a block.
    """
    spec, place = quantizer.spec, np.unravel_index(block, quantizer.scale.shape)
    lo, hi = ends(quantizer, block)
    blocks = known or Blocks(values.reshape(-1), PerTensor().blocks((values.size,)))
    return _view(
        values,
        statistics,
        quantizer.levels(block),
        quantizer.thresholds(block),
        None if outcome is None else _coded(outcome, values.size),
        lo=lo,
        hi=hi,
        scale=float(quantizer.scale[place]),
        zero_point=int(quantizer.zero_point[place]),
        chosen=(lo, hi) if spec.symmetric else _chosen(blocks, spec, block),
        first_code=spec.format.qmin if spec.format.even else 0,
    )


def stored_view(
    values: NDArray[np.float32], statistics: Distribution, levels: NDArray[np.float32], scale: float, zero_point: int
) -> BlockView:
    """Return everything that is drawn of a block whose ascending levels a file gives, thresholds in their middles."""
    middles = (0.5 * (levels[1:].astype(np.float64) + levels[:-1])).astype(np.float32)
    lo, hi = float(levels[0]), float(levels[-1])
    told = {"lo": lo, "hi": hi, "scale": scale, "zero_point": zero_point, "chosen": (lo, hi), "first_code": 0}
    return _view(values, statistics, levels, middles, None, **told)


def _view(
    values: NDArray[np.float32],
    statistics: Distribution,
    levels: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    known: tuple[NDArray[np.int64], ErrorReport] | None,
    **told: Any,
) -> BlockView:
    flat = values.reshape(-1)
    if known is None:
        buckets = np.searchsorted(thresholds, flat, side="right")
        counts = np.bincount(buckets, minlength=levels.size)
        error, report = statistics.error(levels), measure(flat, levels[buckets], (levels[0], levels[-1]))
    else:
        counts, report = known
        error = report.mse
    return BlockView(
        distribution=statistics,
        levels=levels,
        thresholds=thresholds,
        counts=counts,
        error=error,
        report=report,
        **told,
    )


def _coded(outcome: Outcome, size: int) -> tuple[NDArray[np.int64], ErrorReport] | None:
    """Return how many values lie in each bucket, and the error, of a large block that is a whole tensor; else None.

    Both are known from its codes. A search among thresholds takes ten times as long.
    """
    quantizer, counts = outcome.quantizer, outcome.code_counts
    if size < LARGE or size != outcome.report.count or quantizer.scale.size != 1 or counts is None:
        return None
    form, levels = outcome.spec.format, quantizer.levels()
    if form.even or form.learned:
        return counts[: levels.size], outcome.report
    found, held = np.zeros(levels.size, np.int64), np.flatnonzero(counts)
    np.add.at(found, np.searchsorted(form.values(), form.decode(held)), counts[held])  # −0 is counted with 0
    return found, outcome.report
