"""What a tensor's values are like: sums, moments off the mean, counts in even bins, codes that occur."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, float_of, kernel, magnitude_bits


@kernel
def largest_magnitude(x, start, stop):
    """Return max |x|; NaN where one is."""
    largest = np.int32(0)
    for i in range(start, stop):
        largest = max(largest, magnitude_bits(x[i]))
    return float_of(largest)


@kernel
def sum_and_zeros(x, start, stop):
    """Return Σx in float64, and how many values are 0."""
    total, zeros = 0.0, 0
    for i in range(start, stop):
        total = add_any_order(total, np.float64(x[i]))
        zeros += 1 if x[i] == 0.0 else 0
    return total, zeros


@kernel
def central_moments(x, mean, start, stop):
    """Return Σ(x − mean)² and Σ(x − mean)⁴ in float64."""
    second, fourth = 0.0, 0.0
    for i in range(start, stop):
        off = np.float64(x[i]) - mean
        square = off * off
        second = add_any_order(second, square)
        fourth = add_any_order(fourth, square * square)
    return second, fourth


@kernel
def count_even(x, low, per_unit, start, stop, counts):
    """Count values in bins [k, k + 1) / per_unit from `low` on; what lies at or beyond the last end is in the last."""
    last = counts.size - 1
    for i in range(start, stop):
        place = np.int64((np.float64(x[i]) - low) * per_unit)
        counts[min(max(place, 0), last)] += 1


@kernel
def count_codes(codes, lowest, counts):
    """Add to `counts`, (4, codes), how often every code occurs; their first column is the lowest code.

    Neighbours count in rows of their own: the same code twice would wait for itself.
    """
    whole = codes.size - codes.size % 4
    for i in range(0, whole, 4):
        for lane in range(4):
            counts[lane, np.int64(codes[i + lane]) - lowest] += 1
    for i in range(whole, codes.size):
        counts[0, np.int64(codes[i]) - lowest] += 1


@kernel
def between(x, low, high, of_magnitudes, room):
    """Return how many values, or magnitudes, lie below `low` and how many from there to `high`, written to `room`.

    What it does not hold is counted all the same.
    """
    below, count = 0, 0
    for i in range(x.size):
        value = abs(x[i]) if of_magnitudes else x[i]
        below += 1 if value < low else 0
        if low <= value <= high:
            if count < room.size:
                room[count] = value
            count += 1
    return below, count
