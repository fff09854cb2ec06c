"""An observer that counts values in bins, and widens the bins when values lie outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_integer
from quant_engine.distribution import WeightedValues
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array, as_integers
from quant_engine.kernels.observe import count_aligned
from quant_engine.observers.base import Arrays, finite_batch
from quant_engine.observers.extremes import MinMaxObserver, extremes, numbers
from quant_engine.quantizer import QuantizerSpec

MIN_EXPONENT = -149  # of float32's smallest step: narrower bins tell nothing apart
WIDEST_SHIFT = 63  # bits of an index
MAX_BINS = 1 << 24  # of 128 MiB
MAX_COUNTED = 1 << 53  # values, up to which float64 keeps count exactly


class HistogramObserver:
    """Counts in bins [k, k + 1) · 2^e, with whole k and the least e at which at most `bins` hold 0 and all values.

    The bins so depend on the extremes alone. When these grow, e grows, and whole bins become halves of wider ones: no
    value is lost or counted twice, whatever the growth, and the order and division into batches do not matter. Between
    `bins` / 2 and `bins` bins cover the range from the least value, or 0, to the greatest, or 0. How many of the values
    are exactly 0, as many are behind a ReLU, is known apart.

    Raises:
        QuantError: for fewer than 2 bins, or more than 2^24.

    Example:
        >>> observer = HistogramObserver(bins=4)
        >>> observer.update([0.1, 0.2, 0.9]); observer.counts.tolist(), observer.edges.tolist()
        ([2, 0, 0, 1], [0.0, 0.25, 0.5, 0.75, 1.0])
        >>> observer.update([-1.5]); observer.counts.tolist(), observer.edges.tolist()
        ([1, 0, 3], [-2.0, -1.0, 0.0, 1.0])
    """

    def __init__(self, bins: int = 2048) -> None:
        """Start with nothing seen."""
        self.bins = as_integer(bins, "bins", 2, MAX_BINS)
        self.exponent = MIN_EXPONENT
        self.first = 0  # k of the first bin
        self.counts = np.zeros(1, np.int64)
        self.zeros = 0  # among the counts
        self.seen = MinMaxObserver()

    @property
    def edges(self) -> Float64Array:
        """The edges of the bins, shape (len(counts) + 1,)."""
        whole = np.arange(self.first, self.first + self.counts.size + 1, dtype=np.float64)
        return np.ldexp(whole, self.exponent)

    def update(self, batch: Any) -> None:
        """Count a batch, widening the bins first if need be.

        Raises:
            QuantError: for values that are not finite real numbers.
        """
        array, lo, hi = finite_batch(batch)
        if array.size:
            self._cover(lo, hi)
            self.zeros += array.size - int(np.count_nonzero(array))
            count_aligned(
                np.ascontiguousarray(array).reshape(-1), math.ldexp(1.0, -self.exponent), self.first, self.counts
            )

    def merge(self, other: Self) -> None:
        """Add the counts of another observer.

        Raises:
            QuantError: if it has another number of bins.
        """
        if self.bins != other.bins:
            raise QuantError(f"histograms of {self.bins} and {other.bins} bins cannot be merged; use equal bins")
        if other.seen.lo <= other.seen.hi:
            self._cover(other.seen.lo, other.seen.hi)
            self._add(other.counts, other.first, other.exponent)
            self.zeros += other.zeros

    def range(self, spec: QuantizerSpec) -> tuple[float, float]:
        """Return the range that the spec's clipping method finds for the counts.

        Raises:
            QuantError: if nothing has been observed.
        """
        lo, hi = self.seen.range()
        if lo == hi == 0.0:
            return lo, hi
        return spec.clipping.range_of(self.weighted_values(), spec.format, spec.symmetric)

    def weighted_values(self) -> WeightedValues:
        """Return the bins' centres and counts, the zeros, and the exact extremes.

        Raises:
            QuantError: if nothing has been observed.
        """
        lo, hi = self.seen.range()
        if not self.zeros:
            return WeightedValues.from_histogram(self.counts, self.edges, lo, hi)
        if lo == hi:
            return WeightedValues(np.zeros(1), np.array([float(self.zeros)]))
        others = self.counts.copy()
        others[-self.first] -= self.zeros
        found = WeightedValues.from_histogram(others, self.edges, lo or None, hi or None)
        place = int(np.searchsorted(found.values, 0.0))
        return WeightedValues(np.insert(found.values, place, 0.0), np.insert(found.counts, place, self.zeros))

    def to_arrays(self) -> Arrays:
        """Return the state."""
        numbers = {name: np.array(getattr(self, name)) for name in ("bins", "exponent", "first", "zeros")}
        return {**numbers, "counts": self.counts.copy(), **self.seen.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the state.

        Raises:
            QuantError: if an array is missing, and for counts that no batches with these extremes and so many zeros
                give: bins follow from the extremes, whose bins hold values and beyond which there are none.
        """
        if "counts" not in arrays:
            raise QuantError(f"the arrays {', '.join(map(str, arrays))} are no histogram's state: counts is missing")
        counts = np.asarray(arrays["counts"])
        single = {name: array for name, array in arrays.items() if name != "counts"}
        bins, exponent, first, zeros, lo, hi = numbers(single, "bins", "exponent", "first", "zeros", "lo", "hi")
        observer = cls(bins)
        observer.seen.lo, observer.seen.hi = extremes(lo, hi)
        layout = observer._layout()
        given = as_integer(exponent, "exponent"), as_integer(first, "first"), counts.size
        if given != layout or counts.ndim != 1:
            raise QuantError(
                f"exponent, first and size of counts are {given}, but {layout} for values from {lo} to {hi} in up to "
                f"{bins} bins; give the state of one observer"
            )
        counts = as_integers(counts, "counts", 0, MAX_COUNTED, "give how many values each bin holds")
        observer.exponent, observer.first, observer.counts = *layout[:2], counts.astype(np.int64)
        observer.zeros = as_integer(zeros, "zeros", 0, MAX_COUNTED)
        observer._validate_counts()
        return observer

    def _validate_counts(self) -> None:
        """Check that counts, zeros and extremes can be of the same values."""
        lo, hi, zero = self.seen.lo, self.seen.hi, -self.first
        others = self.counts.copy()
        others[zero] -= self.zeros
        good = not others.any() and not self.zeros
        if lo <= hi:
            ends = [_bin(end, self.exponent) - self.first for end in {lo, hi} - {0.0}]
            beyond = others[: _bin(lo, self.exponent) - self.first], others[_bin(hi, self.exponent) - self.first + 1 :]
            good = (
                self.counts.sum(dtype=np.float64) <= MAX_COUNTED
                and others[zero] >= 0
                and all(others[end] >= ends.count(end) for end in ends)
                and not any(part.any() for part in beyond)
                and (hi != 0.0 or others[zero] == 0)
                and (self.zeros > 0 if 0.0 in (lo, hi) else self.zeros == 0 or lo < 0.0 < hi)
            )
        if not good:
            raise QuantError(
                f"counts of {self.counts.sum()} values, {self.zeros} of them 0, are not those of values from {lo} to "
                f"{hi}; give the state of one observer"
            )

    def _layout(self) -> tuple[int, int, int]:
        """Return the exponent, the first bin and the number of bins that the extremes and the bins so far need."""
        low, high = min(self.seen.lo, 0.0), max(self.seen.hi, 0.0)
        exponent = self.exponent
        if high > low:
            exponent = max(exponent, math.frexp((high - low) / self.bins)[1] - 2)  # no larger than what is needed
        while _bin(high, exponent) - _bin(low, exponent) >= self.bins:
            exponent += 1
        first = _bin(low, exponent)
        return exponent, first, _bin(high, exponent) - first + 1

    def _cover(self, lo: float, hi: float) -> None:
        """Widen the bins until they hold the range [lo, hi] too."""
        old = self.counts, self.first, self.exponent
        self.seen.lo, self.seen.hi = min(self.seen.lo, lo), max(self.seen.hi, hi)
        self.exponent, self.first, size = self._layout()
        self.counts = np.zeros(size, np.int64)
        self._add(*old)

    def _add(self, counts: NDArray[np.int64], first: int, exponent: int) -> None:
        """Add counts of bins that are as wide or narrower."""
        shift = min(self.exponent - exponent, WIDEST_SHIFT)
        np.add.at(self.counts, (np.arange(first, first + counts.size) >> shift) - self.first, counts)


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))
