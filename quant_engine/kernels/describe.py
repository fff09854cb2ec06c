"""What a tensor's values are like: moments, counts in even bins, how often codes occur."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, float_of, kernel, magnitude_bits


@kernel
def largest_magnitude(x, start, stop):
    """Return max |x|; NaN where one is."""
    largest = np.int32(0)
    part = x[start:stop]
    for i in range(part.size):
        size = np.int32(magnitude_bits(part[i]))
        largest = size if size > largest else largest
    return float_of(largest)


@kernel
def shifted_moments(x, centre, start, stop):
    """Return Σd, Σd², Σd³ and Σd⁴ of d = x − centre in float64, and how many values are 0."""
    first, second, third, fourth, zeros = 0.0, 0.0, 0.0, 0.0, 0
    part = x[start:stop]
    for i in range(part.size):
        off = np.float64(part[i]) - centre
        square = off * off
        first = add_any_order(first, off)
        second = add_any_order(second, square)
        third = add_any_order(third, square * off)
        fourth = add_any_order(fourth, square * square)
        zeros += 1 if part[i] == 0.0 else 0
    return first, second, third, fourth, zeros


@kernel
def count_even(x, low, per_unit, start, stop, counts):
    """Count values in bins [k, k + 1) / per_unit from `low` on; what lies at or beyond the last end is in the last.

    `counts`, (4, bins): neighbours count in rows of their own, as in `count_codes`.
    """
    last = np.int32(counts.shape[1] - 1)
    part = x[start:stop]
    for i in range(part.size):
        place = np.int32((np.float64(part[i]) - low) * per_unit)
        place = place if place < last else last
        counts[i & 3, np.uint32(place if place > 0 else 0)] += 1


@kernel
def count_codes(codes, lowest, counts):
    """Add to `counts`, (4, codes), how often every code occurs; their first column is the lowest code.

    Neighbours count in rows of their own: the same code twice would wait for itself.
    """
    whole = codes.size - codes.size % 4
    for i in range(0, whole, 4):
        for lane in range(4):
            counts[lane, np.uint32(np.int64(codes[i + lane]) - lowest)] += 1
    for i in range(whole, codes.size):
        counts[0, np.uint32(np.int64(codes[i]) - lowest)] += 1


@kernel
def count_pairs(pairs, counts):
    """Add to `counts`, (2, 65,536), how often every two bytes occur side by side, read as one number.

    Half as many counts are raised as by `count_codes`; neighbours count in rows of their own, as there.
    """
    whole = pairs.size - pairs.size % 2
    for i in range(0, whole, 2):
        counts[0, pairs[i]] += 1
        counts[1, pairs[i + 1]] += 1
    if whole < pairs.size:
        counts[0, pairs[whole]] += 1


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
