"""Learned codebooks: the k levels with the least mean squared error, and the means of k equally filled parts.

Up to `EXACT_VALUES` distinct values, and wherever an exact answer is asked for, the best levels are found among all
partitions of the values (`kernels.segments`). Of more values, thresholds are first chosen from some thousands that
follow them, then from an even division of each bucket, and at last from ever finer steps about those chosen; each time
the best of all choices at hand is found.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_integer
from quant_engine.distribution.indexed import IndexedValues
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_array, as_float32, raise_non_finite
from quant_engine.kernels import segments
from quant_engine.kernels.parallel import over_ranges

MAX_LEVELS = 1 << 16
EXACT_VALUES = 1 << 16  # distinct ones
FIRST_THRESHOLDS = 1 << 13  # tried that share out the count equally, and as many that lie evenly in asinh(x)
PLACES_A_LEVEL = 32  # at least, among which thresholds are chosen
PARTS = 64, 32  # of each bucket so found, at whose edges thresholds are chosen anew, …
REACH, CLOSE_PARTS = 4, 8  # … and of the steps about each threshold
CLOSER_ROUNDS = 2
VALUE_COST = 64  # of one value in a search, in values read

UNWEIGHTED = np.empty(0, np.float32)

SumsBelow = Callable[[Float64Array], Float64Array]


def as_codeword_count(k: Any) -> int:
    """Return a number of levels as a plain integer."""
    return as_integer(k, "k", 1, MAX_LEVELS)


def best_levels(indexed: IndexedValues, k: int, exact: bool) -> Float64Array:
    """Return the levels with the least squared error of values behind a sorted index or a histogram."""
    levels = as_codeword_count(k)
    if not indexed.index.values.size:
        bins = indexed.index.spread[np.diff(indexed.index.prefix[:, 0]) > 0]
        if len(bins) >= levels * PLACES_A_LEVEL or (bins[:, 0] == bins[:, 1]).all():
            return _refined(lambda thresholds: indexed.sums_below(thresholds)[:, :2], np.unique(bins[:, 0]), levels)
        indexed = IndexedValues.in_order(indexed.values)
    if exact or _few_distinct(indexed.values, levels):
        return exact_levels(indexed.values, UNWEIGHTED, levels)
    first = _first_thresholds(indexed.values)
    return _refined(lambda thresholds: indexed.sums_below(thresholds)[:, :2], first, levels)


def exact_levels(in_order: NDArray[Any], weights: NDArray[Any], k: int) -> Float64Array:
    """Return the best levels of ascending values: no others have less error. Empty weights are 1 each."""
    held, sums = np.empty(in_order.size), np.zeros((in_order.size + 1, 2))
    count, _ = segments.distinct(in_order, weights, held, sums)
    path, *_ = segments.best_path(sums[: count + 1], as_codeword_count(k))
    levels = np.empty(path.size - 1)
    segments.means(held, sums, path, levels)
    return levels


def optimal_codebooks(values: Any, offsets: NDArray[np.int64], k: int, weights: Any = None) -> Float32Array:
    """Return the at most k levels with the least squared error of every block, (blocks, k), filled up with NaN.

    `values` (n,) hold one block after the other, block b from offsets[b] to offsets[b + 1]. `weights` (n,), positive or
    0, say how much each value's error counts; a block whose weights are all 0 is taken without them. Blocks of up to
    65,536 values get the best levels of all, larger ones levels whose error is within 1e-5 of theirs.

    Raises:
        QuantError: for values and weights that are not finite real numbers of one shape, negative weights, and k that
            is no integer from 1 to 65,536.

    Example:
        >>> optimal_codebooks([0.0, 1.0, 5.0, 6.0, 2.0, 2.0], np.array([0, 4, 6]), 2).tolist()
        [[0.5, 5.5], [2.0, nan]]
    """
    flat, held, offsets = _as_blocks(values, weights, offsets)
    if np.diff(offsets).max(initial=0) <= EXACT_VALUES:
        return _each_block(segments.optimal_codebooks, flat, held, offsets, as_codeword_count(k))
    found = np.full((offsets.size - 1, as_codeword_count(k)), np.nan, np.float32)
    for row, (first, last) in enumerate(pairwise(offsets.tolist())):
        levels = _large_block(flat[first:last], held[first:last], k)
        found[row, : levels.size] = levels
    return found


def quantile_codebooks(values: Any, offsets: NDArray[np.int64], k: int, weights: Any = None) -> Float32Array:
    """Return the means of k equally filled parts of every block, ascending, (blocks, k), filled up with NaN.

    A value at the edge of two parts counts to both, each with its share. Means, and not medians or the quantiles'
    midpoints (Dettmers et al., 8-bit Optimizers via Block-wise Quantization, 2022, equation 5), are the levels with the
    least squared error of these parts. Parts of one and the same mean are one level, and a block with no more than k
    distinct values has these. Arguments and refusals are those of `optimal_codebooks`.

    Example:
        >>> quantile_codebooks([0.0, 1.0, 5.0, 6.0, 20.0, 40.0], np.array([0, 6]), 3).tolist()
        [[0.5, 5.5, 30.0]]
    """
    return _each_block(segments.quantile_codebooks, *_as_blocks(values, weights, offsets), as_codeword_count(k))


def _each_block(
    kernel: Callable[..., None], values: Float32Array, weights: Float32Array, offsets: NDArray[np.int64], k: int
) -> Float32Array:
    """Return the levels that a kernel finds for every block, once its values are in order."""
    values, weights = values.copy(), weights.copy()
    found = np.full((offsets.size - 1, k), np.nan)

    def work(start: int, stop: int) -> None:
        _sort_blocks(values, weights, offsets[start : stop + 1].tolist())
        kernel(values, weights, offsets, start, stop, found)

    over_ranges(offsets.size - 1, work, cost=values.size * VALUE_COST)
    return found.astype(np.float32)


def _as_blocks(values: Any, weights: Any, offsets: Any) -> tuple[Float32Array, Float32Array, NDArray[np.int64]]:
    """Return values, weights and offsets that kernels take: no weights, or of every block some above 0."""
    flat = as_float32(values)
    ends = as_array(offsets, "offsets")
    offsets = ends.astype(np.int64) if ends.dtype.kind in "iu" else ends
    if (
        flat.ndim != 1
        or ends.ndim != 1
        or ends.dtype.kind not in "iu"
        or not (ends.size and ends[0] == 0 and ends[-1] == flat.size and (ends[1:] >= ends[:-1]).all())
    ):
        raise QuantError(
            f"offsets of dtype {ends.dtype} and shape {ends.shape} do not divide values of shape {flat.shape} into "
            "blocks; give ascending integers from 0 to the number of values, which are one run"
        )
    if not np.isfinite(flat).all():
        raise_non_finite(flat)
    if weights is None:
        return flat, UNWEIGHTED, offsets
    array = as_float32(weights, "weights")
    if array.shape != flat.shape:
        raise QuantError(f"weights of shape {array.shape} for values of shape {flat.shape}; give one a value")
    if not np.isfinite(array).all():
        raise_non_finite(array, "weights")
    if (array < 0.0).any():
        raise QuantError(f"{int((array < 0.0).sum())} weights are negative, the first {array[array < 0.0][0]}; give 0")
    filled = np.flatnonzero(np.diff(offsets))
    if filled.size and not (some := np.maximum.reduceat(array, offsets[filled]) > 0.0).all():
        array = array.copy()
        for block in filled[~some]:
            array[offsets[block] : offsets[block + 1]] = 1.0
    return flat, array, offsets


def _sort_blocks(values: Float32Array, weights: Float32Array, offsets: list[int]) -> None:
    """Sort every block in place, its weights along with it."""
    for first, last in pairwise(offsets):
        if weights.size:
            weights[first:last] = weights[first:last][np.argsort(values[first:last])]
        values[first:last].sort()


def _large_block(values: Float32Array, weights: Float32Array, k: int) -> Float64Array:
    """Return the levels of one block of any size."""
    if not values.size:
        return np.empty(0)
    if not weights.size:
        return best_levels(IndexedValues.build(values, float(np.abs(values).max()), exact=False), k, exact=False)
    kept = np.flatnonzero(weights > 0.0)
    kept = kept[np.argsort(values[kept])]
    in_order, held = values[kept], weights[kept].astype(np.float64)
    if _few_distinct(in_order, k):
        return exact_levels(in_order, held, k)
    sums = np.zeros((in_order.size + 1, 2))
    np.cumsum(np.stack([held, held * in_order], axis=1), axis=0, out=sums[1:])

    def below(thresholds: Float64Array) -> Float64Array:
        places = np.searchsorted(in_order, thresholds)
        return np.concatenate([sums[places], sums[-1:]])

    return _refined(below, _first_thresholds(in_order), k)


def _few_distinct(in_order: Float32Array, k: int) -> bool:
    """Say whether ascending values are few enough to look at all of them, or the levels too many not to."""
    if in_order.size <= EXACT_VALUES or k * PLACES_A_LEVEL > 2 * FIRST_THRESHOLDS:
        return True
    return int(np.count_nonzero(in_order[1:] != in_order[:-1])) < EXACT_VALUES


def _first_thresholds(in_order: Float32Array) -> Float64Array:
    """Return thresholds that follow the values: by count where they are dense, by magnitude where they are few."""
    size = in_order.size
    by_count = in_order[np.arange(FIRST_THRESHOLDS) * size // FIRST_THRESHOLDS].astype(np.float64)
    unit = 0.25 * float(np.sqrt(np.mean(np.square(by_count)))) or float(np.abs(in_order[[0, -1]]).max())
    low, high = np.arcsinh(in_order[[0, -1]].astype(np.float64) / unit).tolist()
    return np.union1d(by_count, unit * np.sinh(np.linspace(low, high, FIRST_THRESHOLDS)))


def _refined(sums_below: SumsBelow, first: Float64Array, k: int) -> Float64Array:
    """Return the levels whose thresholds are the best of the given, then of finer ones, again and again."""
    thresholds = first
    sums, chosen = _best_of(sums_below, thresholds, k)
    for count in PARTS:
        ends = np.concatenate([thresholds[:1], thresholds[chosen], thresholds[-1:]])
        thresholds = _between(ends, count)
        sums, chosen = _best_of(sums_below, thresholds, k)
    for _ in range(CLOSER_ROUNDS):
        near = np.clip(chosen[:, None] + np.arange(-REACH, REACH + 1), 0, thresholds.size - 1)
        thresholds = np.unique(_between(thresholds[near], CLOSE_PARTS))
        sums, chosen = _best_of(sums_below, thresholds, k)
    levels: Float64Array = sums[:, 1] / sums[:, 0]
    return levels


def _between(ends: Float64Array, parts: int) -> Float64Array:
    """Return ascending numbers with `parts` even steps from each to the next, along the last axis and flat."""
    steps = np.diff(ends, axis=-1)[..., None] * np.arange(parts) / parts
    return np.append((ends[..., :-1, None] + steps).reshape(-1), ends[..., -1].reshape(-1))


def _best_of(sums_below: SumsBelow, thresholds: Float64Array, k: int) -> tuple[Float64Array, NDArray[np.int64]]:
    """Return count and Σx of the best buckets that the thresholds can bound, and which thresholds bound them."""
    sums = np.concatenate([np.zeros((1, 2)), sums_below(thresholds)])
    unit = np.ldexp(1.0, np.frexp(sums[-1, 0])[1] - segments.WEIGHT_BITS)
    sums[:, 0] = np.rint(sums[:, 0] / unit) * unit
    apart = np.flatnonzero(np.diff(sums[:, 0]) > 0.0)
    sums = sums[np.append(0, apart + 1)]
    centred = sums.copy()
    centred[:, 1] -= sums[:, 0] * (sums[-1, 1] / sums[-1, 0])
    path, *_ = segments.best_path(centred, k)
    return np.diff(sums[path], axis=0), apart[path[1:-1] - 1]
