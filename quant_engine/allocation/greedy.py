"""The allocation by the largest gain for its size: fast, good, and not always the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.allocation.problem import Choice, Knapsack, read_problem


def greedy(costs: ArrayLike, sizes: ArrayLike, budget: float) -> Choice:
    """Return the choices that are found by always taking the step that saves the most cost for its size.

    From the smallest choice of every layer on (of equal ones the cheapest), the next step is the (layer, choice) of
    largest (cost now − cost then)/(size then − size now) among those that fit, of equal ones the first; it ends when no
    step that fits saves anything. A heuristic for comparison: what `allocate` returns costs the same or less.

    Raises:
        QuantError: as `allocate`, but never for too many partial sums.

    Example:
        >>> costs, sizes = [[10, 0], [9, 3], [9, 3]], [[0, 5], [0, 4], [0, 4]]
        >>> greedy(costs, sizes, 8).tolist()  # costs 18; the best is [0, 1, 1] and costs 16
        [1, 0, 0]
    """
    return best_gains(read_problem(costs, sizes).within(budget))


def best_gains(knapsack: Knapsack) -> Choice:
    """Return the choices of `greedy`."""
    costs, sizes = knapsack.costs, knapsack.sizes
    layers = np.arange(len(costs))
    chosen = np.lexsort((costs, sizes), axis=1)[:, 0].astype(np.int64)
    while True:
        saved = costs[layers, chosen][:, None] - costs
        grown = sizes - sizes[layers, chosen][:, None]
        fits = (saved > 0) & (grown <= knapsack.limit - sizes[layers, chosen].sum())
        if not fits.any():
            return chosen
        gain = np.full(saved.shape, np.inf)  # for what saves cost and takes no size
        np.divide(saved, grown, out=gain, where=grown > 0)
        layer, choice = np.unravel_index(np.where(fits, gain, -np.inf).argmax(), gain.shape)
        chosen[layer] = choice
