"""Affine (scale and zero point) kernels over blocks: extremes, codes, values, and the fused pass with its metrics.

`x` is flat, block after block; `offsets` (blocks + 1) says where each starts. A kernel works on the values
`start` to `stop`, whatever blocks these touch.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import (
    add_product,
    float_of,
    helper,
    kernel,
    magnitude_bits,
    ordered,
    round_even,
    unordered,
)

# places in the totals of a fused pass
SQUARED_ERROR, CLIPPED_SQUARED_ERROR, CLIPPED, POWER, PRODUCT, MAX_ERROR = range(6)
TOTALS = 6
NO_SUMS = (0.0, 0.0, np.int32(0), 0.0, 0.0, np.int64(0))
FLOAT32_ROUNDINGS = np.float32(2.0**-22)  # relative, of a scale and a level that are rounded up to twice each
QUARTER = np.float32(0.25)


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
            minimum, maximum = _extremes(x[start:end])
            if not minimum >= low[block]:
                low[block] = minimum
            if not maximum <= high[block]:
                high[block] = maximum
        start = end
        block += 1


@helper
def _saturate(value, lowest, highest):
    inside = value if value > lowest else lowest
    return inside if inside < highest else highest


@helper
def _clipping_bounds(lowest, highest):
    """Return what values are clipped beyond: the outermost levels, and a little more.

    The extremes that a scale follows from lie outside by as much as rounding to float32 takes off scale and level;
    nothing of them is clipped.
    """
    return lowest - np.abs(lowest) * FLOAT32_ROUNDINGS, highest + np.abs(highest) * FLOAT32_ROUNDINGS


@helper
def _divisor(scale):
    """Return what values are divided by: a scale of 0 leaves nothing of them."""
    return scale if scale != np.float32(0) else np.float32(np.inf)


@helper
def _steps(inside, divisor):
    """Return rint(x / scale) for a value between the outermost levels.

    Saturating x and saturating its code come to the same: rint is monotone, and a level divided by the scale rounds to
    its own code.
    """
    return round_even(inside / divisor)


@helper
def _level(inside, scale, divisor):
    """Return the level of a value between the outermost ones; adding 0 makes −0, which no code stands for, 0."""
    return add_product(np.float32(0), _steps(inside, divisor), scale)


@helper
def _grown(sums, value, reconstructed, outside):
    """Return the metrics' sums with one more value in them."""
    squared, clipped_squared, clipped, power, product, worst = sums
    exact = np.float64(value)
    error = np.float64(reconstructed) - exact
    size = magnitude_bits(error)
    return (
        add_product(squared, error, error),
        add_product(clipped_squared, error if outside else 0.0, error),
        np.int32(clipped + (np.int32(1) if outside else np.int32(0))),
        add_product(power, exact, exact),
        add_product(product, exact, error),
        size if size > worst else worst,
    )


@helper
def _add(sums, totals):
    squared, clipped_squared, clipped, power, product, worst = sums
    totals[SQUARED_ERROR] += squared
    totals[CLIPPED_SQUARED_ERROR] += clipped_squared
    totals[CLIPPED] += clipped
    totals[POWER] += power
    totals[PRODUCT] += product
    totals[MAX_ERROR] = max(totals[MAX_ERROR], float_of(worst))


@kernel
def _quantize_run(x, out, keep, scale, zero_point, qmin, qmax, totals):
    """Quantize and dequantize one run of a block, adding its metrics to `totals`.

    Values saturate at the bounds of clipping, which round to the outermost codes: within a quarter step of them.
    """
    lowest = (qmin - zero_point) * scale
    highest = (qmax - zero_point) * scale
    low, high = _clipping_bounds(lowest, highest)
    low, high = max(low, lowest - scale * QUARTER), min(high, highest + scale * QUARTER)
    divisor = _divisor(scale)
    sums = NO_SUMS
    for i in range(x.size):
        value = x[i]  # before `out`, which may be the same memory, is written
        inside = _saturate(value, low, high)
        level = _level(inside, scale, divisor)
        if keep:
            out[i] = level
        sums = _grown(sums, value, level, inside != value)
    _add(sums, totals)


@kernel
def fake_quantize_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, out, totals):
    """Write scale · (code − zero_point) to `out` (unless it is empty) and add the metrics to `totals`.

    code = saturate(rint(x / scale) + zero_point), half to even, in float32 with a true division. `totals[POWER]` is
    finite exactly if every value is: the square of a float32 is far from float64's limit.
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
def _encode_run(x, codes, scale, zero_point, qmin, qmax):
    lowest = (qmin - zero_point) * scale
    highest = (qmax - zero_point) * scale
    divisor = _divisor(scale)
    max_size = np.int32(0)
    for i in range(x.size):
        codes[i] = np.int32(_steps(_saturate(x[i], lowest, highest), divisor) + zero_point)
        size = magnitude_bits(x[i])
        max_size = size if size > max_size else max_size
    return max_size


@kernel
def encode_blocks(x, offsets, scale, zero_point, qmin, qmax, start, stop, codes):
    """Write the codes and return the largest bit pattern of |x|: from infinity's on, some value is not finite."""
    max_size = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        max_size = max(
            max_size, _encode_run(x[start:end], codes[start:end], scale[block], zero_point[block], qmin, qmax)
        )
        start = end
        block += 1
    return max_size


@kernel
def _decode_run(codes, scale, zero_point, out):
    for i in range(codes.size):
        out[i] = (np.float32(codes[i]) - zero_point) * scale


@kernel
def decode_blocks(codes, offsets, scale, zero_point, start, stop, out):
    """Write scale · (code − zero_point)."""
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        _decode_run(codes[start:end], scale[block], zero_point[block], out[start:end])
        start = end
        block += 1


@kernel
def compare(x, x_hat, low, high, totals):
    """Add the metrics of a reconstruction to `totals`; values outside [low, high] count as clipped."""
    sums = NO_SUMS
    for i in range(x.size):
        sums = _grown(sums, x[i], x_hat[i], _saturate(x[i], low, high) != x[i])
    _add(sums, totals)
