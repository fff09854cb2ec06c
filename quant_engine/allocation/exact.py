"""The exact allocation under a budget: dynamic programming, cut short by a Lagrangian bound.

The problem is the multiple-choice knapsack. For a price λ ≥ 0 of size, every allocation that fits obeys

    Σ cost = L(λ) + R + λ·(budget − Σ size),    L(λ) = Σ_layers min_choices (cost + λ·size) − λ·budget,

where R ≥ 0 sums what each layer's cost + λ·size lies above its least. L(λ) is thus a lower bound, and an allocation
within g of it has R ≤ g and Σ size ≥ budget − (g − R)/λ. A dynamic programme over Pareto-optimal partial sums keeps
only those that can still obey both; if it finds an allocation within g, that is the best, and otherwise g is doubled
(Kellerer, Pferschy, Pisinger 2004, Knapsack Problems, chapter 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.allocation.front import Front
from quant_engine.allocation.greedy import greedy
from quant_engine.allocation.problem import Choice, Float64Array, Problem, read_problem

FIRST_GAP = 1 / 64  # of what lies between the bound and the greedy allocation
SLACK = 1e-9  # of the sums, far above what float64 rounds


def allocate(costs: ArrayLike, sizes: ArrayLike, budget: float) -> Choice:
    """Return the index of the choice of each layer that minimises Σ cost subject to Σ size ≤ budget, exactly.

    `costs` and `sizes` are (layers, choices); costs may be negative. Of allocations that cost the same, the smaller one
    is returned, and always the same one. Integer sizes are held to the budget exactly, others to 1e-12 of it.

    Raises:
        QuantError: if no allocation fits, with the least size there is; for arrays of other shapes, values that are not
            finite, and negative sizes; and where more partial sums than memory holds could each be the best.

    Example:
        >>> allocate([[10, 0], [9, 3], [9, 3]], [[0, 5], [0, 4], [0, 4]], budget=8).tolist()
        [0, 1, 1]
    """
    problem = read_problem(costs, sizes)
    limit = problem.limit(budget)
    free = np.lexsort((problem.sizes, problem.costs), axis=1)[:, 0].astype(np.int64)
    if problem.allocation(free).size <= limit:
        return free
    bound = _Bound.at_best_price(problem, limit)
    most = problem.allocation(greedy(costs, sizes, budget)).cost - bound.value + bound.slack
    gap = most * FIRST_GAP
    while (found := _within(problem, bound, min(gap, most))) is None:
        gap *= 2
    return found


@dataclass(frozen=True)
class _Bound:
    """A price of size, and what it says about every allocation under `limit`."""

    limit: float
    price: float
    value: float
    slack: float
    above: Float64Array  # (layers, choices): how far cost + price · size lies above the layer's least
    room: Float64Array  # sum of the least sizes of the layers behind each
    reach: Float64Array  # of the largest

    @classmethod
    def at_best_price(cls, problem: Problem, limit: float) -> _Bound:
        """Return the bound of the price at which it is the largest: where the cheapest allocation just fits."""
        price = _best_price(problem, limit)
        priced = problem.costs + price * problem.sizes
        least = priced.min(axis=1)
        slack = SLACK * float(np.abs(problem.costs).max(axis=1).sum() + price * problem.sizes.max(axis=1).sum())
        return cls(
            limit,
            price,
            float(least.sum()) - price * limit,
            slack,
            priced - least[:, None],
            _behind(problem.sizes.min(axis=1)),
            _behind(problem.sizes.max(axis=1)),
        )


def _behind(values: Float64Array) -> Float64Array:
    """Return the sum of the values behind each."""
    return np.concatenate([np.cumsum(values[:0:-1])[::-1], np.zeros(1)])


def _best_price(problem: Problem, limit: float) -> float:
    """Return the price that maximises the bound: the slope at which the layers' convex hulls use up the budget.

    Each layer begins with its smallest choice; the steps of its lower convex hull save less and less for their size, so
    that taking all layers' steps by that saving gives the relaxed optimum (Sinha, Zoltners 1979).
    """
    steps: list[tuple[float, float]] = []
    used = 0.0
    for sizes, costs in problem.each():
        hull: list[tuple[float, float]] = []
        for size, cost in sorted(zip(sizes.tolist(), costs.tolist(), strict=True)):
            if hull and cost >= hull[-1][1]:
                continue
            while len(hull) > 1 and _saving(hull[-2], hull[-1]) <= _saving(hull[-1], (size, cost)):
                hull.pop()
            hull.append((size, cost))
        used += hull[0][0]
        steps += [(_saving(a, b), b[0] - a[0]) for a, b in pairwise(hull)]
    for saving, grown in sorted(steps, reverse=True):
        used += grown
        if used > limit:
            return saving
    return 0.0


def _saving(now: tuple[float, float], then: tuple[float, float]) -> float:
    """Return the cost saved for the size that is added; both (size, cost), `then` the larger and cheaper."""
    return (now[1] - then[1]) / (then[0] - now[0])


def _within(problem: Problem, bound: _Bound, gap: float) -> Choice | None:
    """Return the best allocation if its cost is at most `gap` above the bound."""
    front = Front(problem)
    within = gap + bound.slack
    least = np.cumsum((problem.costs + bound.price * problem.sizes - bound.above)[:, 0])

    def keep(layer: int, size: Float64Array, cost: Float64Array) -> NDArray[np.bool_]:
        above = cost + bound.price * size - least[layer]
        short = bound.price * (bound.limit - bound.reach[layer] - size)
        kept: NDArray[np.bool_] = (size + bound.room[layer] <= bound.limit) & (above + np.maximum(short, 0.0) <= within)
        return kept

    for layer in range(problem.layers):
        front.add(layer, keep)
    if not front.cost.size or front.cost[-1] > bound.value + gap:
        return None
    best: Choice = front.choices(np.array([len(front.cost) - 1]))[0]
    return best
