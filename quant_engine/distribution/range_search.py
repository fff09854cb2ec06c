"""Search of the clipping range with the least mean squared error.

The error of uniform levels falls and rises with their step, but not smoothly: on small tensors, and where values
repeat, it has many local minima. So the search looks everywhere on a coarse grid; where a zero point is to be found,
then at all steps and zero points that this grid cannot rule out; then closely around the best, which it improves by
least squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_member, validate_boolean
from quant_engine.distribution.indexed import STEPS, IndexedValues
from quant_engine.distribution.scale_search import MAX_REACH, best_scale, level_errors
from quant_engine.errors import QuantError
from quant_engine.formats import FORMATS
from quant_engine.inputs import Float64Array, as_ranges

COARSE_STEPS = 64  # for each zero point, while that is being chosen
DENSE_STEPS = 256, 1024  # for one zero point; the more the fewer values there are, as their error is the more jagged
DENSE_BUDGET = 1 << 18  # values read for one dense run
CLOSE_LOOKS = 64  # candidates looked at more closely
CLOSE_STEPS = 16  # around each
POLISHED_STEPS = 16  # improved by least squares
SEARCH_FLOOR = 0.1  # the smallest clip tried, as a share of mean |x|
MAX_ZERO_POINTS = 32  # tried in the first round
DENSE_ZERO_POINTS = 64  # whose steps are tried densely, between the first and the last that is not ruled out …
BEST_ZERO_POINTS = 16  # … and among the best
SLACK = 0.05  # what exceeds the least error on a coarse grid by more is ruled out, …
SAMPLING_SLACK = 5.0  # … and this / √n more, as the error of n values is scattered
DIRECT_SEARCH_VALUES = 1 << 14  # tensors this small are read for every candidate of a fine format
DIRECT_BUDGET = 1 << 23  # values read on either side of the best step, in each of the last rounds for a fine format
READ_UP_TO = 1 << 22  # values; with more, a histogram's estimate for a fine format is as near as reading them
FINE_REACH = 0.03  # of the first of these rounds, relative to the step


def range_errors(indexed: IndexedValues, format: Any, ranges: ArrayLike, symmetric: bool) -> Float64Array:
    """Return the mean squared error of each clipping range (n, 2), as `Distribution.range_errors` has it.

    Raises:
        QuantError: for ranges of another shape, not finite, or without width.
    """
    _validate(format, symmetric)
    array = as_ranges(ranges)
    low, high = np.minimum(array[:, 0], 0.0), np.maximum(array[:, 1], 0.0)
    if not (low < high).all():
        raise QuantError(f"every range must have a width; {array[~(low < high)][:3].tolist()} have none: give lo < hi")
    if not format.even:
        return level_errors(indexed, format, np.maximum(-low, high) / format.symmetric_max)
    if symmetric:
        steps = np.maximum(-low, high) / format.qmax
        zero = np.zeros(steps.size, np.int64)
    else:
        span = format.qmax - format.qmin
        steps = np.maximum(high / span - low / span, STEPS[0])
        zero = np.clip(np.rint(format.qmin - low / steps), format.qmin, format.qmax).astype(np.int64)
    return indexed.even_errors(steps, format.qmin - zero, format.qmax - zero)


def _validate(format: Any, symmetric: Any) -> None:
    as_member(format, FORMATS, "format")
    validate_boolean(symmetric, "symmetric")


def best_range(indexed: IndexedValues, lo: float, hi: float, format: Any, symmetric: bool) -> tuple[float, float]:
    """Return the range with the least mean squared error of values from `lo` to `hi`; (0, 0) where all are 0."""
    _validate(format, symmetric)
    if lo == hi == 0.0:
        return 0.0, 0.0
    if not format.even:
        reach = min(best_scale(indexed, max(-lo, hi) / format.symmetric_max, format) * format.symmetric_max, MAX_REACH)
        return (-reach if format.lowest < 0.0 else 0.0), reach
    search = RangeSearch(indexed, lo, hi, format.qmax - format.qmin)
    if symmetric:
        reach = search.best_step(-format.qmin) * format.qmax
        return (-reach if format.qmin < 0 else 0.0), reach
    step, zero = search.best_step_and_zero()
    return -zero * step, (search.span - zero) * step


@dataclass(frozen=True, eq=False)
class RangeSearch:
    """The search over one tensor for levels step · k, −zero ≤ k ≤ span − zero; `lo` and `hi` are its extremes."""

    indexed: IndexedValues
    lo: float
    hi: float
    span: int

    def best_step(self, zero: int) -> float:
        """Return the best step for one zero point; the largest one tried makes the last level reach the peak."""
        qmax = self.span - zero
        covering = max(-self.lo, self.hi) / qmax
        if zero <= 0 and self.hi <= 0.0:
            return covering  # no value lies on the side that has levels
        grid = self._grid(covering, zero, 2 * self._dense_steps)
        return self._better((covering, zero), self._refined(grid[None], np.array([zero])))[0]

    def best_step_and_zero(self) -> tuple[float, int]:
        """Return the best step and zero point."""
        low, high = min(self.lo, 0.0), max(self.hi, 0.0)
        covering = (high - low) / self.span
        natural = round(-low / covering)
        tried = self._try_zero_points(natural)
        min_error = min(float(errors.min()) for _, errors in tried.values())
        return self._better((covering, natural), self._refined(*self._dense_runs(tried, min_error)))

    def _try_zero_points(self, natural: int) -> dict[int, tuple[Float64Array, Float64Array]]:
        """Return grids of steps and their errors for zero points all over, closest where the error is least."""
        tried: dict[int, tuple[Float64Array, Float64Array]] = {}
        stride = max(1, math.ceil(self.span / MAX_ZERO_POINTS))
        around = {*range(0, self.span, stride), self.span, natural}
        while around:
            zeros = sorted(zero for zero in around if self._covering(zero) > 0.0)
            if zeros:
                grids = np.stack([self._grid(self._covering(zero), zero, COARSE_STEPS) for zero in zeros])
                errors = self._errors(grids.reshape(-1), np.repeat(zeros, COARSE_STEPS)).reshape(grids.shape)
                tried.update({zero: (grids[i], errors[i]) for i, zero in enumerate(zeros)})
            best = min(tried, key=lambda zero: float(tried[zero][1].min()))
            stride = max(1, stride // 2)
            around = {zero for zero in (best - stride, best + stride) if 0 <= zero <= self.span} - tried.keys() - around
        return tried

    def _dense_runs(
        self, tried: dict[int, tuple[Float64Array, Float64Array]], min_error: float
    ) -> tuple[Float64Array, NDArray[np.int64]]:
        """Return runs of steps, (zero points, steps), and their zero points, where the tried do not rule them out."""
        ranked = sorted(tried, key=lambda zero: float(tried[zero][1].min()))
        kept = sorted(zero for zero in ranked if tried[zero][1].min() <= min_error * self._slack)
        first, last = max(kept[0] - 1, 0), min(kept[-1] + 1, self.span)
        evenly = np.rint(np.linspace(first, last, min(last - first + 1, DENSE_ZERO_POINTS))).astype(int).tolist()
        zeros = {*evenly, *(zero for zero in ranked[:BEST_ZERO_POINTS] if zero in kept)}
        runs = {}
        for zero in sorted(zeros):
            if (covering := self._covering(zero)) > 0.0:
                grid, errors = tried[min(kept, key=lambda other: abs(other - zero))]
                low, high = self._not_ruled_out(errors, min_error)
                upper = covering if high == grid.size - 1 else min(float(grid[high]), covering)
                runs[zero] = np.geomspace(min(float(grid[low]), 0.9 * upper), upper, self._dense_steps)
        return np.stack(list(runs.values())), np.array(list(runs))

    def _refined(self, runs: Float64Array, zeros: NDArray[np.int64]) -> tuple[float, int]:
        """Look closely around the best candidates of runs of steps (zero points, steps), and improve the best."""
        gaps = np.repeat(np.log(runs[:, 1] / runs[:, 0]), runs.shape[1])
        steps, zeros = runs.reshape(-1), np.repeat(zeros, runs.shape[1])
        errors = self._errors(steps, zeros)
        best = np.argsort(errors)[:CLOSE_LOOKS]
        apart = np.linspace(-0.5, 0.5, CLOSE_STEPS, endpoint=False)[:, None] * gaps[best]
        close_steps = (steps[best] * np.exp(apart)).reshape(-1)
        close_zeros = np.tile(zeros[best], CLOSE_STEPS)
        errors = np.concatenate([errors[best], self._errors(close_steps, close_zeros)])
        steps, zeros = np.concatenate([steps[best], close_steps]), np.concatenate([zeros[best], close_zeros])
        best = np.argsort(errors)[:POLISHED_STEPS]
        if self._estimated:
            return float(steps[best[0]]), int(zeros[best[0]])
        if self._fine:
            return self._narrowed(float(steps[best[0]]), int(zeros[best[0]]))
        candidates = [(float(steps[i]), int(zeros[i])) for i in best]
        polished = [self.indexed.polished(step, -zero, self.span - zero) for step, zero in candidates]
        winner = min(range(len(polished)), key=lambda i: polished[i][1])
        return polished[winner][0], candidates[winner][1]

    def _narrowed(self, step: float, zero: int) -> tuple[float, int]:
        """Evaluate ever finer grids around a step, reading every value, as often as the tensor's size allows."""
        reach = FINE_REACH
        count = 2 * min(max(DIRECT_BUDGET // self.indexed.size, 4), 512) + 1
        for _ in range(3):
            steps = step * np.exp(np.linspace(-reach, reach, count))
            errors = self.indexed.even_errors(steps, np.full(count, -zero), np.full(count, self.span - zero))
            step = float(steps[np.argmin(errors)])
            reach *= 4.0 / count
        return step, zero

    def _better(self, one: tuple[float, int], other: tuple[float, int]) -> tuple[float, int]:
        """Return the step and zero point with the smaller error."""
        steps, zeros = np.array([one[0], other[0]]), np.array([one[1], other[1]])
        found = self.indexed.estimated_errors if self._estimated else self.indexed.even_errors
        errors = found(steps, -zeros, self.span - zeros)
        return one if errors[0] <= errors[1] else other

    def _errors(self, steps: Float64Array, zeros: NDArray[np.int64]) -> Float64Array:
        """Return the errors of candidates (estimates where many values would have to be read for each)."""
        if self._fine and self.indexed.size > DIRECT_SEARCH_VALUES:
            return self.indexed.estimated_errors(steps, -zeros, self.span - zeros)
        return self.indexed.even_errors(steps, -zeros, self.span - zeros)

    def _covering(self, zero: int) -> float:
        """Return the smallest step that clips nothing; 0 where no value lies on a side that has levels."""
        above, below = self.span - zero, zero
        return max(self.hi / above if above > 0 else 0.0, -self.lo / below if below > 0 else 0.0, 0.0)

    def _grid(self, covering: float, zero: int, count: int) -> Float64Array:
        """Return steps evenly spaced in logarithm, from a tenth of mean |x| to full coverage."""
        floor = SEARCH_FLOOR * self._mean_magnitude / max(self.span - zero, zero)
        return np.geomspace(min(floor, covering / 4.0), covering, count)

    def _not_ruled_out(self, errors: Float64Array, min_error: float) -> tuple[int, int]:
        """Return the first and last place whose error may come near the least, and one more to either side."""
        kept = np.flatnonzero(errors <= min_error * self._slack)
        return max(int(kept[0]) - 1, 0), min(int(kept[-1]) + 1, errors.size - 1)

    @cached_property
    def _mean_magnitude(self) -> float:
        return self.indexed.mean_magnitude

    @property
    def _dense_steps(self) -> int:
        low, high = DENSE_STEPS
        return min(max(DENSE_BUDGET // self.indexed.size, low), high)

    @property
    def _slack(self) -> float:
        return 1.0 + SLACK + SAMPLING_SLACK / math.sqrt(self.indexed.size)

    @property
    def _fine(self) -> bool:
        return bool(self.indexed.is_fine(self.span + 1))

    @property
    def _estimated(self) -> bool:
        return self._fine and self.indexed.size > READ_UP_TO
