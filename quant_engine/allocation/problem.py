"""The numbers that an allocation is made of, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_number
from quant_engine.errors import QuantError

Float64Array = NDArray[np.float64]
Choice = NDArray[np.int64]

ROUNDING = (
    1e-12  # of a sum of sizes that are no integers, relative: a plan fits the budget that its own sizes sum up to
)
EXACT = 1 << 53  # float64 holds every integer up to it
UNITS = 60  # bits of a budget that is counted in units of its own


class Allocation(NamedTuple):
    """A choice of each layer, and what the choices take and cost together."""

    size: float
    cost: float
    choice: tuple[int, ...]


@dataclass(frozen=True)
class Knapsack:
    """Costs and sizes under a limit, (layers, choices), in powers of two of the units in which they were given.

    Sizes count 2⁻⁶⁰ of the limit, so that sums of them are exact; what is larger than the limit counts limit + 1. Sums
    and differences of costs do not overflow.
    """

    costs: Float64Array
    sizes: NDArray[np.int64]
    limit: int


@dataclass(frozen=True)
class Problem:
    """Costs and sizes, (layers, choices)."""

    costs: Float64Array
    sizes: Float64Array

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.costs)

    def within(self, budget: float) -> Knapsack:
        """Return the problem under a budget, or, for sizes that are no integers, under its rounding.

        Raises:
            QuantError: if the budget is no number, or below the least size there is.
        """
        limit = as_budget(budget)
        min_total = _total(self.sizes.min(axis=1))
        max_total = _total(self.sizes.max(axis=1))
        counted = max_total <= EXACT and bool((self.sizes == np.rint(self.sizes)).all())
        limit = limit if counted else limit + ROUNDING * abs(limit)
        if min_total > limit:
            raise QuantError(
                f"no choice fits budget={as_budget(budget):.17g}: the smallest choice of every layer takes "
                f"{min_total:.17g} together; raise the budget to that, or offer smaller choices"
            )
        fits = self.sizes <= limit  # what does not must not make the others vanish beside it
        sizes, spare = _summable(np.where(fits, self.sizes, 0.0))
        limit = min(math.ldexp(limit, -spare), 2 * _total(sizes.max(axis=1)))
        return _counted(_summable(self.costs)[0], sizes, fits, limit)


def as_budget(budget: Any) -> float:
    """Return a budget as a float, which may be infinite: no limit.

    Raises:
        QuantError: for what is no number.
    """
    endless = isinstance(budget, float | np.floating) and float(budget) == math.inf
    return math.inf if endless else as_number(budget, "budget")


def read_problem(costs: ArrayLike, sizes: ArrayLike) -> Problem:
    """Return checked costs and sizes.

    Raises:
        QuantError: for arrays that are not both (layers, choices), without a choice, with values that are no finite
            numbers, and with sizes that are negative, or integers whose sums float64 does not hold.
    """
    read = [_matrix(name, values) for name, values in (("costs", costs), ("sizes", sizes))]
    if read[0].shape != read[1].shape:
        raise QuantError(f"costs have shape {read[0].shape}, sizes {read[1].shape}; give both as (layers, choices)")
    if (read[1] < 0).any():
        layer, choice = np.argwhere(read[1] < 0)[0]
        raise QuantError(
            f"sizes[{layer}, {choice}] is {read[1][layer, choice]:g}; a size is 0 or more, so count from the smallest"
        )
    if np.asarray(sizes).dtype.kind in "iuO" and _total(read[1].max(axis=1)) > EXACT:
        raise QuantError(
            f"sizes sum up to {_total(read[1].max(axis=1)):.6g}, beyond 2^53, where float64 skips integers; "
            "count in a larger unit, for example sizes / 1024"
        )
    return Problem(*read)


def _matrix(name: str, values: Any) -> Float64Array:
    try:
        given = np.asarray(values)
        if given.dtype.kind not in "iufO":
            raise TypeError(f"their dtype is {given.dtype}")
        with np.errstate(over="ignore"):
            matrix = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise QuantError(
            f"{name} are no matrix of numbers: {error}; repeat a choice where a layer has fewer"
        ) from error
    if matrix.size == 0 and matrix.shape[:1] == (0,):
        return np.empty((0, 1))
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise QuantError(f"{name} have shape {matrix.shape}; give (layers, choices), with at least one choice")
    if not np.isfinite(matrix).all():
        layer, choice = np.argwhere(~np.isfinite(matrix))[0]
        raise QuantError(
            f"{name}[{layer}, {choice}] is {matrix[layer, choice]:g}; give finite numbers, "
            "and repeat a choice where a layer has fewer"
        )
    return matrix


def _total(values: Float64Array) -> float:
    """Return a sum, infinite beyond float64."""
    return float(sum(values.tolist()))


def _summable(values: Float64Array) -> tuple[Float64Array, int]:
    """Return values / 2^spare, and the least spare with which no sum and no difference of sums overflows."""
    exponent = math.frexp(float(np.abs(values).max(initial=0.0)))[1]
    spare = max(exponent + len(values).bit_length() + 2 - np.finfo(np.float64).maxexp, 0)
    return np.ldexp(values, -spare), spare


def _counted(costs: Float64Array, sizes: Float64Array, fits: NDArray[np.bool_], limit: float) -> Knapsack:
    """Return a knapsack whose sizes are counted in units of the limit; those that do not fit are 0."""
    places = UNITS - math.frexp(limit)[1]
    units = np.rint(np.ldexp(sizes, places)).astype(np.int64)
    min_total = int(np.where(fits, units, 1 << UNITS).min(axis=1).sum())
    whole = max(math.floor(math.ldexp(limit, places)), min_total)  # what fits in float64 fits
    return Knapsack(costs, np.where(fits, units, whole + 1), whole)
