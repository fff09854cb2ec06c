"""Floating-point values and bit patterns, by rounding at the place that the exponent tells.

In float64 a number plus 1.5 · 2^(52 + p) is rounded to a multiple of 2^p, half to even; taking that away again leaves
the multiple. `shape` is (mantissa bits, least exponent, greatest value, sign of zero): the last is −0 where −0 has a
code, which adding it keeps, and 0 where it has none.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.affine import NO_SUMS, _add, _block_at, _clipping_bounds, _divisor, _grown, _saturate
from quant_engine.kernels.compile import bits_of, float_of, helper, kernel, magnitude_bits

BIAS = np.int64(1023)
FRACTION = np.int64(52)
HALF = np.int64(1 << 51)
BIAS32 = np.int32(127)
FRACTION32 = np.int32(23)
SIGN = np.int32(-(1 << 31))


@helper
def _exponent(size, min_exponent):
    """Return the exponent of a float64 of no sign, as a format with a least exponent has it."""
    exponent = (magnitude_bits(size) >> FRACTION) - BIAS
    return exponent if exponent > min_exponent else min_exponent


@helper
def _nearest(u, shape):
    """Return the nearest value of the format, saturating."""
    mantissa, min_exponent, max_value, zero = shape
    size = np.float64(np.abs(u))
    size = size if size < max_value else max_value
    power = _exponent(size, np.int64(min_exponent)) - np.int64(mantissa)
    anchor = float_of(np.int64((power + FRACTION + BIAS) << FRACTION) | HALF)
    rounded = np.float32((size + anchor) - anchor)
    return float_of(np.int32(bits_of(rounded) | (bits_of(u) & SIGN))) + zero


@helper
def _code(value, shape, sign):
    """Return the bit pattern of a value of the format; `sign` is its highest bit.

    A normal value's are the leading bits of float32's, with another bias; a subnormal one's too, once the least normal
    value is added to it, which is then taken away again.
    """
    mantissa, min_exponent, _max_value, _zero = shape
    size = np.abs(value)
    least = float_of(np.int32((np.int32(min_exponent) + BIAS32) << FRACTION32))
    leading = np.int32(bits_of(np.float32(size + least) if size < least else size) >> (FRACTION32 - np.int32(mantissa)))
    bias = np.int32(min_exponent) + BIAS32 - (np.int32(0) if size < least else np.int32(1))
    code = np.int32(leading - (bias << np.int32(mantissa)))
    return np.int32(code | np.int32(sign)) if bits_of(value) < np.int32(0) else code


@kernel
def _quantize_run(x, out, keep, scale, shape, totals):
    highest = np.float32(shape[2]) * scale
    low, high = _clipping_bounds(-highest, highest)
    sums = NO_SUMS
    for i in range(x.size):
        value = x[i]  # before `out`, which may be the same memory, is written
        level = _nearest(value / _divisor(scale), shape) * scale
        if keep:
            out[i] = level
        sums = _grown(sums, value, level, _saturate(value, low, high) != value)
    _add(sums, totals)


@kernel
def fake_quantize_blocks(x, offsets, scale, shape, start, stop, out, totals):
    """Write scale · nearest(x / scale) to `out` (unless it is empty) and add the metrics to `totals`."""
    keep = out.size > 0
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        target = out[start:end] if keep else out
        _quantize_run(x[start:end], target, keep, scale[block], shape, totals)
        start = end
        block += 1


@kernel
def encode_blocks(x, offsets, scale, shape, sign, start, stop, codes):
    """Write the bit patterns and return the largest of |x|: from infinity's on, some value is not finite."""
    max_size = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        divisor = _divisor(scale[block])
        values, written = x[start:end], codes[start:end]
        for i in range(values.size):
            written[i] = _code(_nearest(values[i] / divisor, shape), shape, sign)
            size = magnitude_bits(values[i])
            max_size = size if size > max_size else max_size
        start = end
        block += 1
    return max_size
