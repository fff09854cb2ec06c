"""Codes and values where every block has levels of its own.

`levels` (blocks, count) ascend in each row and are filled up with NaN; `thresholds` hold, for each level of a block but
the first, the least float32 that goes to it or above, filled up with NaN, which nothing reaches, to one less than a
power of two.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.affine import NO_SUMS, _add, _block_at, _clipping_bounds, _grown, _saturate
from quant_engine.kernels.compile import kernel, magnitude_bits

BATCH = 1024  # values whose places are found together


@kernel
def _find(x, thresholds, places):
    """Write how many thresholds each value has reached, one step of all searches after the other: none waits."""
    for i in range(x.size):
        places[i] = np.uint32(0)
    stride = np.uint32((thresholds.size + 1) >> 1)
    while stride > 0:
        for i in range(x.size):
            further = np.uint32(places[i] + stride)
            places[i] = further if x[i] >= thresholds[np.uint32(further - np.uint32(1))] else places[i]
        stride >>= np.uint32(1)


@kernel
def _quantize_run(x, out, keep, levels, thresholds, highest, totals):
    low, high = _clipping_bounds(levels[0], highest)
    sums = NO_SUMS
    places = np.empty(min(x.size, BATCH), np.uint32)
    found = np.empty(places.size, np.float32)
    for start in range(0, x.size, BATCH):
        part = x[start : start + BATCH]
        _find(part, thresholds, places)
        for i in range(part.size):
            found[i] = levels[places[i]]
        for i in range(part.size):  # alike with output and without, so that sums add up alike
            sums = _grown(sums, part[i], found[i], _saturate(part[i], low, high) != part[i])
        if keep:  # now that all of the part is read: `out` may be the same memory
            out[start : start + part.size] = found[: part.size]
    _add(sums, totals)


@kernel
def _encode_run(x, thresholds, codes):
    max_size = np.int32(0)
    places = np.empty(min(x.size, BATCH), np.uint32)
    for start in range(0, x.size, BATCH):
        part = x[start : start + BATCH]
        _find(part, thresholds, places)
        for i in range(part.size):
            codes[start + i] = places[i]
            size = magnitude_bits(part[i])
            max_size = size if size > max_size else max_size
    return max_size


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
    max_size = np.int32(0)
    block = _block_at(offsets, start)
    while start < stop:
        end = min(offsets[block + 1], stop)
        max_size = max(max_size, _encode_run(x[start:end], thresholds[block], codes[start:end]))
        start = end
        block += 1
    return max_size


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
