"""Partial sums of sizes and costs of which none is both larger and dearer than another, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.allocation.problem import Allocation, Choice, Float64Array, Problem, read_problem
from quant_engine.errors import QuantError

MOST_SUMS = 1 << 22  # kept of one layer: about 100 MB

Keep = Callable[[int, Float64Array, Float64Array], NDArray[np.bool_]]


class Front:
    """The sums (size, cost) of the layers so far, by rising size and falling cost, and how each came about."""

    def __init__(self, problem: Problem) -> None:
        """Begin without a layer."""
        self._problem = problem
        self.size, self.cost = np.zeros(1), np.zeros(1)
        self._origins: list[tuple[Choice, Choice]] = []

    def add(self, layer: int, keep: Keep) -> None:
        """Add every choice of a layer to every sum, keep the sums that `keep` says, and of these the best.

        Of equal sums the one stays whose choice is the first, then the one whose sum before was the smaller.

        Raises:
            QuantError: where more sums than memory holds could still be the best.
        """
        choices = self._problem.costs.shape[1]
        size = (self._problem.sizes[layer][:, None] + self.size).reshape(-1)
        cost = (self._problem.costs[layer][:, None] + self.cost).reshape(-1)
        kept = np.flatnonzero(keep(layer, size, cost))
        order = kept[np.lexsort((cost[kept], size[kept]))]
        below = np.minimum.accumulate(np.concatenate([[np.inf], cost[order]]))
        order = order[cost[order] < below[:-1]]
        if len(order) * choices > MOST_SUMS * 2:
            raise QuantError(
                f"{len(order)} partial sums up to layer {layer} could each be the best, more than memory holds; "
                "round sizes to whole bytes, or offer fewer choices"
            )
        self._origins.append((order // len(self.size), order % len(self.size)))
        self.size, self.cost = size[order], cost[order]

    def choices(self, at: Choice) -> Choice:
        """Return the choices behind the sums at some places, (places, layers)."""
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
        QuantError: for costs and sizes as in `allocate`, and where the front is larger than memory holds.

    Example:
        >>> [(point.size, point.cost) for point in pareto([[9, 1], [5, 4]], [[2, 4], [2, 4]])]
        [(4.0, 14.0), (6.0, 6.0), (8.0, 5.0)]
    """
    problem = read_problem(costs, sizes)
    front = Front(problem)
    for layer in range(problem.layers):
        front.add(layer, lambda _layer, size, _cost: np.ones(len(size), bool))
    choices = front.choices(np.arange(len(front.size)))
    return [
        Allocation(size, cost, tuple(choice))
        for size, cost, choice in zip(front.size.tolist(), front.cost.tolist(), choices.tolist(), strict=True)
    ]
