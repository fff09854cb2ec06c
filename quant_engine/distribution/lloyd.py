"""Lloyd's iteration one step at a time, and ways to start it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.checks import as_instance, as_number
from quant_engine.distribution.centroids import as_codeword_count, quantile_codebooks
from quant_engine.distribution.distribution import Distribution
from quant_engine.distribution.weighted import WeightedValues
from quant_engine.errors import QuantError
from quant_engine.inputs import LARGEST_FLOAT32, Float64Array, as_ascending, as_float32

MIN_FALL = 1e-12  # of the error, relative: what sums in float64 can tell


@dataclass(frozen=True, eq=False)
class LloydStep:
    """Centroids (k,) and what comes of taking every value to the nearest: thresholds (k − 1,), counts (k,) and error.

    A value on a threshold, half-way between two centroids, goes to the lower one. Counts are whole unless values are
    weighted or stand in a histogram.
    """

    centroids: Float64Array
    thresholds: Float64Array
    counts: Float64Array
    mse: float


def lloyd_steps(values: Any, start: ArrayLike) -> Iterator[LloydStep]:
    """Yield the start, then each step of Lloyd's iteration, until the error no longer falls.

    A step moves every centroid to the mean of its bucket. In place of a centroid whose bucket is empty, the bucket with
    the most squared error is divided at its mean, and both parts have a centroid; where nothing is left to divide, as
    all distinct values have one, the centroid goes. So the error never rises.

    `values` are a tensor, a `Distribution` or `WeightedValues`.

    Raises:
        QuantError: for a start that is not a sorted, finite, non-empty run of numbers, and for an empty tensor.

    Source: Lloyd, Least Squares Quantization in PCM (1982), method I.

    Example:
        >>> [step.centroids.tolist() for step in lloyd_steps([0.0, 1.0, 2.0, 9.0], [0.0, 1.0])]
        [[0.0, 1.0], [0.0, 4.0], [1.0, 9.0]]
    """
    source = values if isinstance(values, Distribution | WeightedValues) else Distribution(values)
    centroids = as_ascending(start, "the start's centroids")
    if max(-centroids[0], centroids[-1]) > LARGEST_FLOAT32:
        raise QuantError(f"the start has centroids beyond float32's largest ({LARGEST_FLOAT32:.4g}); give nearer ones")
    return _steps(source, centroids)


def _steps(source: Distribution | WeightedValues, centroids: Float64Array) -> Iterator[LloydStep]:
    min_mse = np.inf
    while True:
        thresholds = 0.5 * (centroids[:-1] + centroids[1:])
        below = np.concatenate([np.zeros((1, 3)), source.sums_below(np.nextafter(thresholds, np.inf))])
        count, total, square = np.diff(below, axis=0).T
        mse = max(float(np.sum(square - 2.0 * centroids * total + centroids**2 * count)) / float(below[-1, 0]), 0.0)
        if mse >= min_mse * (1.0 - MIN_FALL):
            return
        min_mse = mse
        yield LloydStep(centroids, thresholds, count, mse)
        parts = np.diff(_divided(source, below), axis=0)
        centroids = parts[:, 1] / parts[:, 0]


def _divided(source: Distribution | WeightedValues, below: Float64Array) -> Float64Array:
    """Return the sums below each bucket without the empty ones, in whose place the worst are divided at their mean."""
    wanted = len(below)
    below = below[np.append(True, np.diff(below[:, 0]) > 0.0)]
    while len(below) < wanted:
        count, total, square = np.diff(below, axis=0).T
        worst = int(np.argmax(square - total * total / count))
        middle = source.sums_below([np.nextafter(total[worst] / count[worst], np.inf)])[0]
        if not below[worst, 0] < middle[0] < below[worst + 1, 0]:
            return below
        below = np.insert(below, worst + 1, middle, axis=0)
    return below


def plus_plus_start(x: Any, k: int, rng: np.random.Generator) -> Float64Array:
    """Return k values of a tensor (or of `WeightedValues`), ascending, drawn one after the other.

    The chance of each is in proportion to its squared distance from the nearest that is drawn; there are fewer where
    there are fewer distinct values.

    Raises:
        QuantError: for an empty tensor, and if k is no integer from 1 to 65,536.

    Source: Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding (2007), section 2.2.

    Example:
        >>> plus_plus_start([0.0, 0.0, 5.0, 5.0], 3, np.random.default_rng(0)).tolist()
        [0.0, 5.0]
    """
    as_instance(rng, np.random.Generator, "rng", "give numpy.random.default_rng(seed)")
    held = x if isinstance(x, WeightedValues) else WeightedValues.from_array(x)
    chances, drawn = held.counts, np.empty(0)
    distance = np.full(held.values.size, np.inf)
    for _ in range(as_codeword_count(k)):
        sums = np.cumsum(chances)
        if not sums[-1] > 0.0:
            break
        value = held.values[np.searchsorted(sums, rng.random() * sums[-1], side="right")]
        drawn = np.append(drawn, value)
        distance = np.minimum(distance, np.square(held.values - value))
        chances = held.counts * distance
    return np.sort(drawn)


def linear_start(lo: float, hi: float, k: int) -> Float64Array:
    """Return k values evenly spaced from `lo` to `hi`.

    Raises:
        QuantError: for ends that are not finite or not in order, and if k is no integer from 1 to 65,536.

    Source: Han, Mao and Dally, Deep Compression (2016), section 3.2.

    Example:
        >>> linear_start(-1.0, 1.0, 3).tolist()
        [-1.0, 0.0, 1.0]
    """
    low, high = (as_number(end, name, -LARGEST_FLOAT32, LARGEST_FLOAT32) for end, name in ((lo, "lo"), (hi, "hi")))
    if low > high:
        raise QuantError(f"lo={low} is above hi={high}; give lo ≤ hi")
    return np.linspace(low, high, as_codeword_count(k))


def quantile_start(x: Any, k: int) -> Float64Array:
    """Return the means of k equally filled parts of a tensor, as `quantile_codebooks` has them.

    Raises:
        QuantError: for an empty tensor, and if k is no integer from 1 to 65,536.

    Example:
        >>> quantile_start([0.0, 2.0, 4.0, 4.0, 5.0, 90.0], 3).tolist()
        [1.0, 4.0, 47.5]
    """
    flat = as_float32(x).reshape(-1)
    if not flat.size:
        raise QuantError("a tensor without values has no quantiles; give at least one value")
    levels = quantile_codebooks(flat, np.array([0, flat.size]), k)[0]
    found: Float64Array = levels[~np.isnan(levels)].astype(np.float64)
    return found
