"""Which entry of a table a value goes to: by the thresholds it has reached, in whatever form these are given.

A threshold is the least float32 that goes to its entry or above; entry 0 is for what reaches none. Three forms:

- a tuple of a few, in vector lanes, without a branch: all are compared or, of fifteen, one, one of two, and three of
  twelve that are selected by these; NaN, which nothing reaches, may fill it up;
- an array, filled up with NaN to one less than a power of two: halved and halved again;
- `Guided`: an array of which the leading bits of a value leave but a few to look at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from quant_engine.kernels.compile import bits_of, helper

HALVED = 15  # thresholds of a tuple that are halved twice


class Guided(NamedTuple):
    """Thresholds with the first to look at for each cell, the values alike in sign and leading bits of |u| + offset.

    A cell's number is (bits >> shift) − base above the middle of `cells`, or as far below for negative values. Up to
    2 · stride − 1 thresholds lie in a cell, and as many NaN follow the last.
    """

    thresholds: NDArray[np.float32]
    cells: NDArray[np.int32]
    offset: np.float32
    shift: np.int32
    base: np.int32
    stride: np.int64


def place(u: Any, thresholds: Any) -> Any:
    """Return how many thresholds `u` has reached; in compiled code alone."""
    raise NotImplementedError


def chosen(u: Any, thresholds: Any, entries: Any) -> Any:
    """Return the entry at that place, of an array; in compiled code alone."""
    raise NotImplementedError


@overload(place, jit_options={"forceinline": True})
def _place(u, thresholds):
    if isinstance(thresholds, types.Array):
        return _halved
    if isinstance(thresholds, types.BaseNamedTuple):
        return _guided
    return _halved_in_lanes if len(thresholds) == HALVED else _counted


@overload(chosen, jit_options={"forceinline": True})
def _chosen(u, thresholds, entries):
    return _compared if isinstance(thresholds, types.UniTuple) else _looked_up


def _halved(u, thresholds):
    return _further(u, thresholds, np.int64(0), np.int64(thresholds.size + 1) >> 1)


def _guided(u, thresholds):
    return _further(u, thresholds.thresholds, np.int64(thresholds.cells[cell(u, thresholds)]), thresholds.stride)


def _counted(u, thresholds):
    count = np.int32(0)
    for k in range(len(thresholds)):
        count += np.int32(u >= thresholds[k])
    return count


def _halved_in_lanes(u, thresholds):
    upper = u >= thresholds[7]
    second = u >= (thresholds[11] if upper else thresholds[3])
    count = (np.int32(8) if upper else np.int32(0)) + (np.int32(4) if second else np.int32(0))
    for k in range(3):
        low = thresholds[k + 8] if upper else thresholds[k]
        high = thresholds[k + 12] if upper else thresholds[k + 4]
        count += np.int32(u >= (high if second else low))
    return count


def _compared(u, thresholds, entries):
    entry = entries[0]
    for k in range(len(thresholds)):
        entry = entries[k + 1] if u >= thresholds[k] else entry
    return entry


def _looked_up(u, thresholds, entries):
    return entries[place(u, thresholds)]


@helper
def cell(u, guide):
    """Return the number of the cell of a value."""
    half = np.int32(guide.cells.size >> 1)
    key = (bits_of(np.abs(u) + guide.offset) >> guide.shift) - guide.base
    key = key if key < half else half - np.int32(1)
    return half + key if u >= np.float32(0) else half - np.int32(1) - key


@helper
def _further(u, thresholds, reached, stride):
    """Return how many thresholds `u` has reached: `reached` or up to 2 · stride − 1 more."""
    while stride > 0:
        reached += np.int64(u >= thresholds[reached + stride - 1]) * stride  # no branch: which way is a toss-up
        stride >>= 1
    return reached
