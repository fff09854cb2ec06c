"""Values that each stand for several: what observers keep of many batches, and any tensor alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.distribution.indexed import IndexedValues
from quant_engine.distribution.range_search import UniformFormat, best_range, range_errors
from quant_engine.errors import QuantError
from quant_engine.inputs import LARGEST_FLOAT32, Float64Array, as_float32, refuse_non_finite


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

    def __post_init__(self) -> None:
        """Check and freeze the arrays."""
        values, counts = np.array(self.values, np.float64), np.array(self.counts, np.float64)
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
            refuse_non_finite(array)
        values, counts = np.unique(array + np.float32(0), return_counts=True)
        return cls(values, counts)

    @classmethod
    def from_histogram(
        cls, counts: ArrayLike, edges: ArrayLike, lo: float | None = None, hi: float | None = None
    ) -> Self:
        """Return the centres of a histogram's bins with their counts; empty bins are left out.

        `lo` and `hi`, where given, are the exact extremes: of the first and of the last bin's count, one value (half of
        the count, if it is less than two) lies there.

        Raises:
            QuantError: for shapes that do not match, edges that do not ascend, negative counts, or none at all.
        """
        held, ends = np.asarray(counts, np.float64), np.asarray(edges, np.float64)
        if held.ndim != 1 or ends.shape != (held.size + 1,) or not (np.diff(ends) > 0).all():
            raise QuantError(
                f"counts of shape {held.shape} and edges of shape {ends.shape} are no histogram; "
                "give n counts and n + 1 ascending edges"
            )
        if not (held >= 0).all() or not held.any():
            raise QuantError(f"a histogram of {held.size} bins needs counts that are not negative, and some above 0")
        full = np.flatnonzero(held)
        values, kept = 0.5 * (ends[:-1] + ends[1:])[full], held[full]
        low = values[0] if lo is None else lo
        high = values[-1] if hi is None else hi
        values = np.clip(values, low, high)
        for place, extreme, known in ((0, low, lo is not None), (-1, high, hi is not None)):
            if known:
                share = min(1.0, 0.5 * kept[place])
                kept[place] -= share
                at = 0 if place == 0 else values.size
                values, kept = np.insert(values, at, extreme), np.insert(kept, at, share)
        return cls(values, kept)

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
        peak = max(-self.lo, self.hi)
        if self.lo == self.hi:
            return 0.0
        apart = (self.values - self.mean) / peak
        return peak * math.sqrt(float(np.dot(self.counts, apart * apart)) / self.total)

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
        position = max(self.total - 1.0, 0.0) * p / 100.0
        below = math.floor(position)
        sums = self.prefix[1:, 0]
        first, second = (
            self.values[min(int(np.searchsorted(sums, at, side="right")), self.values.size - 1)]
            for at in (below, below + 1)
        )
        return float(first + (second - first) * (position - below))

    def share_outside(self, ranges: ArrayLike) -> Float64Array:
        """Return the share of the values outside each of the ranges (n, 2)."""
        array = np.asarray(ranges, np.float64)
        sums = self.prefix[:, 0]
        below = sums[np.searchsorted(self.values, array[:, 0])]
        above = sums[-1] - sums[np.searchsorted(self.values, array[:, 1], side="right")]
        return np.asarray((below + above) / self.total)

    def best_range(self, format: UniformFormat, symmetric: bool = True) -> tuple[float, float]:
        """Return the clipping range (lo, hi) with the least mean squared error, as `Distribution.best_range` does."""
        return best_range(self._indexed, self.lo, self.hi, format, symmetric)

    def range_errors(self, format: UniformFormat, ranges: ArrayLike, symmetric: bool = True) -> Float64Array:
        """Return the mean squared error of each clipping range, as `Distribution.range_errors` does.

        Raises:
            QuantError: for ranges of another shape than (n, 2), not finite, or without width.
        """
        return range_errors(self._indexed, format, ranges, symmetric)

    @cached_property
    def _indexed(self) -> IndexedValues:
        return IndexedValues.counted(self.values, self.counts, self.prefix)
