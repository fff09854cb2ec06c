"""The numbers that an allocation is made of, checked once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.errors import QuantError

Float64Array = NDArray[np.float64]
Choice = NDArray[np.int64]

ROUNDING = (
    1e-12  # of a sum of sizes that are no integers, relative: a plan fits the budget that its own sizes sum up to
)


class Allocation(NamedTuple):
    """A choice of each layer, and what the choices take and cost together."""

    size: float
    cost: float
    choice: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """Costs and sizes, (layers, choices)."""

    costs: Float64Array
    sizes: Float64Array

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.costs)

    def limit(self, budget: float) -> float:
        """Return the largest sum of sizes that fits: the budget, and for sizes that are no integers its rounding.

        Raises:
            QuantError: if the budget is NaN or below the least size there is.
        """
        if isinstance(budget, bool) or not isinstance(budget, int | float | np.number) or math.isnan(budget):
            raise QuantError(f"budget={budget!r} is no number; give the most that the sizes may sum up to")
        exact = bool((self.sizes == np.rint(self.sizes)).all())
        limit = float(budget) if exact else float(budget) + ROUNDING * abs(float(budget))
        least = float(self.sizes.min(axis=1).sum())
        if least > limit:
            raise QuantError(
                f"no choice fits budget={budget:g}: the smallest choice of every layer takes {least:g} together; "
                "raise the budget to that, or offer smaller choices"
            )
        return limit

    def allocation(self, choice: Choice) -> Allocation:
        """Return a choice with its sums, added up layer by layer."""
        layers = np.arange(self.layers)
        size, cost = (sum(part[layers, choice].tolist()) for part in (self.sizes, self.costs))
        return Allocation(size, cost, tuple(choice.tolist()))

    def each(self) -> Iterator[tuple[Float64Array, Float64Array]]:
        """Yield the sizes and costs of each layer's choices."""
        return zip(self.sizes, self.costs, strict=True)


def read_problem(costs: ArrayLike, sizes: ArrayLike) -> Problem:
    """Return checked costs and sizes.

    Raises:
        QuantError: for arrays that are not both (layers, choices), without a choice, with values that are not finite,
            or with negative sizes.
    """
    read = [_matrix(name, values) for name, values in (("costs", costs), ("sizes", sizes))]
    if read[0].shape != read[1].shape:
        raise QuantError(f"costs have shape {read[0].shape}, sizes {read[1].shape}; give both as (layers, choices)")
    if (read[1] < 0).any():
        layer, choice = np.argwhere(read[1] < 0)[0]
        raise QuantError(
            f"sizes[{layer}, {choice}] is {read[1][layer, choice]:g}; a size is 0 or more, so count from the smallest"
        )
    return Problem(*read)


def _matrix(name: str, values: Any) -> Float64Array:
    try:
        matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
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
