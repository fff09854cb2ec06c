"""Partial sums of sizes and costs of which none is both larger and dearer than another, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.allocation.problem import Allocation, Choice, Float64Array, read_problem
from quant_engine.errors import QuantError

MAX_SUMS = 1 << 23  # of one layer before the best are kept: about 200 MB
MAX_WORK = 1 << 28  # of all layers together: a minute

Sizes = NDArray[Any]  # float64, or int64 where they are counted
Keep = Callable[[Sizes, Float64Array], NDArray[np.bool_]]


class Front:
    """The sums (size, cost) of the layers so far, by rising size and falling cost, and how each came about."""

    def __init__(self, dtype: type[np.generic] = np.float64, max_work: int = MAX_WORK) -> None:
        """Begin without a layer; `dtype` is that of the sizes, `max_work` how many sums are tried of all layers."""
        self.size: Sizes = np.zeros(1, dtype)
        self.cost: Float64Array = np.zeros(1)
        self._origins: list[tuple[Choice, Choice]] = []
        self._work_left = max_work

    def add(self, sizes: Sizes, costs: Float64Array, keep: Keep | None = None) -> None:
        """Add every choice of a layer to every sum, keep the sums that `keep` says, and of these the best.

        Of equal sums the one stays whose choice is the first, then the one whose sum before was the smaller.

        Raises:
            QuantError: where more sums than memory or patience holds could still be the best.
        """
        sums = len(self.size) * len(sizes)
        self._work_left -= sums
        if sums > MAX_SUMS or self._work_left < 0:
            raise QuantError(
                f"{len(self.size)} partial sums of {len(self._origins)} layers could each be the best, more than "
                "memory and time allow; round sizes up to whole numbers of a larger unit, or use greedy()"
            )
        size = (sizes[:, None] + self.size).reshape(-1)
        cost = (costs[:, None] + self.cost).reshape(-1)
        kept = np.arange(sums) if keep is None else np.flatnonzero(keep(size, cost))
        order = kept[np.lexsort((cost[kept], size[kept]))]
        below = np.minimum.accumulate(np.concatenate([[np.inf], cost[order]]))
        order = order[cost[order] < below[:-1]]
        self._origins.append((order // len(self.size), order % len(self.size)))
        self.size, self.cost = size[order], cost[order]

    def choices(self, at: Choice) -> Choice:
        """Return the choices behind the sums at some places, (places, layers so far)."""
        found = np.empty((len(at), len(self._origins)), np.int64)
        for layer in reversed(range(len(self._origins))):
            choice, before = self._origins[layer]
            found[:, layer], at = choice[at], before[at]
        return found


def pareto(costs: ArrayLike, sizes: ArrayLike) -> list[Allocation]:
    """Return every allocation that is the best at some budget, by rising size and falling cost.

    Exact dynamic programming over partial sums, without those that are beaten. The number of points can be large: with
    integer sizes at most one for each sum of sizes.

    Raises:
        QuantError: for costs and sizes as in `allocate`, where their sums overflow, and where the front is larger than
            memory holds.

    Example:
        >>> [(point.size, point.cost) for point in pareto([[9, 1], [5, 4]], [[2, 4], [2, 4]])]
        [(4.0, 14.0), (6.0, 6.0), (8.0, 5.0)]
    """
    problem, front = read_problem(costs, sizes), Front()
    for name, values in (("costs", problem.costs), ("sizes", problem.sizes)):
        if not np.isfinite(sum(np.abs(values).max(axis=1).tolist())):
            raise QuantError(f"{name} up to {np.abs(values).max():g} overflow when they are added up; divide them all")
    for layer in range(problem.layers):
        front.add(problem.sizes[layer], problem.costs[layer])
    choices = front.choices(np.arange(len(front.size)))
    return [
        Allocation(size, cost, tuple(choice))
        for size, cost, choice in zip(front.size.tolist(), front.cost.tolist(), choices.tolist(), strict=True)
    ]
