"""Values that each stand for several: what observers keep of many batches, and any tensor alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.checks import as_integer, as_number
from quant_engine.distribution.centroids import exact_levels
from quant_engine.distribution.indexed import IndexedValues
from quant_engine.distribution.range_search import best_range, range_errors
from quant_engine.errors import QuantError
from quant_engine.formats import Format
from quant_engine.inputs import (
    LARGEST_FLOAT32,
    Float64Array,
    as_ascending,
    as_float32,
    as_float64,
    as_ranges,
    raise_non_finite,
)

MAX_BINS = 1 << 24


@dataclass(frozen=True, eq=False)
class WeightedValues:
    """Ascending values, shape (n,), that occur `counts` times each; counts are positive and need not be whole.

    Raises:
        QuantError: for no values, shapes that differ, values that are not sorted or beyond float32, or counts that are
            not positive and finite.

    Example:
        >>> values = WeightedValues([0.0, 1.0, 4.0], [2, 1, 1])
        >>> values.total, values.mean, values.percentile(50)
        (4.0, 1.25, 0.5)
    """

    values: Float64Array
    counts: Float64Array
    source: tuple[Float64Array, ...] | None = None  # counts and edges of a histogram; values known exactly, and theirs

    def __post_init__(self) -> None:
        """Check and freeze the arrays."""
        values, counts = as_float64(self.values, "values"), as_float64(self.counts, "counts")
        if values.ndim != 1 or values.shape != counts.shape or not values.size:
            raise QuantError(f"values of shape {values.shape} and counts of shape {counts.shape}; give two equal runs")
        if not (np.abs(values) <= LARGEST_FLOAT32).all() or (np.diff(values) < 0).any():
            raise QuantError(f"the {values.size} values are not ascending numbers within float32; give numpy.sort(…)")
        if not ((counts > 0) & np.isfinite(counts)).all():
            bad = counts[~((counts > 0) & np.isfinite(counts))]
            raise QuantError(f"{bad.size} of {counts.size} counts are not positive, the first {bad[0]}; leave them out")
        values.flags.writeable = counts.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "counts", counts)

    @classmethod
    def from_array(cls, x: Any) -> Self:
        """Return the values of a tensor, each with how often it occurs.

        Raises:
            QuantError: for an empty tensor, and for values that are not finite real numbers.
        """
        array = as_float32(x)
        if not array.size:
            raise QuantError(f"a tensor of shape {array.shape} has no values to describe; give at least one")
        if not np.isfinite(array).all():
            raise_non_finite(array)
        values, counts = np.unique(array + np.float32(0), return_counts=True)
        return cls(values, counts)

    @classmethod
    def from_histogram(
        cls,
        counts: ArrayLike,
        edges: ArrayLike,
        lo: float | None = None,
        hi: float | None = None,
        zeros: float = 0.0,
    ) -> Self:
        """Return the centres of a histogram's bins with their counts; empty bins are left out.

        `lo` and `hi`, where given, are the exact extremes: of the first and of the last bin's count, one value (half of
        the count, if it is less than two) lies there. `zeros` of the counts, in the bin that holds 0, are exactly 0.

        Raises:
            QuantError: for shapes that do not match, edges that do not ascend, negative counts, or none at all, and for
                more zeros than the bin that holds 0 has counts.
        """
        held, ends = as_float64(counts, "counts"), as_float64(edges, "edges")
        if held.ndim != 1 or ends.shape != (held.size + 1,) or not (np.diff(ends) > 0).all():
            raise QuantError(
                f"counts of shape {held.shape} and edges of shape {ends.shape} are no histogram; "
                "give n counts and n + 1 ascending edges"
            )
        if not (held >= 0).all() or not held.any():
            raise QuantError(f"a histogram of {held.size} bins needs counts that are not negative, and some above 0")
        low, high = (end if end is None else as_number(end, name) for end, name in ((lo, "lo"), (hi, "hi")))
        zeros = as_number(zeros, "zeros", low=0.0)
        centres = 0.5 * ends[:-1] + 0.5 * ends[1:]
        full = np.flatnonzero(held)
        apart = []  # values known exactly, and their counts
        if zeros > 0.0:
            row = min(int(np.searchsorted(ends, 0.0, side="right")) - 1, held.size - 1)
            if row < 0 or not ends[row] <= 0.0 <= ends[row + 1] or zeros > held[row]:
                raise QuantError(f"zeros={zeros:g} are more than the bin that holds 0 counts; count them there too")
            held[row] -= zeros
            apart.append((0.0, zeros))
        for place, extreme in ((full[0], low), (full[-1], high)):
            if extreme is not None and held[place] > 0.0:
                share = min(1.0, 0.5 * held[place])
                held[place] -= share
                apart.append((extreme, share))
        rest = held > 0.0
        bounds = (-np.inf if low is None else low), (np.inf if high is None else high)
        values = np.append(np.clip(centres[rest], *bounds), [value for value, _ in apart])
        order = np.argsort(values, kind="stable")
        exact = np.array(apart).reshape(-1, 2).T
        source = held, np.clip(ends, *bounds), exact[0], exact[1]
        return cls(values[order], np.append(held[rest], exact[1])[order], source)

    @property
    def lo(self) -> float:
        """The least value."""
        return float(self.values[0])

    @property
    def hi(self) -> float:
        """The greatest value."""
        return float(self.values[-1])

    @property
    def total(self) -> float:
        """The sum of the counts."""
        return float(self.prefix[-1, 0])

    @property
    def mean(self) -> float:
        """The mean value."""
        return float(self.prefix[-1, 1] / self.prefix[-1, 0])

    @cached_property
    def sigma(self) -> float:
        """The standard deviation."""
        max_abs = max(-self.lo, self.hi)
        if self.lo == self.hi:
            return 0.0
        apart = (self.values - self.mean) / max_abs
        return max_abs * math.sqrt(float(np.dot(self.counts, apart * apart)) / self.total)

    @cached_property
    def prefix(self) -> Float64Array:
        """Sums of count, x and x² before each value and after the last, shape (n + 1, 3)."""
        sums = np.zeros((self.values.size + 1, 3))
        moments = self.counts, self.counts * self.values, self.counts * np.square(self.values)
        np.cumsum(np.stack(moments, axis=1), axis=0, out=sums[1:])
        return sums

    @cached_property
    def magnitudes(self) -> WeightedValues:
        """The magnitudes |x|, each with its count."""
        order = np.argsort(np.abs(self.values), kind="stable")
        return WeightedValues(np.abs(self.values)[order], self.counts[order])

    def percentile(self, p: float) -> float:
        """Return the p-th percentile, interpolated linearly: numpy's, if every value stood as often as it occurs."""
        position = max(self.total - 1.0, 0.0) * as_number(p, "p", 0.0, 100.0) / 100.0
        below = math.floor(position)
        sums = self.prefix[1:, 0]
        first, second = (
            self.values[min(int(np.searchsorted(sums, at, side="right")), self.values.size - 1)]
            for at in (below, below + 1)
        )
        return float(first + (second - first) * (position - below))

    def share_outside(self, ranges: ArrayLike) -> Float64Array:
        """Return the share of the values outside each of the ranges (n, 2)."""
        array, sums = as_ranges(ranges, infinite=True), self.prefix[:, 0]
        below = sums[np.searchsorted(self.values, array[:, 0])]
        above = sums[-1] - sums[np.searchsorted(self.values, array[:, 1], side="right")]
        return np.asarray((below + above) / self.total)

    def histogram(self, bins: int, low: float, high: float) -> Float64Array:
        """Return the counts in `bins` equal bins from `low` to `high`; values outside count to the outermost.

        What came from a histogram is spread evenly over its bins, so that bins of another width hold no steps.
        """
        low, high = as_number(low, "low"), as_number(high, "high")
        if not low < high:
            raise QuantError(f"low={low} is not below high={high}; give bins a width")
        edges = np.linspace(low, high, as_integer(bins, "bins", 1, MAX_BINS) + 1)
        values, counts = (self.values, self.counts) if self.source is None else self.source[2:]
        found = np.histogram(np.clip(values, low, high), edges, weights=counts)[0].astype(np.float64)
        if self.source is None:
            return found
        held, ends = self.source[:2]
        below = np.interp(edges, ends, np.append(0.0, np.cumsum(held)))
        below[0], below[-1] = 0.0, held.sum()
        return np.asarray(found + np.diff(below))

    def best_range(self, format: Format, symmetric: bool = True) -> tuple[float, float]:
        """Return the clipping range (lo, hi) with the least mean squared error, as `Distribution.best_range` does."""
        return best_range(self._indexed, self.lo, self.hi, format, symmetric)

    def range_errors(self, format: Format, ranges: ArrayLike, symmetric: bool = True) -> Float64Array:
        """Return the mean squared error of each clipping range, as `Distribution.range_errors` does.

        Raises:
            QuantError: for ranges of another shape than (n, 2), not finite, or without width.
        """
        return range_errors(self._indexed, format, ranges, symmetric)

    def lloyd_max(self, k: int) -> Float64Array:
        """Return the at most k levels with the least mean squared error of all, ascending; exactly so for any number.

        Raises:
            QuantError: if k is no integer from 1 to 65,536.

        Example:
            >>> WeightedValues([0.0, 1.0, 10.0], [3, 1, 1]).lloyd_max(2).tolist()
            [0.25, 10.0]
        """
        return exact_levels(self.values, self.counts, k)

    def sums_below(self, thresholds: ArrayLike) -> Float64Array:
        """Return the counts, Σx and Σx² of the values below each threshold, and of all: (thresholds + 1, 3)."""
        return self._indexed.sums_below(as_ascending(thresholds, "thresholds", empty=True))

    @cached_property
    def _indexed(self) -> IndexedValues:
        return IndexedValues.counted(self.values, self.counts, self.prefix)
