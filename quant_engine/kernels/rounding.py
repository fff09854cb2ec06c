"""Codes and values under roundings other than to nearest, with the metrics of `affine`'s fused pass."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.affine import NO_SUMS, _add, _block_at, _clipping_bounds, _divisor, _grown, _saturate
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
    return _saturate(_whole(value / _divisor(scale), mode, noise, i), qmin - zero_point, qmax - zero_point)


@kernel
def _round_run(x, out, scale, zero_point, qmin, qmax, totals, mode, noise):
    low, high = _clipping_bounds((qmin - zero_point) * scale, (qmax - zero_point) * scale)
    sums = NO_SUMS
    for i in range(x.size):
        value = x[i]  # before `out`, which may be the same memory, is written
        code = _relative_code(value, scale, zero_point, qmin, qmax, mode, noise, i)
        out[i] = add_product(np.float32(0), code, scale)
        sums = _grown(sums, value, out[i], _saturate(value, low, high) != value)
    _add(sums, totals)


@kernel
def fake_quantize_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, out, totals, mode, noise):
    """Do what `affine.fake_quantize_blocks` does; `noise`, one uniform number a value, decides if `mode` is at random.

    Clipped are, as there, values outside the outermost levels. Where no values are asked for, they are written to
    memory of its own: the sums are the same to the bit.
    """
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        target = out[start:end] if out.size > 0 else np.empty(end - start, np.float32)
        _round_run(x[start:end], target, scale[block], zero_point[block], qmin, qmax, totals, mode, noise[start:end])
        start = end
        block += 1


@kernel
def encode_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, codes, mode, noise):
    """Do what `affine.encode_blocks` does, rounding as `mode` says."""
    max_size = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        step, zero = scale[block], zero_point[block]
        for i in range(start, end):
            codes[i] = np.int32(_relative_code(x[i], step, zero, qmin, qmax, mode, noise, i) + zero)
            size = magnitude_bits(x[i])
            max_size = size if size > max_size else max_size
        start = end
        block += 1
    return max_size
