"""Statistics of a tensor, taken once, from which the error of any quantizer follows without touching it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.errors import QuantError
from quant_engine.formats import IntFormat
from quant_engine.inputs import LARGEST_FLOAT32, Float32Array, Float64Array, as_float32, refuse_non_finite
from quant_engine.kernels import index as kernels
from quant_engine.kernels.affine import block_extremes
from quant_engine.kernels.parallel import over_ranges, thread_count

BINNED_LEVELS = 512  # up to here a histogram bin is much narrower than a bucket
SORTED_LEVELS = 1024  # up to here prefix sums lose no more than 1e-11 to cancellation
SEARCH_STEPS = 512  # candidates of a step search
COARSE_STEPS = 64  # where only the zero point is being chosen
POLISHED_STEPS = 8  # candidates that are improved by least squares
SEARCH_FLOOR = 0.1  # the smallest clip tried, as a share of mean |x|
MOST_ZERO_POINTS = 32  # tried in the first round
POLISHED_ZERO_POINTS = 4  # whose step is searched in full
DIRECT_SEARCH_VALUES = 1 << 16  # tensors this small are read for every candidate of a fine format


class UniformFormat(Protocol):
    """What the range search needs of a format: consecutive integer codes."""

    @property
    def qmin(self) -> int:
        """The least code."""

    @property
    def qmax(self) -> int:
        """The greatest code."""


class Distribution:
    """Prefix sums over a tensor's values.

    By default a moment histogram (count, Σx, Σx² in about 50,000 bins), built in one pass: errors are within 1e-6
    relative. With `exact=True` a sorted index: errors are within 1e-10 of direct float64 evaluation. Questions with
    more levels than either resolves (512 and 1,024) read the values themselves, and are exact. The tensor is kept by
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
        self.lo = float(min(low[0] for low, _ in parts))
        self.hi = float(max(high[0] for _, high in parts))
        if not (all(np.isfinite(part).all() for part in parts)):
            refuse_non_finite(array)
        self.exact = exact
        self.size = flat.size
        self._values = flat
        self._index = _sorted_index(flat) if exact else _moment_histogram(flat, max(-self.lo, self.hi))
        if exact:
            self._values = self._index.values

    @property
    def sigma(self) -> float:
        """Standard deviation."""
        _, total, square = self._index.prefix[-1] / self.size
        return math.sqrt(max(square - total * total, 0.0))

    @property
    def mean(self) -> float:
        """Mean value."""
        return float(self._index.prefix[-1, 1] / self.size)

    @property
    def power(self) -> float:
        """Mean square."""
        return float(self._index.prefix[-1, 2] / self.size)

    def error(self, levels: ArrayLike) -> float:
        """Return the mean squared error of taking each value to its nearest level.

        `levels`: any sorted array of finite numbers, shape (L,).

        Raises:
            QuantError: if the levels are empty, not one-dimensional, not finite or not sorted.
        """
        array = np.asarray(levels, np.float64)
        if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (np.diff(array) < 0).any():
            raise QuantError(
                f"levels of shape {array.shape} are not a sorted, finite, non-empty run of numbers; give numpy.sort(…)"
            )
        if not self._is_fine(array.size):
            return float(kernels.levels_error(self._index, array)) / self.size
        parts = over_ranges(self.size, lambda a, b: kernels.direct_levels_error(self._values, array, a, b))
        return math.fsum(parts) / self.size

    def error_surface(self, bits: Sequence[int], clips: ArrayLike) -> Float64Array:
        """Return the mean squared error of every bit width at every clip, shape (len(bits), len(clips)).

        `clips` of shape (n,) are symmetric: levels k · clip / (2^(b−1) − 1), |k| ≤ 2^(b−1) − 1. Of shape (n, 2) they
        are asymmetric ranges [lo, hi]: 2^b levels, the range widened to hold 0 and the zero point rounded.

        Raises:
            QuantError: for bits outside 2 to 16, clips that are not positive and finite, or lo ≥ hi.
        """
        ranges = np.asarray(clips, np.float64)
        if any(not 2 <= b <= 16 for b in bits):
            raise QuantError(f"bits {list(bits)} must each lie in 2 to 16")
        if ranges.ndim == 1:
            if not (np.isfinite(ranges) & (ranges > 0)).all():
                raise QuantError(f"clips must be positive and finite; got {ranges[~(ranges > 0)][:3]}")
            greatest = np.array([2 ** (b - 1) - 1 for b in bits])[:, None] + np.zeros(len(ranges), np.int64)
            return self._even_errors(ranges / greatest, -greatest, greatest)
        if ranges.ndim != 2 or ranges.shape[1] != 2:
            raise QuantError(f"clips have shape {ranges.shape}; give (n,) clips or (n, 2) ranges")
        if not (ranges[:, 0] < ranges[:, 1]).all():
            raise QuantError("every range must be finite with lo < hi")
        return np.stack([self.range_errors(IntFormat(b, signed=False), ranges, symmetric=False) for b in bits])

    def range_errors(self, format: UniformFormat, ranges: ArrayLike, symmetric: bool = True) -> Float64Array:
        """Return the mean squared error of each clipping range under a format, shape (n,), as a spec means them.

        `ranges` (n, 2): symmetric ones have the scale max(−lo, hi)/qmax and zero point 0; asymmetric ones are widened
        to hold 0, and their zero point is rounded. Scales are not rounded to float32.

        Raises:
            QuantError: for ranges of another shape, not finite, or without width.
        """
        array = np.asarray(ranges, np.float64)
        if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
            raise QuantError(f"ranges of shape {array.shape} must be finite, of shape (n, 2)")
        low, high = np.minimum(array[:, 0], 0.0), np.maximum(array[:, 1], 0.0)
        if not (low < high).all():
            raise QuantError("every range must have a width; give lo < hi")
        if symmetric:
            steps = np.maximum(-low, high) / format.qmax
            zero = np.zeros(steps.size, np.int64)
        else:
            steps = (high - low) / (format.qmax - format.qmin)
            zero = np.clip(np.rint(format.qmin - low / steps), format.qmin, format.qmax).astype(np.int64)
        return self._even_errors(steps, format.qmin - zero, format.qmax - zero)

    def best_range(self, format: UniformFormat, symmetric: bool = True) -> tuple[float, float]:
        """Return the clipping range (lo, hi) with the least mean squared error.

        Symmetric ranges are (−a, a), or (0, a) for unsigned codes; asymmetric ones are the outermost levels, so the
        zero point is exact. Steps are searched on a logarithmic grid from full coverage down to a tenth of mean |x|,
        and the best are improved by alternating codes and least-squares steps.
        """
        if self.lo == self.hi == 0.0:
            return 0.0, 0.0
        if symmetric:
            step = self._best_step(format.qmin, format.qmax)[0]
            return (-step * format.qmax if format.qmin < 0 else 0.0), step * format.qmax
        span = format.qmax - format.qmin
        low, high = min(self.lo, 0.0), max(self.hi, 0.0)
        tried: dict[int, float] = {}
        stride = max(1, math.ceil(span / MOST_ZERO_POINTS))
        around = {*range(0, span, stride), span, round(-low / (high - low) * span)}
        while around:
            tried.update({zero: float(self._step_grid(-zero, span - zero, COARSE_STEPS)[1].min()) for zero in around})
            best = min(tried, key=tried.__getitem__)
            stride = max(1, stride // 2)
            around = {zero for zero in (best - stride, best + stride) if 0 <= zero <= span} - tried.keys()
        finest = sorted(tried, key=tried.__getitem__)[:POLISHED_ZERO_POINTS]
        steps = {zero: self._best_step(-zero, span - zero) for zero in finest}
        zero = min(steps, key=lambda zero: steps[zero][1])
        return -zero * steps[zero][0], (span - zero) * steps[zero][0]

    def histogram(self, bins: int = 256) -> tuple[NDArray[np.int64], Float64Array]:
        """Return exact counts in `bins` equal bins from the least to the greatest value, and their edges.

        A constant tensor gets bins of half a unit to each side, as numpy.histogram has them.

        Raises:
            QuantError: if `bins` is less than 1.
        """
        if bins < 1:
            raise QuantError(f"bins={bins} must be 1 or more")
        low, high = (self.lo, self.hi) if self.lo < self.hi else (self.lo - 0.5, self.hi + 0.5)
        edges = np.linspace(low, high, bins + 1)

        def count(start: int, stop: int) -> NDArray[np.int64]:
            counts = np.zeros(bins, np.int64)
            kernels.count_bins(self._values, edges, start, stop, counts)
            return counts

        return sum(over_ranges(self.size, count), np.zeros(bins, np.int64)), edges

    def _even_errors(self, steps: Float64Array, least: NDArray[np.int64], greatest: NDArray[np.int64]) -> Float64Array:
        """Return the mean squared error of the levels step · k for arrays of configurations of one shape."""
        shape = steps.shape
        steps, least, greatest = steps.reshape(-1), least.reshape(-1), greatest.reshape(-1)
        levels = greatest - least + 1
        direct = np.array([self._is_fine(int(count)) for count in levels], bool)
        errors = np.empty(steps.size)
        quick = np.flatnonzero(~direct)
        quick = quick[np.argsort(np.arange(quick.size) % thread_count(), kind="stable")]  # equal work for each thread
        found = np.empty(quick.size)
        chosen = steps[quick], least[quick], greatest[quick]
        over_ranges(
            quick.size,
            lambda a, b: kernels.even_errors(self._index, *chosen, a, b, found),
            cost=int(levels[quick].sum()) * 16,
        )
        errors[quick] = found
        for i in np.flatnonzero(direct):
            errors[i] = self._direct(steps[i], least[i], greatest[i])
        return (errors / self.size).reshape(shape)

    def _direct(self, step: float, least: int, greatest: int) -> float:
        parts = over_ranges(
            self.size, lambda a, b: kernels.direct_even_error(self._values, step, least, greatest, a, b)
        )
        return math.fsum(parts)

    def _is_fine(self, levels: int) -> bool:
        """Say whether the index is too coarse for this many levels."""
        return levels > (SORTED_LEVELS if self.exact else BINNED_LEVELS)

    def _step_grid(self, least: int, greatest: int, count: int) -> tuple[Float64Array, Float64Array]:
        """Return steps from a tenth of mean |x| to full coverage, and the error of each (estimated for fine levels)."""
        covering = max(self.hi / greatest if greatest > 0 else 0.0, self.lo / least if least < 0 else 0.0)
        if covering <= 0.0:  # no value lies on a side that has levels: all become 0
            return np.full(1, max(-self.lo, self.hi) / (greatest - least)), np.full(1, self.power)
        negative = kernels.below(self._index, 0.0)[1]
        mean_magnitude = (self._index.prefix[-1, 1] - 2.0 * negative) / self.size
        smallest = min(SEARCH_FLOOR * mean_magnitude / max(greatest, -least), covering / 4)
        steps = np.geomspace(smallest, covering, count)
        lows, highs = np.full(count, least), np.full(count, greatest)
        if not self._is_fine(greatest - least + 1) or self.size <= DIRECT_SEARCH_VALUES:
            return steps, self._even_errors(steps, lows, highs)
        errors = np.empty(count)
        kernels.fine_errors(self._index, steps, lows, highs, 0, count, errors)
        return steps, errors / self.size

    def _best_step(self, least: int, greatest: int) -> tuple[float, float]:
        """Return the step with the least error for the levels step · k, least ≤ k ≤ greatest, and that error."""
        steps, errors = self._step_grid(least, greatest, SEARCH_STEPS)
        if self._is_fine(greatest - least + 1):
            return self._narrow(steps, errors, least, greatest)
        candidates = [*steps[np.argsort(errors)[:POLISHED_STEPS]], steps[-1]]
        polished = [_polish(self._index, float(step), least, greatest) for step in candidates]
        return min(polished, key=lambda pair: pair[1])

    def _narrow(self, steps: Float64Array, errors: Float64Array, least: int, greatest: int) -> tuple[float, float]:
        """Evaluate ever finer grids around the best of a step grid, reading every value."""
        for reach in (4, 2, 2):
            best = int(np.argmin(errors))
            steps = np.geomspace(steps[max(best - reach, 0)], steps[min(best + reach, len(steps) - 1)], 9)
            errors = self._even_errors(steps, np.full(9, least), np.full(9, greatest))
        best = int(np.argmin(errors))
        return float(steps[best]), float(errors[best])


def _polish(index: kernels.Index, step: float, least: int, greatest: int) -> tuple[float, float]:
    """Alternate codes and least-squares step until the error stops falling; return the step and its mean error."""
    error = kernels.even_error(index, step, least, greatest)
    for _ in range(50):
        following = kernels.better_step(index, step, least, greatest)
        next_error = kernels.even_error(index, following, least, greatest)
        if not next_error < error * (1 - 1e-12):
            break
        step, error = following, next_error
    return float(step), float(error / index.prefix[-1, 0])


def _prefix(sums: Float64Array) -> Float64Array:
    """Return running sums over rows, with a row of zeros first."""
    return np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)])


def _spread(sums: Float64Array) -> Float64Array:
    """Return, for each bin, the even spread with its mean and variance: from, to, and values a unit.

    A bin of equal values has no width, so a threshold never splits it.
    """
    count = np.maximum(sums[:, 0], 1.0)
    mean = sums[:, 1] / count
    reach = np.sqrt(3.0 * np.maximum(sums[:, 2] / count - mean * mean, 0.0))
    density = np.divide(sums[:, 0], 2.0 * reach, out=np.zeros_like(reach), where=reach > 0)
    return np.stack([mean - reach, mean + reach, density], axis=1)


def _moment_histogram(flat: Float32Array, peak: float) -> kernels.Index:
    """Bin by a log-linear key whose offset is four standard deviations (of a sample)."""
    sample = flat[:: max(1, flat.size >> 16)].astype(np.float64)
    sigma = float(np.sqrt(np.mean(np.square(sample))))
    smallest = float(np.finfo(np.float32).smallest_subnormal)
    offset = np.float32(min(max(4.0 * sigma, peak * 2.0**-16, smallest), LARGEST_FLOAT32))
    base = np.int32(int(offset.view(np.int32)) >> int(kernels.DROPPED_BITS))
    with np.errstate(over="ignore"):
        top = np.float32(np.float32(peak) + offset)
    half = np.int32((int(top.view(np.int32)) >> int(kernels.DROPPED_BITS)) - base + 1)

    def moments(start: int, stop: int) -> Float64Array:
        sums = np.zeros((2 * int(half), 3))
        kernels.add_moments(flat, offset, base, half, start, stop, sums)
        return sums

    sums = sum(over_ranges(flat.size, moments), np.zeros((2 * int(half), 3)))
    none = np.empty(0, np.float32)
    return kernels.Index(_prefix(sums), _spread(sums), none, none, offset, base, half)


def _sorted_index(flat: Float32Array) -> kernels.Index:
    """Sort the values and sum every run of them."""
    values = np.sort(flat)
    runs = -(-values.size // kernels.RUN)
    sums = np.empty((runs, 3))
    over_ranges(runs, lambda a, b: kernels.sum_runs(values, a, b, sums), cost=values.size)
    first = np.ascontiguousarray(values[:: kernels.RUN])
    return kernels.Index(_prefix(sums), np.empty((0, 3)), values, first, np.float32(0), np.int32(0), np.int32(0))
