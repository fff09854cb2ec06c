"""Statistics of a tensor, taken once, from which the error of any quantizer follows without touching it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_integer, validate_boolean
from quant_engine.distribution.centroids import best_levels
from quant_engine.distribution.indexed import IndexedValues
from quant_engine.distribution.range_search import best_range, range_errors
from quant_engine.distribution.runs import Runs, join
from quant_engine.distribution.weighted import MAX_BINS
from quant_engine.errors import QuantError
from quant_engine.formats import Format, IntFormat
from quant_engine.inputs import Float32Array, Float64Array, as_ascending, as_float32, as_float64, raise_non_finite
from quant_engine.kernels import direct
from quant_engine.kernels.affine import block_extremes
from quant_engine.kernels.parallel import over_ranges

CONSTANT_WIDTH = 2.0**-26  # of the histogram of one large value, relative: float64 tells bins of that width apart


class Distribution:
    """Prefix sums over a tensor's values.

    By default a moment histogram (count, Σx, Σx² in about 50,000 bins), built in one pass: errors are within 1e-6
    relative. With `exact=True`, and for tensors of up to four million values, a sorted index: errors are within 1e-10
    of direct float64 evaluation (or within 1e-15 of the mean square, where there is next to no error). Questions with
    more levels than either resolves (256 and 1,024) read the values themselves, and are exact. The tensor is kept by
    reference and must not be changed.

    Raises:
        QuantError: for an empty tensor and for NaN or infinite values.

    Example:
        >>> import numpy as np
        >>> d = Distribution(np.linspace(-1, 1, 2001, dtype=np.float32), exact=True)
        >>> round(d.error([-0.5, 0.5]), 6)
        0.083417
    """

    def __init__(self, x: Any, exact: bool = False) -> None:
        """Read the tensor once."""
        array = as_float32(x)
        flat = np.ascontiguousarray(array).reshape(-1)
        if not flat.size:
            raise QuantError(f"a tensor of shape {array.shape} has no values to describe; give at least one")
        whole = np.array([0, flat.size])

        def extremes(start: int, stop: int) -> tuple[Float32Array, Float32Array]:
            low, high = np.full(1, np.inf, np.float32), np.full(1, -np.inf, np.float32)
            block_extremes(flat, whole, start, stop, low, high)
            return low, high

        parts = over_ranges(flat.size, extremes)
        if not (all(np.isfinite(part).all() for part in parts)):
            raise_non_finite(array)
        validate_boolean(exact, "exact")
        self._index(flat, float(min(low[0] for low, _ in parts)), float(max(high[0] for _, high in parts)), exact)

    @classmethod
    def between(cls, values: Float32Array, lo: float, hi: float) -> Self:
        """Return what `Distribution(values)` does of finite values (n,) whose extremes are known."""
        found = cls.__new__(cls)
        found._index(values, lo, hi, exact=False)
        return found

    def _index(self, flat: Float32Array, lo: float, hi: float, exact: bool) -> None:
        self.lo, self.hi, self.exact, self.size = lo, hi, exact, flat.size
        self._indexed = IndexedValues.build(flat, max(-lo, hi), exact)

    @property
    def sigma(self) -> float:
        """Standard deviation."""
        return math.sqrt(max(self.power - self.mean**2, 0.0))

    @property
    def mean(self) -> float:
        """Mean value."""
        return self._indexed.sums[1] / self.size

    @property
    def power(self) -> float:
        """Mean square."""
        return self._indexed.sums[2] / self.size

    def error(self, levels: ArrayLike) -> float:
        """Return the mean squared error of taking each value to its nearest level.

        `levels`: any sorted array of finite numbers, shape (L,).

        Raises:
            QuantError: if the levels are empty, not one-dimensional, not finite or not sorted.
        """
        error = self._indexed.levels_error(as_ascending(levels, "levels"))
        if not math.isfinite(error):
            raise QuantError(f"the squared error of the {np.size(levels)} levels is beyond float64; give nearer ones")
        return error

    def error_surface(self, bits: Sequence[int], clips: ArrayLike) -> Float64Array:
        """Return the mean squared error of every bit width at every clip, shape (len(bits), len(clips)).

        `clips` of shape (n,) are symmetric: levels k · clip / (2^(b−1) − 1), |k| ≤ 2^(b−1) − 1. Of shape (n, 2) they
        are asymmetric ranges [lo, hi]: 2^b levels, the range widened to hold 0 and the zero point rounded.

        Raises:
            QuantError: for bits outside 2 to 16, clips that are not positive and finite, or lo ≥ hi.
        """
        ranges = as_float64(clips, "clips")
        try:
            widths = [as_integer(b, "each of bits", 2, 16) for b in bits]
        except TypeError as error:
            raise QuantError(f"bits={bits!r} is not a run of widths; give a list of integers from 2 to 16") from error
        if ranges.ndim == 1:
            if not (good := np.isfinite(ranges) & (ranges > 0)).all():
                raise QuantError(f"clips must be positive and finite; {ranges[~good][:3]} are not")
            qmax = np.array([2 ** (b - 1) - 1 for b in widths], np.int64)[:, None] + np.zeros(len(ranges), np.int64)
            return self._indexed.even_errors(ranges / qmax, -qmax, qmax)
        if ranges.ndim != 2 or ranges.shape[1] != 2:
            raise QuantError(f"clips have shape {ranges.shape}; give (n,) clips or (n, 2) ranges")
        if not (good := ranges[:, 0] < ranges[:, 1]).all():
            raise QuantError(f"every range must have lo < hi; {ranges[~good][:3].tolist()} have not")
        rows = [self.range_errors(IntFormat(b, signed=False), ranges, symmetric=False) for b in widths]
        return np.array(rows).reshape(len(rows), len(ranges))

    def range_errors(self, format: Format, ranges: ArrayLike, symmetric: bool = True) -> Float64Array:
        """Return the mean squared error of each clipping range under a format, shape (n,), as a spec means them.

        `ranges` (n, 2): symmetric ones have the scale max(−lo, hi)/peak and zero point 0; asymmetric ones are widened
        to hold 0, and their zero point is rounded. Scales are not rounded to float32.

        Raises:
            QuantError: for ranges of another shape, not finite, or without width.
        """
        return range_errors(self._indexed, format, ranges, symmetric)

    def best_range(self, format: Format, symmetric: bool = True) -> tuple[float, float]:
        """Return the clipping range (lo, hi) with the least mean squared error.

        Symmetric ranges are (−a, a), or (0, a) for unsigned codes; asymmetric ones are the outermost levels, so the
        zero point is exact.
        """
        return best_range(self._indexed, self.lo, self.hi, format, symmetric)

    def lloyd_max(self, k: int) -> Float64Array:
        """Return the at most k levels with the least mean squared error of all, ascending.

        With `exact=True`, and for up to 65,536 distinct values, no other levels have less error (which takes about
        0.3 µs a value and 60 bytes); otherwise theirs is within 1e-5 of the least, relative. There are fewer than k
        levels where there are fewer distinct values.

        Raises:
            QuantError: if k is no integer from 1 to 65,536.

        Source: Lloyd, Least Squares Quantization in PCM (1982); Max, Quantizing for Minimum Distortion (1960).

        Example:
            >>> Distribution([0.0, 1.0, 10.0, 11.0, 30.0]).lloyd_max(3).tolist()
            [0.5, 10.5, 30.0]
        """
        return best_levels(self._indexed, k, self.exact)

    def sums_below(self, thresholds: ArrayLike) -> Float64Array:
        """Return count, Σx and Σx² of the values below each threshold, and of all values: (thresholds + 1, 3)."""
        return self._indexed.sums_below(as_ascending(thresholds, "thresholds", empty=True))

    def in_order(self, places: ArrayLike) -> Float32Array:
        """Return the values at some places of their ascending order, counted from 0.

        Raises:
            QuantError: where they were not sorted: without `exact=True`, of more than four million values.
        """
        if not self._indexed.index.first.size:
            raise QuantError(f"the {self.size} values are in bins, not in order; use Distribution(x, exact=True)")
        return np.asarray(self._indexed.values[np.asarray(places)])

    def histogram(self, bins: int = 256) -> tuple[NDArray[np.int64], Float64Array]:
        """Return exact counts in `bins` equal bins from the least to the greatest value, and their edges.

        A constant tensor gets bins of half a unit to each side, as numpy.histogram has them.

        Raises:
            QuantError: if `bins` is less than 1.
        """
        bins = as_integer(bins, "bins", 1, MAX_BINS)
        half = max(0.5, abs(self.lo) * CONSTANT_WIDTH)
        low, high = (self.lo, self.hi) if self.lo < self.hi else (self.lo - half, self.hi + half)
        edges = np.linspace(low, high, bins + 1)

        def count(start: int, stop: int) -> NDArray[np.int64]:
            counts = np.zeros(bins, np.int64)
            direct.count_bins(self._indexed.values, edges, start, stop, counts)
            return counts

        return sum(over_ranges(self.size, count), np.zeros(bins, np.int64)), edges

    def runs(self, max_runs: int) -> Runs:
        """Return the tensor as at most `max_runs` runs of neighbouring values, with count, mean and variance of each.

        Half of the runs share out the count equally and half the sum of squares, so that outliers stay by themselves.
        Up to `max_runs` values, every value is a run.

        Raises:
            QuantError: if `max_runs` is less than 1.

        Example:
            >>> runs = Distribution([0.0, 0.1, 0.2, 8.0]).runs(2)
            >>> runs.counts.tolist(), runs.means.round(3).tolist()
            ([3, 1], [0.1, 8.0])
        """
        return join(self._indexed.rows(), as_integer(max_runs, "most", 1))
