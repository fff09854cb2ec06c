"""The exact allocation under a budget: dynamic programming over departures from the relaxed optimum.

The problem is the multiple-choice knapsack. For a price λ ≥ 0 of size, every allocation that fits obeys

    Σ cost = L(λ) + R + λ·(budget − Σ size),    L(λ) = Σ_layers min_choices (cost + λ·size) − λ·budget,

where R ≥ 0 sums what each layer's cost + λ·size lies above its least. L(λ) is thus a lower bound. At the best price the
least choices fit (the break solution), and an allocation that beats one found before by more than rounding, within g of
L(λ), has R ≤ g and Σ size ≥ budget − (g − R)/λ.

1. Drop choices that no allocation better than the greedy one can have, until none is left to drop.
2. Find the best price and the break solution.
3. Take the layers one after another, those first that depart from it most cheaply, and keep the Pareto-optimal partial
   sums of departures that can still beat the best allocation so far. Each that fits is an allocation itself, with the
   layers behind in the break solution; so g falls on the way, and soon the layers behind have one choice left.

Numbers are scaled by powers of two, so that no sum overflows or vanishes, whatever their unit. As hard instances remain
(the problem is NP-hard), the partial sums are limited; beyond that it refuses.

Source: H. Kellerer, U. Pferschy, D. Pisinger, Knapsack Problems, 2004, sections 11.2 and 11.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.allocation.front import Front, Keep, Sizes
from quant_engine.allocation.greedy import best_gains
from quant_engine.allocation.problem import Choice, Float64Array, Knapsack, read_problem

MAX_WORK = 1 << 25  # partial sums that are tried: a few seconds
Step = tuple[int, float, int]  # size, cost, choice


def allocate(costs: ArrayLike, sizes: ArrayLike, budget: float) -> Choice:
    """Return the index of the choice of each layer that minimises Σ cost subject to Σ size ≤ budget, exactly.

    `costs` and `sizes` are (layers, choices); costs may be negative. Of allocations that cost the same, the smaller one
    is returned, and always the same one; sums of costs are compared in float64. Integer sizes are held to the budget
    exactly, others to 1e-12 of it.

    Raises:
        QuantError: if no allocation fits, with the least size there is; for arrays of other shapes, values that are no
            finite numbers, negative sizes, and integer sizes that sum up beyond 2^53; and where more partial sums than
            memory and time allow could each be the best.

    Example:
        >>> allocate([[10, 0], [9, 3], [9, 3]], [[0, 5], [0, 4], [0, 4]], budget=8).tolist()
        [0, 1, 1]
    """
    knapsack = read_problem(costs, sizes).within(budget)
    free = np.lexsort((knapsack.sizes, knapsack.costs), axis=1)[:, 0].astype(np.int64)
    if sum(knapsack.sizes[np.arange(len(free)), free].tolist()) <= knapsack.limit:
        return free
    found = best_gains(knapsack)
    return _Search(_reduced(knapsack, found), found).run()


@dataclass(frozen=True)
class _Reduced:
    """What is left: costs and sizes above each layer's least, and which choices; costs up to about 1."""

    costs: Float64Array
    sizes: NDArray[np.int64]
    kept: NDArray[np.bool_]
    limit: int


def _reduced(knapsack: Knapsack, found: Choice) -> _Reduced:
    """Return a knapsack without the choices that fit nowhere, or that cost more than all of an allocation found."""
    layers, kept = np.arange(len(found)), np.ones(knapsack.costs.shape, np.bool_)
    while True:
        min_size = np.where(kept, knapsack.sizes, knapsack.limit).min(axis=1)
        limit = knapsack.limit - int(min_size.sum())
        sizes = knapsack.sizes - min_size[:, None]
        costs = knapsack.costs - np.where(kept, knapsack.costs, np.inf).min(axis=1)[:, None]
        highest = sum(costs[layers, found].tolist())
        left = kept & (sizes <= limit) & (costs <= highest)
        if (left == kept).all():
            scaled = np.ldexp(np.where(kept, costs, 0.0), -math.frexp(highest)[1])
            return _Reduced(scaled, sizes, kept, limit)
        kept = left


class _Search:
    """The dynamic programme, and the best allocation so far; costs and sizes count from the break solution."""

    def __init__(self, reduced: _Reduced, found: Choice) -> None:
        """Find price and break solution; `found` is an allocation that fits."""
        self._rows = np.arange(len(found))
        self._price, self._base = _break(reduced)
        base_size = reduced.sizes[self._rows, self._base]
        self._sizes = np.where(reduced.kept, reduced.sizes - base_size[:, None], 0)
        self._costs = reduced.costs - reduced.costs[self._rows, self._base][:, None]
        self._above = np.where(reduced.kept, self._costs + self._price * self._sizes, np.inf)
        self._room = reduced.limit - int(base_size.sum())
        rounding = np.finfo(np.float64).eps * (len(found) + 4)
        self._slack = 4 * rounding * (1.0 + self._price * reduced.limit)  # above what float64 rounds in a sum
        self._best, self._cost, self._size = self._base, 0.0, 0
        self._improve(found)

    def run(self) -> Choice:
        """Return the best allocation."""
        order = self._order()
        front, kept = Front(np.int64, MAX_WORK), list[Choice]()
        for done, layer in enumerate(order.tolist(), 1):
            choices = np.flatnonzero(self._worth(layer))
            kept.append(choices)
            front.add(self._sizes[layer, choices], self._costs[layer, choices], self._beating(order[done:]))
            at = int(np.searchsorted(front.size, self._room, side="right")) - 1
            if at >= 0 and (front.cost[at], front.size[at]) < (self._cost, self._size):
                places = front.choices(np.array([at]))[0].tolist()
                found = self._base.copy()
                found[order[:done]] = [one[place] for one, place in zip(kept, places, strict=True)]
                self._improve(found)
            if not len(front.size):
                break
        return self._best

    def _order(self) -> Choice:
        """Return the layers, those first that grow or shrink most cheaply, by turns, to bring sums near the room."""
        ranks = []
        for departs in (self._sizes > 0, self._sizes < 0):
            cheapest = np.where(departs, self._above, np.inf).min(axis=1)
            ranks.append(np.argsort(np.argsort(cheapest, kind="stable"), kind="stable"))
        return np.argsort(np.minimum(*ranks), kind="stable")

    @property
    def _gap(self) -> float:
        """What the best allocation costs above the bound, −price · room."""
        return self._cost + self._price * self._room

    def _improve(self, found: Choice) -> None:
        """Take an allocation if it costs less than the best, or the same and is smaller."""
        cost = float(self._costs[self._rows, found].sum())
        size = int(self._sizes[self._rows, found].sum())
        if (cost, size) < (self._cost, self._size):
            self._best, self._cost, self._size = found, cost, size

    def _worth(self, layers: Any) -> NDArray[np.bool_]:
        """Return which choices of layers an allocation as good as the best can have."""
        worth: NDArray[np.bool_] = self._above[layers] <= self._gap + self._slack
        return worth

    def _beating(self, behind: Choice) -> Keep:
        """Return what says of partial sums whether they can beat the best allocation, with the layers behind."""
        sizes = np.where(self._worth(behind), self._sizes[behind], 0)
        min_size, max_size = int(sizes.min(axis=1).sum()), float(sizes.max(axis=1).sum(dtype=np.float64))
        smaller = self._price * (self._room - self._size) + max(self._price, 2 * self._slack)

        def keep(size: Sizes, cost: Float64Array) -> NDArray[np.bool_]:
            above = cost + self._price * size
            short = self._price * np.maximum(self._room - max_size - size, 0.0)
            cheaper = above + short <= self._gap - self._slack
            kept: NDArray[np.bool_] = (size + min_size <= self._room) & (
                cheaper | (above + np.maximum(short, smaller) <= self._gap + self._slack)
            )
            return kept

        return keep


def _break(reduced: _Reduced) -> tuple[float, Choice]:
    """Return the price that maximises the bound, and the least choices at it, which fit.

    Each layer begins with its smallest choice; the steps of its lower convex hull save less and less for their size, so
    that taking all layers' steps by that saving gives the relaxed optimum, until one does not fit (Sinha, Zoltners
    1979).
    """
    steps: list[tuple[float, int, int, int]] = []
    base = np.empty(len(reduced.costs), np.int64)
    for layer, kept in enumerate(reduced.kept):
        choices = np.flatnonzero(kept)
        hull = _hull(reduced.sizes[layer, choices], reduced.costs[layer, choices], choices)
        base[layer] = hull[0][2]
        steps += [(_saving(now, then), layer, then[0] - now[0], then[2]) for now, then in pairwise(hull)]
    used = 0
    for saving, layer, grown, choice in sorted(steps, key=lambda step: -step[0]):
        used += grown
        if used > reduced.limit:
            return saving, base
        base[layer] = choice
    return 0.0, base


def _hull(sizes: NDArray[np.int64], costs: Float64Array, choices: Choice) -> list[Step]:
    """Return the choices that are the least at some price, by rising size and falling cost."""
    hull: list[Step] = []
    for step in sorted(zip(sizes.tolist(), costs.tolist(), choices.tolist(), strict=True)):
        if hull and step[1] >= hull[-1][1]:
            continue
        while len(hull) > 1 and _saving(hull[-2], hull[-1]) <= _saving(hull[-1], step):
            hull.pop()
        hull.append(step)
    return hull


def _saving(now: Step, then: Step) -> float:
    """Return the cost saved for the size that is added; `then` is the larger and cheaper."""
    return (now[1] - then[1]) / (then[0] - now[0])
