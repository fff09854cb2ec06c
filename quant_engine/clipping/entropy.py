"""Entropy calibration: the range whose quantized histogram tells most of the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_integer
from quant_engine.clipping.base import Blocks, Objective, covered
from quant_engine.distribution import UniformFormat, WeightedValues
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import direct
from quant_engine.kernels.entropy import divergences
from quant_engine.kernels.parallel import over_ranges
from quant_engine.records import Record

SMOOTHING = 1e-4  # what an empty bin counts, so that no logarithm is of 0
LOGARITHM_COST = 4  # in values read
Counter = Callable[[int, float, float], Float64Array]


@final
@dataclass(frozen=True)
class MinKL(Record):
    """The range with the least Kullback–Leibler divergence of its quantized histogram from the histogram.

    The histogram has `bins` equal bins from −max|x| to max|x| if symmetric, from 0 to the greatest value for symmetric
    ranges of unsigned codes, and from the least to the greatest value, widened to hold 0, if asymmetric. Where it ends
    at 0, values at and beyond 0 are left out, since any candidate takes them to 0.

    Candidates are the bin that holds 0 with i bins to either side, as far as there are any, for every i that gives at
    least `quantized_bins` bins. P is a candidate's bins, what lies outside counted to the outermost; Q joins runs of
    ⌊bins / quantized_bins⌋ of them, without what lies outside, and gives each bin its run's count over the number of
    filled bins; KL = Σ P log(P/Q), both normalised. Empty bins of either count 1e-4, which the filled ones give. The
    bins left over after the last run are joined to it, but Q is empty there. So are the candidates of onnxruntime,
    which however truncates Q to whole counts.

    `quantized_bins=None` takes as many as the format has codes. Where these are not fewer than `bins`, or Q is empty
    for every candidate, the histogram cannot tell, and the range is that of `MinMax`. The time goes with bins² for each
    block (5 ms at 2,048).

    Raises:
        QuantError: for bins outside 2 to 65,536, or quantized bins outside 2 to `bins`.

    Source: Migacz, 8-bit inference with TensorRT (GTC 2017).
    """

    bins: int = 2048
    quantized_bins: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        limit = 1 << 16
        for name in ("bins", "quantized_bins"):
            value = getattr(self, name)
            if name == "quantized_bins" and value is None:
                continue
            limit = as_integer(value, name, 2, limit)
            object.__setattr__(self, name, limit)

    def ranges(self, blocks: Blocks, format: UniformFormat, symmetric: bool) -> Float64Array:
        """Search every block."""
        found = [
            self._search(float(lo), float(hi), _counter(blocks, block), format, symmetric).best
            for block, (lo, hi) in zip(blocks.each(), blocks.extremes, strict=True)
        ]
        return np.array(found)

    def range_of(self, values: WeightedValues, format: UniformFormat, symmetric: bool) -> tuple[float, float]:
        """Search a histogram of the values."""
        return self._search(values.lo, values.hi, _weighted_counter(values), format, symmetric).best

    def objective(self, values: WeightedValues, format: UniformFormat, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return the divergence of the candidate nearest to each range, in nats."""
        search = self._search(values.lo, values.hi, _weighted_counter(values), format, symmetric)
        return Objective("KL divergence", "nats", search.nearest(covered(ranges, format, symmetric)))

    def _search(self, lo: float, hi: float, count: Counter, format: UniformFormat, symmetric: bool) -> _Search:
        levels = format.qmax - format.qmin + 1 if self.quantized_bins is None else self.quantized_bins
        low, high = (
            covered([[lo, hi]], format, symmetric)[0] if format.qmin < 0 or not symmetric else (0.0, max(hi, 0.0))
        )
        if low == high or levels >= self.bins:
            return _Search(format, symmetric, np.array([[lo, hi]]), np.zeros(1))
        counts = count(self.bins, low, high)
        edges = np.linspace(low, high, self.bins + 1)
        zero = min(int(-low / (high - low) * self.bins), self.bins - 1)
        reach = np.arange(max(zero, self.bins - 1 - zero) + 1)
        first, last = np.maximum(zero - reach, 0), np.minimum(zero + reach + 1, self.bins)
        min_bins = int(np.argmax(last - first >= levels))
        found = np.empty(reach.size - min_bins)
        over_ranges(
            found.size,
            lambda a, b: divergences(counts, zero, levels, SMOOTHING, min_bins, a, b, found),
            cost=LOGARITHM_COST * found.size * self.bins,
        )
        if not np.isfinite(found).any():
            return _Search(format, symmetric, np.array([[lo, hi]]), np.zeros(1))
        ends = np.stack([edges[first[min_bins:]], edges[last[min_bins:]]], axis=1)
        return _Search(format, symmetric, np.clip(ends, lo if low < 0.0 else 0.0, hi), found)


@dataclass(frozen=True, eq=False)
class _Search:
    """Candidate ranges (n, 2) and their divergences (n,)."""

    format: UniformFormat
    symmetric: bool
    ranges: Float64Array
    divergences: Float64Array

    @property
    def best(self) -> tuple[float, float]:
        lo, hi = self.ranges[np.argmin(self.divergences)]
        return float(lo), float(hi)

    def nearest(self, ranges: Float64Array) -> Float64Array:
        """Return the divergence of the candidate nearest to each range; the lesser one of two equal candidates."""
        order = np.argsort(self.divergences, kind="stable")
        candidates = covered(self.ranges[order], self.format, self.symmetric)
        found = [order[np.argmin(np.abs(candidates - given).sum(axis=1))] for given in ranges]
        return np.asarray(self.divergences[found])


def _counter(blocks: Blocks, block: Float32Array) -> Counter:
    """Return what counts a block's values in equal bins."""

    def count(bins: int, low: float, high: float) -> Float64Array:
        return blocks.once(("bins", bins, low, high), lambda: counted(bins, low, high))

    def counted(bins: int, low: float, high: float) -> Float64Array:
        edges = np.linspace(low, high, bins + 1)
        inside = block[block > 0] if low == 0.0 else block[block < 0] if high == 0.0 else block

        def part(start: int, stop: int) -> NDArray[np.int64]:
            counts = np.zeros(bins, np.int64)
            direct.count_bins(inside, edges, start, stop, counts)
            return counts

        return np.asarray(np.sum(over_ranges(inside.size, part), axis=0, dtype=np.float64))

    return count


def _weighted_counter(values: WeightedValues) -> Counter:
    """Return what counts weighted values in equal bins."""

    def count(bins: int, low: float, high: float) -> Float64Array:
        counts = values.histogram(bins, low, high)
        for end, place, beyond in ((low, 0, values.values <= 0.0), (high, -1, values.values >= 0.0)):
            if end == 0.0:
                counts[place] = max(counts[place] - values.counts[beyond].sum(), 0.0)
        return counts

    return count
