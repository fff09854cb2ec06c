"""Layers ranked by what is cheap to know of their weights, against the damage that is measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from quant_engine.inputs import Float64Array
from quant_engine.tasks import Score
from quant_engine.tasks.score import difference


@dataclass(frozen=True)
class Ranking:
    """How a proxy ranks layers, against their measured damage.

    Of all `pairs` of layers the proxy puts `wrong` in the other order, `sure` of them where the 95 % interval of the
    difference, sample by sample, leaves out 0. `correlation` is Spearman's. `misplaced` are the layers furthest from
    their measured place, none where every place is right.
    """

    proxy: dict[str, float]
    measured: dict[str, float]
    pairs: int
    wrong: int
    sure: int
    correlation: float
    misplaced: tuple[str, ...]

    @property
    def lies(self) -> bool:
        """Whether the order is wrong beyond chance."""
        return self.sure > 0


def ranking(proxy: Mapping[str, float], found: Mapping[str, Score]) -> Ranking:
    """Compare the order of layers by a proxy with that by a measured score of theirs, such as KL divergence."""
    measured = {layer: score.value for layer, score in found.items()}
    pairs = [*itertools.combinations(measured, 2)]
    wrong = [(a, b) for a, b in pairs if (proxy[a] - proxy[b]) * (measured[a] - measured[b]) < 0]
    ends = (difference(found[a], found[b]).interval for a, b in wrong)
    apart = np.abs(ranks([proxy[layer] for layer in measured]) - ranks(measured.values()))
    furthest = apart.max()
    return Ranking(
        dict(proxy),
        measured,
        len(pairs),
        len(wrong),
        sum(low > 0 or high < 0 for low, high in ends),
        rank_correlation(proxy, measured),
        tuple(layer for layer, by in zip(measured, apart, strict=True) if furthest and by == furthest),
    )


def rank_correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return Spearman's correlation of two measures of the same things; NaN where one has no order.

    Example:
        >>> a, b = {"p": 1.0, "q": 2.0, "r": 3.0, "s": 5.0}, {"p": 2.0, "q": 1.0, "r": 3.0, "s": 9.0}
        >>> round(rank_correlation(a, b), 2)
        0.8
    """
    first, second = ranks(one.values()), ranks(other[name] for name in one)
    if not (len(first) > 1 and first.std() and second.std()):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def ranks(values: Iterable[float]) -> Float64Array:
    """Return the place of each value from 1, the greatest first; equal ones have the mean of their places.

    Example:
        >>> ranks([5, 7, 5]).tolist()
        [2.5, 1.0, 2.5]
    """
    _, kind, counts = np.unique(-np.array([*values], np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Float64Array = (last - (counts - 1) / 2)[kind]
    return found
