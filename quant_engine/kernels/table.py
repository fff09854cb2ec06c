"""Codes and values of any table of levels, found among its thresholds.

A code is the number of a level. Thresholds are in any form that `choice` takes; levels an array, with as many more as
there are NaN among the thresholds of a tuple.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.affine import NO_SUMS, _add, _block_at, _clipping_bounds, _divisor, _grown, _saturate
from quant_engine.kernels.choice import chosen, place
from quant_engine.kernels.compile import helper, kernel, magnitude_bits

RUN = 512  # values measured together
FLOOR = 0.5  # the smallest clipping value tried, as a share of mean |x|
LOOKS = 6  # candidates looked at more closely …
CLOSE = 4  # … by this many steps to either side


@kernel
def _levels_run(x, scale, levels, thresholds, found):
    divisor = _divisor(scale)
    for i in range(x.size):
        found[i] = chosen(x[i] / divisor, thresholds, levels) * scale


@kernel
def _measure_run(x, found, bounds, totals):
    low, high = bounds
    sums = NO_SUMS
    for i in range(x.size):
        sums = _grown(sums, x[i], found[i], _saturate(x[i], low, high) != x[i])
    _add(sums, totals)


@kernel
def fake_quantize_blocks(x, offsets, scale, levels, thresholds, start, stop, out, totals):
    """Write scale · level(x / scale) to `out` (unless it is empty) and add the metrics to `totals`.

    The metrics are added up in a loop of its own, so that they are the same to the bit whether values are written.
    """
    found = np.empty(RUN, np.float32)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        step = scale[block]
        bounds = _clipping_bounds(levels[0] * step, levels[levels.size - 1] * step)
        for first in range(start, end, RUN):
            last = min(first + RUN, end)
            _levels_run(x[first:last], step, levels, thresholds, found)
            _measure_run(x[first:last], found, bounds, totals)
            if out.size > 0:
                out[first:last] = found[: last - first]
        start = end
        block += 1


@helper
def _encode_run(x, codes, scale, thresholds):
    divisor = _divisor(scale)
    max_size = np.int32(0)
    for i in range(x.size):
        codes[i] = place(x[i] / divisor, thresholds)
        size = magnitude_bits(x[i])
        max_size = size if size > max_size else max_size
    return max_size


@kernel
def encode_blocks(x, offsets, scale, thresholds, start, stop, codes):
    """Write the number of each value's level and return the largest bit pattern of |x|, as `affine.encode_blocks`."""
    max_size = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        max_size = max(max_size, _encode_run(x[start:end], codes[start:end], scale[block], thresholds))
        start = end
        block += 1
    return max_size


@kernel
def scale_blocks(values, offsets, scale, start, stop):
    """Multiply every value by the scale of its block, in place."""
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        for i in range(start, end):
            values[i] *= scale[block]
        start = end
        block += 1


@helper
def _first_at(ordered, first, value):
    """Return the first place from `first` on whose value is not below `value`: often that, or one a few further on."""
    step = np.int64(1)
    last = first
    while last < ordered.size and ordered[last] < value:
        first = last + 1
        last += step
        step <<= 1
    last = min(last, np.int64(ordered.size))
    while first < last:
        middle = (first + last) >> 1
        if ordered[middle] < value:
            first = middle + 1
        else:
            last = middle
    return first


@helper
def _edge(levels, k):
    """Return the edge between a level and the next, before scaling."""
    return 0.5 * (levels[k] + levels[k + 1])


@helper
def _level_of(levels, first, value, scale):
    """Return the first level from `first` on with its upper edge above `value`."""
    step = np.int64(1)
    last = first
    while last < levels.size - 1 and _edge(levels, last) * scale <= value:
        first = last + 1
        last += step
        step <<= 1
    last = min(last, np.int64(levels.size - 1))
    while first < last:
        middle = (first + last) >> 1
        if _edge(levels, middle) * scale <= value:
            first = middle + 1
        else:
            last = middle
    return first


@kernel
def _at_scale(ordered, sums, levels, scale):
    """Return Σ (x − scale · level)² without Σx², and Σ x · level / Σ level²: the scale that suits these levels best."""
    along = 0.0
    power = 0.0
    first = np.int64(0)
    k = np.int64(0)
    while first < ordered.size:
        last = np.int64(ordered.size)
        if k < levels.size - 1:
            last = _first_at(ordered, first, _edge(levels, k) * scale)
        if last == first:
            k = _level_of(levels, k + 1, ordered[first], scale)
            continue
        along += levels[k] * (sums[last] - sums[first])
        power += levels[k] * levels[k] * (last - first)
        first = last
        k += 1
    return scale * (scale * power - 2.0 * along), along / power if power > 0.0 else scale


@kernel
def _improved(ordered, sums, levels, scale, best, min_error):
    """Return the best scale and its error, once `scale` and its least-squares improvement have been tried too."""
    error, better = _at_scale(ordered, sums, levels, scale)
    if error < min_error:
        best = scale
        min_error = error
    if better > 0.0:
        error = _at_scale(ordered, sums, levels, better)[0]
        if error < min_error:
            best = better
            min_error = error
    return best, min_error


@kernel
def _best_of_ordered(ordered, sums, levels, ends, candidates):
    """Return the best scale: of a grid even in logarithm, and of closer ones around the best of it."""
    min_scale, max_scale = ends
    gap = (2.0 * max_scale / min_scale) ** (1.0 / (candidates - 1))
    errors = np.empty(candidates)
    best, min_error = _improved(ordered, sums, levels, max_scale, max_scale, np.inf)
    for i in range(candidates):
        errors[i] = _at_scale(ordered, sums, levels, min_scale * gap**i)[0]
    for _ in range(LOOKS):
        place = np.argmin(errors)
        errors[place] = np.inf
        for j in range(-CLOSE, CLOSE + 1):
            scale = min_scale * gap ** (place + j / (2 * CLOSE + 1))
            best, min_error = _improved(ordered, sums, levels, scale, best, min_error)
    return best


@kernel
def _best_scale(x, levels, max_level, candidates):
    ordered = np.sort(x)
    sums = np.zeros(x.size + 1)
    size = 0.0
    for i in range(x.size):
        sums[i + 1] = sums[i] + np.float64(ordered[i])
        size += np.abs(np.float64(ordered[i]))
    max_scale = max(np.abs(np.float64(ordered[0])), np.abs(np.float64(ordered[x.size - 1]))) / max_level
    if max_scale == 0.0:
        return 0.0
    min_scale = min(FLOOR * size / x.size / max_level, 0.25 * max_scale)
    return _best_of_ordered(ordered, sums, levels, (min_scale, max_scale), candidates)


@kernel
def best_scales(x, offsets, levels, max_level, candidates, start, stop, scales):
    """Write, for the blocks `start` to `stop`, the scale with the least squared error of the levels scale · level.

    Tried are `candidates` from half of mean |x| to twice the greatest |x|, as the value at `max_level`, and closer ones
    around the best of them, which least squares improves. A block of zeros gets 0.
    """
    for block in range(start, stop):
        scales[block] = _best_scale(x[offsets[block] : offsets[block + 1]], levels, max_level, candidates)
