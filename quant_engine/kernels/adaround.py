"""A step of AdaRound: Adam on the variables V behind the roundings h(V), and the weights that follow from them.

All arrays are float32 and flat, a value for each weight. `state` (3, n) holds V and Adam's two running means; `grid`
(3, n) the lower code, the step and the zero point; `ends` are qmin and qmax. Work goes in runs of `RUN` values, in
loops of few arrays each, so that the compiler can tell them apart and use vector lanes.
"""

from __future__ import annotations

import math

import numpy as np

from quant_engine.kernels.compile import bits_of, float_of, helper, kernel, round_even

RUN = 512
LOW, SPAN = np.float32(-0.1), np.float32(1.2)  # γ, and ζ − γ, of the stretched sigmoid
DECAYS = DECAY, SQUARE_DECAY = np.float32(0.9), np.float32(0.999)  # Adam's β₁ and β₂ (Kingma and Ba 2015, algorithm 1)
EPSILON = np.float32(1e-8)

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
LOG2E, LN2 = np.float32(1 / math.log(2)), np.float32(math.log(2))
LN2_HIGH = np.float32(0.693359375)  # of 9 bits, so that its multiples by an exponent are exact
LN2_LOW = np.float32(math.log(2) - 0.693359375)
E2, E3, E4, E5, E6, E7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
L3, L5, L7, L9 = (np.float32(2 / k) for k in (3, 5, 7, 9))
SQRT_HALF_BITS, EXPONENT = np.int32(0x3F3504F3), np.int32(23)
TINY = np.float32(1e-30)


@helper
def _exp(x):
    """Return eˣ, within 3e-7 of it, for −60 ≤ x ≤ 88, the nearer of these ends otherwise: products stay normal."""
    x = min(max(x, np.float32(-60)), np.float32(88))
    k = round_even(x * LOG2E)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    series = ONE + r * (ONE + r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * (E6 + r * E7))))))
    return series * float_of(np.int32((np.int32(k) + np.int32(127)) << EXPONENT))


@helper
def _log(x):
    """Return ln x of a normal number above 0: ln 2ᵏ + 2·artanh((m − 1)/(m + 1)) with m from √½ to √2."""
    bits = bits_of(x)
    k = np.int32(np.int32(bits - SQRT_HALF_BITS) >> EXPONENT)  # as numba makes int64 of two int32
    m = float_of(np.int32(bits - np.int32(k << EXPONENT)))
    t = (m - ONE) / (m + ONE)
    q = t * t
    return np.float32(k) * LN2 + t * (TWO + q * (L3 + q * (L5 + q * (L7 + q * L9))))


@helper
def _rectified(v):
    """Return h(V) = clip(σ(V)(ζ − γ) + γ, 0, 1)."""
    return min(max(SPAN / (ONE + _exp(-v)) + LOW, ZERO), ONE)


@helper
def _differentiate(gradient, V, lower, size, ends, weight, exponent, slope):
    """Write the derivative by V of the error, whose `gradient` by Ŵ is given, and of weight · (1 − |2h − 1|^β)."""
    qmin, qmax = ends
    power, factor = exponent - ONE, TWO * weight * exponent
    for i in range(slope.size):
        s = ONE / (ONE + _exp(-V[i]))
        h = s * SPAN + LOW
        apart = h + h - ONE
        far = abs(apart)
        code = lower[i] + h
        g = gradient[i] * size[i]
        g = g if (code >= qmin) & (code <= qmax) else ZERO
        g -= factor * math.copysign(_exp(power * _log(max(far, TINY))), apart)
        g *= SPAN * s * (ONE - s)
        slope[i] = g if far <= ONE else ZERO


@helper
def _adam(slope, V, mean, square, rate, corrections):
    first, second = corrections
    for i in range(slope.size):
        m = DECAY * mean[i] + (ONE - DECAY) * slope[i]
        m = m if abs(m) > TINY else ZERO  # where nothing is learned any more it would become subnormal, which is slow
        v = SQUARE_DECAY * square[i] + (ONE - SQUARE_DECAY) * slope[i] * slope[i]
        mean[i], square[i] = m, v
        V[i] -= rate * (m * first) / (np.sqrt(v * second) + EPSILON)


@helper
def _reconstruct(V, lower, size, zero, ends, w_hat):
    qmin, qmax = ends
    for i in range(w_hat.size):
        w_hat[i] = size[i] * (min(max(lower[i] + _rectified(V[i]), qmin), qmax) - zero[i])


@kernel
def reconstruct(state, grid, ends, w_hat):
    """Write Ŵ = s·(clip(⌊W/s⌋ + z + h(V), qmin, qmax) − z)."""
    _reconstruct(state[0], grid[0], grid[1], grid[2], ends, w_hat)


@kernel
def roundings(state, h):
    """Write h(V)."""
    for i in range(h.size):
        h[i] = _rectified(state[0, i])


@kernel
def descend(gradient, state, grid, ends, rate, corrections, regulariser, w_hat, start, stop):
    """Take Adam's step for the weights `start` to `stop`, and write their Ŵ.

    `gradient` is the error's by Ŵ, `regulariser` its weight for each value and β; `corrections` are 1/(1 − 0.9ᵗ) and
    1/(1 − 0.999ᵗ) of step t.
    """
    weight, exponent = regulariser
    slope = np.empty(RUN, np.float32)
    for first in range(start, stop, RUN):
        last = min(first + RUN, stop)
        V, mean, square = state[0, first:last], state[1, first:last], state[2, first:last]
        lower, size, zero = grid[0, first:last], grid[1, first:last], grid[2, first:last]
        here = slope[: last - first]
        _differentiate(gradient[first:last], V, lower, size, ends, weight, exponent, here)
        _adam(here, V, mean, square, rate, corrections)
        _reconstruct(V, lower, size, zero, ends, w_hat[first:last])
