"""Affine (scale and zero point) kernels over blocks: extremes, codes, values, and the fused pass with its metrics.

`x` is flat, block after block; `offsets` (blocks + 1) says where each starts. A kernel works on the values
`start` to `stop`, whatever blocks these touch.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import MAGNITUDE, add_any_order, bits_of, kernel, ordered, round_even, unordered

# places in the totals of a fused pass
SQUARED_ERROR, CLIPPED_SQUARED_ERROR, CLIPPED, POWER, PRODUCT, MAX_ERROR, PEAK = range(7)
TOTALS = 7


@kernel
def _block_at(offsets, position):
    """Return the block that holds a position of the flat array."""
    return np.searchsorted(offsets, position, side="right") - 1


@kernel
def _extremes(x):
    low = ordered(x[0])
    high = low
    for i in range(x.size):
        key = ordered(x[i])
        low = min(key, low)
        high = max(key, high)
    return unordered(low), unordered(high)


@kernel
def block_extremes(x, offsets, start, stop, low, high):
    """Lower `low` and raise `high` (one entry a block) by the values; a NaN ends up in one of them."""
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        if end > start:
            least, greatest = _extremes(x[start:end])
            if not least >= low[block]:
                low[block] = least
            if not greatest <= high[block]:
                high[block] = greatest
        start = end
        block += 1


@kernel
def _quantize_run(x, out, keep, scale, zero_point, qmin, qmax, totals):
    """Quantize and dequantize one run of a block, adding its metrics to `totals`."""
    lowest = (qmin - zero_point) * scale
    highest = (qmax - zero_point) * scale
    squared = 0.0
    clipped_squared = 0.0
    power = 0.0
    product = 0.0
    clipped = np.int32(0)
    worst = np.int32(0)
    peak = np.int32(0)
    for i in range(x.size):
        value = x[i]
        code = round_even(value / scale) + zero_point
        code = code if code > qmin else qmin
        code = code if code < qmax else qmax
        level = (code - zero_point) * scale
        if keep:
            out[i] = level
        error = np.float64(level) - np.float64(value)
        square = error * error
        outside = (value < lowest) | (value > highest)
        squared = add_any_order(squared, square)
        clipped_squared = add_any_order(clipped_squared, square if outside else 0.0)
        clipped += np.int32(1) if outside else np.int32(0)
        power = add_any_order(power, np.float64(value) * np.float64(value))
        product = add_any_order(product, np.float64(value) * error)
        worst = max(worst, bits_of(np.float32(level - value)) & MAGNITUDE)
        peak = max(peak, bits_of(value) & MAGNITUDE)
    totals[SQUARED_ERROR] += squared
    totals[CLIPPED_SQUARED_ERROR] += clipped_squared
    totals[CLIPPED] += clipped
    totals[POWER] += power
    totals[PRODUCT] += product
    totals[MAX_ERROR] = max(totals[MAX_ERROR], np.float64(unordered(worst)))
    totals[PEAK] = max(totals[PEAK], np.float64(peak))


@kernel
def fake_quantize_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, out, totals):
    """Write scale · (code − zero_point) to `out` (unless it is empty) and add the metrics to `totals`.

    code = saturate(rint(x / scale) + zero_point), half to even, in float32 with a true division. `totals[PEAK]` is the
    largest bit pattern of |x|: from that of infinity on, some value is not finite.
    """
    keep = out.size > 0
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        target = out[start:end] if keep else out
        _quantize_run(x[start:end], target, keep, scale[block], zero_point[block], qmin, qmax, totals)
        start = end
        block += 1


@kernel
def encode_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, codes):
    """Write the codes and return the largest bit pattern of |x|."""
    peak = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        step = scale[block]
        zero = zero_point[block]
        for i in range(start, end):
            value = x[i]
            code = round_even(value / step) + zero
            code = code if code > qmin else qmin
            code = code if code < qmax else qmax
            codes[i] = np.int32(code)
            peak = max(peak, bits_of(value) & MAGNITUDE)
        start = end
        block += 1
    return peak


@kernel
def decode_blocks(codes, offsets, scale, zero_point, start, stop, out):
    """Write scale · (code − zero_point)."""
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        step = scale[block]
        zero = zero_point[block]
        for i in range(start, end):
            out[i] = (np.float32(codes[i]) - zero) * step
        start = end
        block += 1


@kernel
def compare(x, x_hat, low, high, start, stop, totals):
    """Add the metrics of a reconstruction to `totals`; values outside [low, high] count as clipped."""
    squared = 0.0
    clipped_squared = 0.0
    power = 0.0
    product = 0.0
    clipped = np.int32(0)
    worst = np.int32(0)
    peak = np.int32(0)
    for i in range(start, stop):
        value = x[i]
        error = np.float64(x_hat[i]) - np.float64(value)
        square = error * error
        outside = (value < low) | (value > high)
        squared = add_any_order(squared, square)
        clipped_squared = add_any_order(clipped_squared, square if outside else 0.0)
        clipped += np.int32(1) if outside else np.int32(0)
        power = add_any_order(power, np.float64(value) * np.float64(value))
        product = add_any_order(product, np.float64(value) * error)
        worst = max(worst, bits_of(np.float32(x_hat[i] - value)) & MAGNITUDE)
        peak = max(peak, bits_of(value) & MAGNITUDE, bits_of(x_hat[i]) & MAGNITUDE)
    totals[SQUARED_ERROR] += squared
    totals[CLIPPED_SQUARED_ERROR] += clipped_squared
    totals[CLIPPED] += clipped
    totals[POWER] += power
    totals[PRODUCT] += product
    totals[MAX_ERROR] = max(totals[MAX_ERROR], np.float64(unordered(worst)))
    totals[PEAK] = max(totals[PEAK], np.float64(peak))


@kernel
def count_codes(codes, least, counts):
    """Add to `counts[code − least]` for every code."""
    for i in range(codes.size):
        counts[np.int64(codes[i]) - least] += 1
