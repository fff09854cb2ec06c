"""A tensor's values behind an index of prefix sums that answers for their squared error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import direct
from quant_engine.kernels import index as kernels
from quant_engine.kernels.parallel import over_ranges, thread_count
from quant_engine.kernels.radix import sort_into

BINNED_LEVELS = 256  # up to here a histogram bin is so much narrower than a bucket that errors are within 1e-6
SORTED_LEVELS = 1024  # up to here prefix sums lose no more than 1e-11 to cancellation
SORTED_BELOW = 1 << 22  # values; from here on bins hold so many that chance evens out in them
POLISH_ROUNDS = 50  # at most
LOOKUP_COST = 16  # of one threshold, in values read
LARGEST_EXPONENT = 100  # of the histogram's unit, so that no scaled value overflows

FAR = 1e140  # of a level, the square of which is a number yet
STEPS = 1e-300, 1e40  # beyond which every float32 is given the outermost level, or 0, all the same

NO_UNIT, NO_BINS = np.float32(1), np.int32(0)


@dataclass(frozen=True, eq=False)
class IndexedValues:
    """Flat values (in order, where the index has them so) and their index; `counts`, if any, say how often each is."""

    values: Float32Array
    index: kernels.Index
    counts: Float64Array | None = None

    @classmethod
    def build(cls, flat: Float32Array, max_abs: float, exact: bool) -> Self:
        """Index values of up to `max_abs` in magnitude: sorted if asked to, or if nearly as quick as binning."""
        return cls.in_order(flat) if exact or flat.size <= SORTED_BELOW else cls.in_bins(flat, max_abs)

    @classmethod
    def in_bins(cls, flat: Float32Array, max_abs: float) -> Self:
        """Return values behind a moment histogram."""
        return cls(flat, _moment_histogram(flat, max_abs))

    @classmethod
    def in_order(cls, flat: Float32Array) -> Self:
        """Return values behind a sorted index."""
        runs = -(-flat.size // kernels.RUN)
        filled = np.empty(runs * kernels.RUN, np.float32)
        filled[flat.size :] = np.inf
        sort_into(flat, filled[: flat.size])
        in_order = filled.reshape(runs, kernels.RUN)
        sums = np.zeros((runs + 1, 3))
        over_ranges(runs, lambda a, b: kernels.sum_runs(in_order, a, b, sums[1:]), cost=flat.size)
        kernels.accumulate(sums)
        first = np.ascontiguousarray(in_order[:, 0])
        index = kernels.Index(sums, np.empty((0, 3)), in_order, first, NO_UNIT, NO_UNIT, NO_BINS, NO_BINS)
        return cls(filled[: flat.size], index)

    @classmethod
    def counted(cls, in_order: Float64Array, counts: Float64Array, prefix: Float64Array) -> Self:
        """Return ascending values that occur `counts` times, behind the sums before each of them, (n + 1, 3)."""
        values, no_runs = in_order.astype(np.float32), np.empty((0, kernels.RUN), np.float32)
        index = kernels.Index(prefix, np.empty((0, 3)), no_runs, values, NO_UNIT, NO_UNIT, NO_BINS, NO_BINS)
        return cls(values, index, counts)

    @property
    def size(self) -> int:
        """Number of values held."""
        return self.values.size

    @property
    def sums(self) -> tuple[float, float, float]:
        """Count, Σx and Σx² of all values."""
        count, total, square = self.index.prefix[-1, :3]
        return float(count), float(total), float(square)

    @property
    def mean_magnitude(self) -> float:
        """Mean |x|."""
        return (self.sums[1] - 2.0 * float(self.sums_below(np.zeros(1))[0, 1])) / self.sums[0]

    def rows(self) -> Float64Array:
        """Return (count, Σx, Σx²) of the finest parts at hand, in ascending order: single values, or bins."""
        if not self.index.values.size:
            binned: Float64Array = np.diff(self.index.prefix[:, :3], axis=0)
            return binned
        values = self.values.astype(np.float64)
        return np.stack([np.ones(values.size), values, np.square(values)], axis=1)

    def is_fine(self, levels: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Say whether the index is too coarse for this many levels."""
        return np.greater(levels, SORTED_LEVELS if self.index.first.size else BINNED_LEVELS)

    def levels_error(self, levels: Float64Array) -> float:
        """Return the mean squared error of taking each value to the nearest of the sorted levels."""
        levels = _near(levels)
        if not self.is_fine(levels.size):
            return float(kernels.levels_error(self.index, levels)) / self.size
        parts = over_ranges(self.size, lambda a, b: direct.levels_error(self.values, levels, a, b))
        return math.fsum(parts) / self.size

    def even_errors(self, steps: Float64Array, qmin: NDArray[np.int64], qmax: NDArray[np.int64]) -> Float64Array:
        """Return the mean squared error of the levels step · k for arrays of configurations of one shape."""
        shape, steps = steps.shape, np.clip(steps, *STEPS)
        steps, qmin, qmax = steps.reshape(-1), qmin.reshape(-1), qmax.reshape(-1)
        levels = qmax - qmin + 1
        errors = np.empty(steps.size)

        def fill(chosen: NDArray[np.int64], kernel: Callable[..., None], source: Any, cost: int) -> None:
            found, parts = np.empty(chosen.size), (steps[chosen], qmin[chosen], qmax[chosen])
            over_ranges(chosen.size, lambda a, b: kernel(source, *parts, a, b, found), cost=cost)
            errors[chosen] = found

        few = levels * LOOKUP_COST >= self.size
        fine = self.is_fine(levels) & ~few
        quick = np.flatnonzero(~few & ~fine)
        quick = quick[np.argsort(np.arange(quick.size) % thread_count(), kind="stable")]  # equal work for each thread
        fill(quick, kernels.even_errors, self.index, int(levels[quick].sum()) * LOOKUP_COST)
        fill(np.flatnonzero(few), *self._reading, int(few.sum()) * self.size)
        for i in np.flatnonzero(fine):
            errors[i] = self._direct(steps[i], qmin[i], qmax[i])
        return (errors / self.sums[0]).reshape(shape)

    def estimated_errors(self, steps: Float64Array, qmin: NDArray[np.int64], qmax: NDArray[np.int64]) -> Float64Array:
        """Return about what `even_errors` does for very many levels, without reading the values."""
        errors = np.empty(steps.size)
        kernels.fine_errors(self.index, steps, qmin, qmax, errors)
        return errors / self.sums[0]

    def polished(self, step: float, qmin: int, qmax: int) -> tuple[float, float]:
        """Alternate codes and least-squares step until the error stops falling; return the step and its mean error."""
        steps, errors = np.array([step]), np.empty(1)
        kernels.polish(self.index, qmin, qmax, POLISH_ROUNDS, steps, errors)
        return float(steps[0]), float(errors[0] / self.sums[0])

    def sums_below(self, thresholds: Float64Array) -> Float64Array:
        """Return count, Σx and Σx² of the values below each threshold, and of all values: (thresholds + 1, 3)."""
        sums = np.empty((thresholds.size + 1, 3))
        kernels.sums_below(self.index, thresholds, sums)
        return sums

    @property
    def _reading(self) -> tuple[Callable[..., None], Any]:
        """Return the kernel that reads every value, and what it reads."""
        if self.counts is None:
            return direct.even_errors, self.values
        return direct.counted_even_errors, (self.values, self.counts)

    def _direct(self, step: float, qmin: int, qmax: int) -> float:
        if self.counts is not None:
            whole = (self.values, self.counts)
            parts = over_ranges(self.size, lambda a, b: direct.counted_even_error(whole, step, qmin, qmax, a, b))
        else:
            parts = over_ranges(self.size, lambda a, b: direct.even_error(self.values, step, qmin, qmax, a, b))
        return math.fsum(parts)


def _near(levels: Float64Array) -> Float64Array:
    """Return the levels without those that no float32 is nearest to, so far off that their squares may overflow."""
    if levels[0] > -FAR and levels[-1] < FAR:
        return levels
    size = np.abs(levels)
    return levels[size < max(FAR, 2.0 * float(size.min()))]


def _moment_histogram(flat: Float32Array, max_abs: float) -> kernels.Index:
    """Bin by a log-linear key whose offset is a quarter of the root mean square (of a sample).

    More would make bins of the values that matter wider, and errors larger; less would only add bins around 0.
    A power of two, `unit`, first brings the values to a magnitude at which float32 has all its bits.
    """
    unit = np.float32(2.0 ** min(max(-math.frexp(max_abs)[1], -LARGEST_EXPONENT), LARGEST_EXPONENT))
    sample = flat[:: max(1, flat.size >> 14)].astype(np.float64) * float(unit)
    top = np.float32(max_abs) * unit
    smallest = max(float(top) * 2.0**-16, float(np.finfo(np.float32).tiny))
    offset = np.float32(max(0.25 * float(np.sqrt(np.mean(np.square(sample)))), smallest))
    base = np.int32(int(offset.view(np.int32)) >> int(kernels.DROPPED_BITS))
    half = np.int32((int((top + offset).view(np.int32)) >> int(kernels.DROPPED_BITS)) - base + 1)

    def moments(start: int, stop: int) -> Float64Array:
        sums = _rows_of_four(2 * int(half) + 1)
        kernels.add_moments(flat[start:stop], unit, offset, base, half, sums[1:])
        return sums

    sums, *others = over_ranges(flat.size, moments)
    for other in others:
        sums += other
    spread = np.empty((2 * int(half), 3))
    kernels.spread_bins(sums[1:], spread)
    kernels.accumulate(sums)
    no_values = np.empty((0, kernels.RUN), np.float32)
    return kernels.Index(sums, spread, no_values, no_values[:, 0], unit, offset, base, half)


def _rows_of_four(count: int) -> Float64Array:
    """Return zeros of shape (count, 4), no row of which crosses a cache line."""
    room = np.zeros(4 * count + 3)
    start = -(room.ctypes.data // room.itemsize) % 4
    return room[start : start + 4 * count].reshape(count, 4)
