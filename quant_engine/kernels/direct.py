"""What the indexes are too coarse for: errors and counts found by reading every value."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, kernel, round_even


@kernel
def even_error(x, step, qmin, qmax, start, stop):
    """Return Σ (x − nearest level)² for the levels step · k by reading every value."""
    low = np.float64(qmin)
    high = np.float64(qmax)
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
def even_errors(x, steps, qmin, qmax, start, stop, errors):
    """Write `even_error` of all values for the configurations `start` to `stop`."""
    for i in range(start, stop):
        errors[i] = even_error(x, steps[i], qmin[i], qmax[i], 0, x.size)


@kernel
def counted_even_error(counted, step, qmin, qmax, start, stop):
    """Return Σ count · (x − nearest level)² for the levels step · k; `counted` are values and counts."""
    x, counts = counted
    low = np.float64(qmin)
    high = np.float64(qmax)
    error = 0.0
    for i in range(start, stop):
        value = np.float64(x[i])
        k = round_even(value / step)
        k = k if k > low else low
        k = k if k < high else high
        difference = value - k * step
        error = add_any_order(error, counts[i] * difference * difference)
    return error


@kernel
def counted_even_errors(counted, steps, qmin, qmax, start, stop, errors):
    """Write `counted_even_error` of all values for the configurations `start` to `stop`."""
    for i in range(start, stop):
        errors[i] = counted_even_error(counted, steps[i], qmin[i], qmax[i], 0, counted[0].size)


@kernel
def levels_error(x, levels, start, stop):
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
    part = x[start:stop]
    for i in range(part.size):
        value = np.float64(part[i])
        row = min(max(np.int64((value - low) * per_unit), 0), bins - 1)
        if value < edges[row]:
            row -= 1
        elif row < bins - 1 and value >= edges[row + 1]:
            row += 1
        counts[row] += 1
