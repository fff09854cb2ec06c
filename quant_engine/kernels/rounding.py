"""Codes and values under roundings other than to nearest, with the metrics of `affine`'s fused pass."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.affine import NO_SUMS, _add, _block_at, _grown, _saturate
from quant_engine.kernels.compile import add_product, helper, kernel, magnitude_bits

FLOOR, CEIL, ZERO, STOCHASTIC = range(4)


@helper
def _whole(steps, mode, noise, i):
    """Return a whole number next to `steps`; at random, the upper one with the probability of the fraction.

    The fraction is exact, which adding the noise to the steps would not be.
    """
    below = np.floor(steps)
    if mode == STOCHASTIC:
        return below + np.float32(1) if noise[i] < steps - below else below
    if mode == CEIL or (mode == ZERO and steps < np.float32(0)):
        return np.ceil(steps)
    return below


@helper
def _relative_code(value, scale, zero_point, qmin, qmax, mode, noise, i):
    """Return code − zero point, saturated."""
    return _saturate(_whole(value / scale, mode, noise, i), qmin - zero_point, qmax - zero_point)


@kernel
def fake_quantize_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, out, totals, mode, noise):
    """Do what `affine.fake_quantize_blocks` does; `noise`, one uniform number a value, decides if `mode` is at random.

    Clipped are, as there, values outside the outermost levels.
    """
    keep = out.size > 0
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        step, zero = scale[block], zero_point[block]
        lowest = (qmin - zero) * step
        highest = (qmax - zero) * step
        sums = NO_SUMS
        for i in range(start, end):
            value = x[i]  # before `out`, which may be the same memory, is written
            code = _relative_code(value, step, zero, qmin, qmax, mode, noise, i)
            level = add_product(np.float32(0), code, step)
            if keep:
                out[i] = level
            sums = _grown(sums, value, level, _saturate(value, lowest, highest) != value)
        _add(sums, totals)
        start = end
        block += 1


@kernel
def encode_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, codes, mode, noise):
    """Do what `affine.encode_blocks` does, rounding as `mode` says."""
    peak = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        step, zero = scale[block], zero_point[block]
        for i in range(start, end):
            codes[i] = np.int32(_relative_code(x[i], step, zero, qmin, qmax, mode, noise, i) + zero)
            size = magnitude_bits(x[i])
            peak = size if size > peak else peak
        start = end
        block += 1
    return peak
