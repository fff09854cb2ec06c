"""Clipping: how the range [lo, hi] of each block is chosen.

A method gets all blocks of a tensor at once, flat with offsets, and returns one range a block; or values with counts,
as observers collect them, and returns their range. The quantizer turns a range into scale and zero point: it widens
asymmetric ranges to hold 0 and takes max(−lo, hi) of symmetric ones.
"""

from quant_engine.clipping.base import Blocks, Clipping
from quant_engine.clipping.least_error import MinMSE
from quant_engine.clipping.simple import FixedRange, MinMax, Percentile

CLIPPINGS: dict[str, type] = {
    "MinMax": MinMax,
    "Percentile": Percentile,
    "MinMSE": MinMSE,
    "FixedRange": FixedRange,
}

__all__ = ["CLIPPINGS", "Blocks", "Clipping", "FixedRange", "MinMSE", "MinMax", "Percentile"]
