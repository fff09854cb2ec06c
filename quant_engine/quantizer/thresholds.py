"""Ascending thresholds in the form that kernels search soonest."""

from __future__ import annotations

import numpy as np

from quant_engine.inputs import Float32Array
from quant_engine.kernels.choice import Guided

FEW = 15  # thresholds; so many are compared one by one
MANTISSA_BITS = 23  # of float32
FINEST, MAX_CELLS = 10, 4096  # leading bits of the mantissa; cells of either sign, which stay in the fastest cache

Thresholds = tuple[np.float32, ...] | Guided


def searched(thresholds: Float32Array) -> Thresholds:
    """Return a few thresholds as a tuple (of 7 or 15, NaN at its end: two programs), more as `Guided`."""
    if thresholds.size <= FEW:
        return tuple(_filled(thresholds, FEW if thresholds.size > FEW // 2 else FEW // 2))
    size = np.abs(thresholds)
    offset = max(np.float32(np.median(size)), np.finfo(np.float32).tiny)
    shift = MANTISSA_BITS - FINEST
    while _leading(size.max() + offset, shift) - _leading(offset, shift) >= MAX_CELLS:
        shift += 1
    base = _leading(offset, shift)
    key = _leading(size + offset, shift) - base
    half = int(key.max()) + 1
    cells = np.where(thresholds >= 0, half + key, half - 1 - key)
    stride = 1 << (int(np.bincount(cells).max()).bit_length() - 1)
    first = np.searchsorted(cells, np.arange(2 * half)).astype(np.int32)
    room = _filled(thresholds, thresholds.size + 2 * stride - 1)
    return Guided(room, first, offset, np.int32(shift), np.int32(base), np.int64(stride))


def with_levels(thresholds: Float32Array, levels: Float32Array) -> tuple[Thresholds, Float32Array]:
    """Return the thresholds as `searched` does, and the levels for them: the last again where NaN fill a tuple up."""
    found = searched(thresholds)
    more = 0 if isinstance(found, Guided) else len(found) - thresholds.size
    return found, np.pad(levels, (0, more), mode="edge")


def _filled(thresholds: Float32Array, size: int) -> Float32Array:
    """Return the thresholds with NaN after the last."""
    return np.concatenate([thresholds, np.full(size - thresholds.size, np.nan, np.float32)])


def _leading(x: Float32Array | np.float32, shift: int) -> np.ndarray:
    """Return the bit patterns without the last `shift` bits."""
    return np.asarray(x, np.float32).view(np.int32) >> shift
