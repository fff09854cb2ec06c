"""Codes and values where every block has levels of its own.

`levels` (blocks, most) ascend in each row and are filled up with NaN; `thresholds` hold, for each level of a block but
the first, the least float32 that goes to it or above, filled up with NaN, which nothing reaches, to one less than a
power of two.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.affine import NO_SUMS, _add, _block_at, _grown, _saturate
from quant_engine.kernels.compile import helper, kernel, magnitude_bits


@helper
def _place(x, thresholds):
    """Return how many thresholds `x` has reached, in as many steps for every value."""
    place = np.int64(0)
    stride = np.int64(thresholds.size + 1) >> 1
    while stride > 0:
        place += np.int64(x >= thresholds[place + stride - 1]) * stride
        stride >>= 1
    return place


@kernel
def _quantize_run(x, out, keep, levels, thresholds, highest, totals):
    sums = NO_SUMS
    for i in range(x.size):
        value = x[i]  # before `out`, which may be the same memory, is written
        level = levels[_place(value, thresholds)]
        if keep:
            out[i] = level
        sums = _grown(sums, value, level, _saturate(value, levels[0], highest) != value)
    _add(sums, totals)


@kernel
def fake_quantize_blocks(x, offsets, levels, counts, thresholds, start, stop, out, totals):
    """Write the nearest level of the block to `out` (unless it is empty) and add the metrics to `totals`."""
    keep = out.size > 0
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        target = out[start:end] if keep else out
        highest = levels[block, counts[block] - 1]
        _quantize_run(x[start:end], target, keep, levels[block], thresholds[block], highest, totals)
        start = end
        block += 1


@kernel
def encode_blocks(x, offsets, thresholds, start, stop, codes):
    """Write the numbers of the levels and return the largest bit pattern of |x|, as `affine.encode_blocks`."""
    peak = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        edges = thresholds[block]
        for i in range(start, end):
            codes[i] = _place(x[i], edges)
            size = magnitude_bits(x[i])
            peak = size if size > peak else peak
        start = end
        block += 1
    return peak


@kernel
def decode_blocks(codes, offsets, levels, start, stop, out):
    """Write the levels that codes are the numbers of; NaN for numbers beyond the block's levels."""
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        for i in range(start, end):
            out[i] = levels[block, codes[i]]
        start = end
        block += 1
