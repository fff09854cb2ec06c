"""Sums over softmaxes: how far two are apart, and the logarithm of what one is divided by.

Logits are finite, (rows, classes), C-contiguous, float32 or float64, of at least one class. Each is read twice, for the
row's largest and for the sums, and nothing as large is written.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, add_product, float_of, helper, kernel, magnitude_bits

LOWEST = -708.0  # e to it is still a normal number
PER_OCTAVE = 1.4426950408889634  # 1/ln 2
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # the first has 21 zeros at its end
WHOLE = 6755399441055744.0  # 1.5 · 2⁵²: added to a number, its last bits are that number's nearest integer
ONE = np.int64(1023)  # the exponent of 1.0
TAYLOR = tuple(1.0 / float(np.prod(np.arange(1.0, n + 1.0))) for n in range(14))  # e^r within 4e-18 for |r| ≤ ln 2/2


@helper
def _exp(x):
    """Return e^x for x ≤ 0 within 2 units in the last place, e^−708 below −708, by steps that run in vector lanes."""
    x = max(x, LOWEST)
    shifted = x * PER_OCTAVE + WHOLE
    octaves = shifted - WHOLE
    r = (x - octaves * LN2_HIGH) - octaves * LN2_LOW
    found = TAYLOR[13]
    found = add_product(TAYLOR[12], found, r)
    found = add_product(TAYLOR[11], found, r)
    found = add_product(TAYLOR[10], found, r)
    found = add_product(TAYLOR[9], found, r)
    found = add_product(TAYLOR[8], found, r)
    found = add_product(TAYLOR[7], found, r)
    found = add_product(TAYLOR[6], found, r)
    found = add_product(TAYLOR[5], found, r)
    found = add_product(TAYLOR[4], found, r)
    found = add_product(TAYLOR[3], found, r)
    found = add_product(TAYLOR[2], found, r)
    found = add_product(TAYLOR[1], found, r)
    found = add_product(TAYLOR[0], found, r)
    return found * float_of((magnitude_bits(shifted) + ONE) << np.int64(52))


@helper
def _largest(row):
    largest = row[0]
    for value in row:
        largest = max(largest, value)
    return largest


@helper
def _place(row, value):
    """Return where a value first is; the end of a row without it, as one with NaN may be."""
    place = 0
    while place < row.size - 1 and row[place] != value:
        place += 1
    return place


@kernel
def log_sums(logits, start, stop, found):
    """Write log Σ e^z of the rows `start` to `stop`."""
    for i in range(start, stop):
        row = logits[i]
        largest = np.float64(_largest(row))
        total = 0.0
        for z in row:
            total = add_any_order(total, _exp(np.float64(z) - largest))
        found[i] = largest + np.log(total)


@kernel
def divergences(plain, changed, start, stop, divergence, signal, noise, same):
    """Write KL(softmax z ‖ softmax w), Σ z², Σ (z − w)² and whether both are largest in one place, row by row.

    KL = Σ e^z (z − w)/Σ e^z − log Σ e^z + log Σ e^w, of z and w less their largest.
    """
    for i in range(start, stop):
        before, after = plain[i], changed[i]
        z_first, w_first = _largest(before), _largest(after)
        same[i] = _place(before, z_first) == _place(after, w_first)
        z_largest, w_largest = np.float64(z_first), np.float64(w_first)
        z_total, w_total, moved, power, error = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(before.size):
            z, w = np.float64(before[k]), np.float64(after[k])
            power = add_any_order(power, z * z)
            error = add_any_order(error, (z - w) * (z - w))
            z -= z_largest
            w -= w_largest
            share = _exp(z)
            z_total = add_any_order(z_total, share)
            w_total = add_any_order(w_total, _exp(w))
            moved = add_any_order(moved, share * (z - w))
        divergence[i] = moved / z_total - np.log(z_total) + np.log(w_total)
        signal[i] = power
        noise[i] = error
