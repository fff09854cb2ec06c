"""Prefix sums of (count, Σx, Σx²) over sorted data, and the squared error of any levels from them.

Two indexes answer alike. The *moment histogram* bins by a log-linear key, the leading bits of float32(|x| + offset):
even bins up to about `offset`, then bins that widen with |x|. The *sorted index* holds all values in order and sums
of runs of `RUN`. `Index` carries either: `values` is empty for the histogram.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels.compile import add_any_order, bits_of, helper, kernel, round_even

RUN = 64  # sorted values a prefix sum
MANTISSA_BITS = 12  # of the key: 4,096 bins for each doubling
DROPPED_BITS = np.int32(23 - MANTISSA_BITS)
LARGEST = float(np.finfo(np.float32).max)


class Index(NamedTuple):
    """What the kernels below look things up in.

    prefix: (bins + 1, 3) sums of count, x, x² before each bin; spread: (bins, 3), where the values of a bin are taken
    to lie, from low to high, and how many a unit. values: all values in order, or none; first: the first value of
    each run. offset, base, half: the histogram's key, bins `half` and up hold x ≥ 0.
    """

    prefix: Float64Array
    spread: Float64Array
    values: Float32Array
    first: Float32Array
    offset: np.float32
    base: np.int32
    half: np.int32


@helper
def key_bin(x, offset, base, half):
    """Return the histogram bin of x."""
    key = min((bits_of(np.float32(abs(x) + offset)) >> DROPPED_BITS) - base, half - np.int32(1))
    return half + key if x >= np.float32(0) else half - np.int32(1) - key


@kernel
def add_moments(x, offset, base, half, start, stop, sums):
    """Add count, x and x² of each value to its bin's row of `sums`."""
    for i in range(start, stop):
        row = key_bin(x[i], offset, base, half)
        value = np.float64(x[i])
        sums[row, 0] += 1.0
        sums[row, 1] += value
        sums[row, 2] += value * value


@kernel
def sum_runs(values, start, stop, sums):
    """Write count, Σx and Σx² of the runs `start` to `stop` of the sorted values."""
    for run in range(start, stop):
        low = run * RUN
        high = min(low + RUN, values.size)
        total = 0.0
        square = 0.0
        for i in range(low, high):
            value = np.float64(values[i])
            total = add_any_order(total, value)
            square = add_any_order(square, value * value)
        sums[run, 0] = high - low
        sums[run, 1] = total
        sums[run, 2] = square


@helper
def _below_sorted(index, threshold):
    """Return (count, Σx, Σx²) of the values below a threshold, exactly."""
    limit = np.float32(threshold)
    if np.float64(limit) < threshold:  # the least float32 not below: x < threshold exactly where x < limit
        limit = np.nextafter(limit, np.float32(np.inf))
    first = index.first
    run = 0
    length = first.size
    while length > 1:
        middle = length >> 1
        run = run + middle if first[run + middle] < limit else run
        length -= middle
    values = index.values[run * RUN : run * RUN + RUN]
    count = np.int32(0)
    total = 0.0
    square = 0.0
    for i in range(values.size):
        value = values[i]
        kept = np.float64(value) if value < limit else 0.0
        count += np.int32(1) if value < limit else np.int32(0)
        total = add_any_order(total, kept)
        square = add_any_order(square, kept * kept)
    prefix = index.prefix
    return prefix[run, 0] + count, prefix[run, 1] + total, prefix[run, 2] + square


@helper
def _below_binned(index, threshold):
    """Return (count, Σx, Σx²) below a threshold, taking the values of its bin as evenly spread about their mean."""
    limit = np.float32(min(max(threshold, -LARGEST), LARGEST))
    row = np.int64(key_bin(limit, index.offset, index.base, index.half))
    prefix = index.prefix
    low = index.spread[row, 0]
    if threshold > low:
        if threshold >= index.spread[row, 1]:
            return prefix[row + 1, 0], prefix[row + 1, 1], prefix[row + 1, 2]
        part = index.spread[row, 2] * (threshold - low)
        return (
            prefix[row, 0] + part,
            prefix[row, 1] + part * (low + threshold) * 0.5,
            prefix[row, 2] + part * (low * low + low * threshold + threshold * threshold) / 3.0,
        )
    return prefix[row, 0], prefix[row, 1], prefix[row, 2]


@helper
def below(index, threshold):
    """Return (count, Σx, Σx²) of the values below a threshold."""
    if index.values.size > 0:
        return _below_sorted(index, threshold)
    return _below_binned(index, threshold)


@kernel
def levels_error(index, levels):
    """Return Σ (x − nearest level)² for ascending levels; their midpoints bound the buckets."""
    prefix = index.prefix
    last = prefix.shape[0] - 1
    error = 0.0
    count0, total0, square0 = 0.0, 0.0, 0.0
    for k in range(levels.size):
        if k + 1 < levels.size:
            count, total, square = below(index, 0.5 * (levels[k] + levels[k + 1]))
        else:
            count, total, square = prefix[last, 0], prefix[last, 1], prefix[last, 2]
        level = levels[k]
        error += (square - square0) - 2.0 * level * (total - total0) + level * level * (count - count0)
        count0, total0, square0 = count, total, square
    return max(error, 0.0)


@kernel
def even_error(index, step, least, greatest):
    """Return Σ (x − nearest level)² for the levels step · k, least ≤ k ≤ greatest."""
    prefix = index.prefix
    last = prefix.shape[0] - 1
    error = 0.0
    count0, total0, square0 = 0.0, 0.0, 0.0
    for k in range(least, greatest + 1):
        if k < greatest:
            count, total, square = below(index, (k + 0.5) * step)
        else:
            count, total, square = prefix[last, 0], prefix[last, 1], prefix[last, 2]
        level = k * step
        error += (square - square0) - 2.0 * level * (total - total0) + level * level * (count - count0)
        count0, total0, square0 = count, total, square
    return max(error, 0.0)


@kernel
def even_errors(index, steps, least, greatest, start, stop, errors):
    """Write `even_error` of the configurations `start` to `stop`."""
    for i in range(start, stop):
        errors[i] = even_error(index, steps[i], least[i], greatest[i])


@kernel
def better_step(index, step, least, greatest):
    """Return the least-squares step for the codes that `step` gives: Σ k·x / Σ k²."""
    prefix = index.prefix
    last = prefix.shape[0] - 1
    product = 0.0
    power = 0.0
    count0, total0 = 0.0, 0.0
    for k in range(least, greatest + 1):
        if k < greatest:
            count, total, _ = below(index, (k + 0.5) * step)
        else:
            count, total = prefix[last, 0], prefix[last, 1]
        product += k * (total - total0)
        power += np.float64(k) * k * (count - count0)
        count0, total0 = count, total
    return product / power if power > 0 and product > 0 else step


@kernel
def fine_error(index, step, least, greatest):
    """Estimate `even_error` for levels finer than the bins: step²/12 for each value inside, clipping as it is."""
    low = least * step
    high = greatest * step
    prefix = index.prefix
    last = prefix.shape[0] - 1
    count0, total0, square0 = below(index, low)
    count1, total1, square1 = below(index, high)
    beneath = square0 - 2.0 * low * total0 + low * low * count0
    count2, total2, square2 = prefix[last, 0] - count1, prefix[last, 1] - total1, prefix[last, 2] - square1
    above = square2 - 2.0 * high * total2 + high * high * count2
    return max(beneath, 0.0) + max(above, 0.0) + (count1 - count0) * step * step / 12.0


@kernel
def fine_errors(index, steps, least, greatest, start, stop, errors):
    """Write `fine_error` of the configurations `start` to `stop`."""
    for i in range(start, stop):
        errors[i] = fine_error(index, steps[i], least[i], greatest[i])


@kernel
def direct_even_error(x, step, least, greatest, start, stop):
    """Return Σ (x − nearest level)² for the levels step · k by reading every value."""
    low = np.float64(least)
    high = np.float64(greatest)
    error = 0.0
    for i in range(start, stop):
        value = np.float64(x[i])
        k = round_even(value / step)
        k = k if k > low else low
        k = k if k < high else high
        difference = value - k * step
        error = add_any_order(error, difference * difference)
    return error


@kernel
def direct_levels_error(x, levels, start, stop):
    """Return Σ (x − nearest level)² for ascending levels by reading every value."""
    error = 0.0
    for i in range(start, stop):
        value = np.float64(x[i])
        low = 0
        high = levels.size - 1
        while low < high:
            middle = (low + high) >> 1
            if value > 0.5 * (levels[middle] + levels[middle + 1]):
                low = middle + 1
            else:
                high = middle
        difference = value - levels[low]
        error += difference * difference
    return error


@kernel
def count_bins(x, edges, start, stop, counts):
    """Count values in equal bins as numpy.histogram does: the last bin holds its right edge."""
    bins = counts.size
    low = edges[0]
    per_unit = bins / (edges[bins] - low)
    for i in range(start, stop):
        value = np.float64(x[i])
        row = min(max(np.int64((value - low) * per_unit), 0), bins - 1)
        if value < edges[row]:
            row -= 1
        elif row < bins - 1 and value >= edges[row + 1]:
            row += 1
        counts[row] += 1
