"""The blocks of GGUF files: codes from a block's scale and minimum as they are, values from these as the file has them.

code = saturate(round((x − origin) · inverse + offset)) with inverse = 1/d and the origin before they are rounded to
float16; x̂ = scale · (code − offset) + minimum with what float16 makes of d and the origin. A half is rounded up or, if
`away`, away from zero. `shape` is (offset, least code, greatest code, away), the numbers as float32. Where a format has
no minimum, the origin is 0 and the minimum −0, which leaves every sum as it is, −0 too.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.affine import FLOAT32_ROUNDINGS, NO_SUMS, _add, _block_at, _grown, _saturate
from quant_engine.kernels.compile import helper, kernel, magnitude_bits

ZERO = np.float32(0)
HALF = np.float32(0.5)
ONE = np.float32(1)


@kernel
def first_extremes(x, offsets, start, stop, extremes):
    """Write the value of the greatest magnitude, of several the first, of each of the blocks `start` to `stop`."""
    for block in range(start, stop):
        extreme = x[offsets[block]]
        for i in range(offsets[block] + 1, offsets[block + 1]):
            extreme = x[i] if np.abs(x[i]) > np.abs(extreme) else extreme
        extremes[block] = extreme


@helper
def _code(value, inverse, origin, shape):
    """Return the code of a value, as a float32; every operation is one of float32."""
    offset, qmin, qmax, away = shape
    steps = (value - origin) * inverse
    if away:
        size = np.abs(steps)
        whole = np.floor(size)
        up = whole + ONE if size - whole >= HALF else whole
        return _saturate(up if steps > ZERO else ZERO - up, qmin, qmax)  # no code stands for −0
    return _saturate(np.floor(steps + (offset + HALF)), qmin, qmax)


@helper
def _clipping_bounds(block, shape):
    """Return what values are clipped beyond: the outermost levels, before or after float16, and what float32 rounds."""
    scale, minimum, _inverse, origin, d = block
    qmin, qmax = shape[1] - shape[0], shape[2] - shape[0]
    ends = qmin * scale + minimum, qmax * scale + minimum, qmin * d + origin, qmax * d + origin
    room = (max(-qmin, qmax) * np.abs(d) + np.abs(origin)) * FLOAT32_ROUNDINGS
    return min(ends) - room, max(ends) + room


@kernel
def _quantize_run(x, out, keep, block, shape, totals):
    scale, minimum, inverse, origin, _d = block
    lowest, highest = _clipping_bounds(block, shape)
    sums = NO_SUMS
    for i in range(x.size):
        value = x[i]  # before `out`, which may be the same memory, is written
        level = (_code(value, inverse, origin, shape) - shape[0]) * scale + minimum
        if keep:
            out[i] = level
        sums = _grown(sums, value, level, _saturate(value, lowest, highest) != value)
    _add(sums, totals)


@kernel
def fake_quantize_blocks(x, offsets, blocks, shape, start, stop, out, totals):
    """Write the values to `out` (unless it is empty) and add the metrics to `totals`, as `affine` does.

    `blocks` is (blocks, 5): scale, minimum, inverse, origin and d of each.
    """
    keep = out.size > 0
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        target = out[start:end] if keep else out
        row = blocks[block]
        _quantize_run(x[start:end], target, keep, (row[0], row[1], row[2], row[3], row[4]), shape, totals)
        start = end
        block += 1


@kernel
def _encode_run(x, codes, inverse, origin, shape):
    max_size = np.int32(0)
    for i in range(x.size):
        codes[i] = np.int32(_code(x[i], inverse, origin, shape))
        size = magnitude_bits(x[i])
        max_size = size if size > max_size else max_size
    return max_size


@kernel
def encode_blocks(x, offsets, blocks, shape, start, stop, codes):
    """Write the codes and return the largest bit pattern of |x|, as `affine.encode_blocks` does."""
    max_size = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        max_size = max(max_size, _encode_run(x[start:end], codes[start:end], blocks[block, 2], blocks[block, 3], shape))
        start = end
        block += 1
    return max_size


@kernel
def _decode_run(codes, out, scale, minimum, offset):
    for i in range(codes.size):
        out[i] = (np.float32(codes[i]) - offset) * scale + minimum


@kernel
def decode_blocks(codes, offsets, blocks, shape, start, stop, out):
    """Write scale · (code − offset) + minimum."""
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        _decode_run(codes[start:end], out[start:end], blocks[block, 0], blocks[block, 1], shape[0])
        start = end
        block += 1
