"""Clipping: how the range [lo, hi] of each block is chosen.

A method gets all blocks of a tensor at once, flat with offsets, and returns one range a block; or values with counts,
as observers collect them, and returns their range. The quantizer turns a range into scale and zero point: it widens
asymmetric ranges to hold 0 and takes max(−lo, hi) of symmetric ones.
"""

from quant_engine.clipping.analytic import ACIQ
from quant_engine.clipping.base import Blocks, Clipping, Objective
from quant_engine.clipping.edited import EditedRanges
from quant_engine.clipping.entropy import MinKL
from quant_engine.clipping.min_mse import MinMSE
from quant_engine.clipping.simple import FixedRange, MinMax, MovingAverage, Percentile

CLIPPINGS: dict[str, type] = {
    "MinMax": MinMax,
    "Percentile": Percentile,
    "MinMSE": MinMSE,
    "MinKL": MinKL,
    "ACIQ": ACIQ,
    "MovingAverage": MovingAverage,
    "FixedRange": FixedRange,
    "EditedRanges": EditedRanges,
}

EVEN_ONLY = (MinKL, ACIQ)  # what they reckon with are codes of equal steps

__all__ = [
    "ACIQ",
    "CLIPPINGS",
    "EVEN_ONLY",
    "Blocks",
    "Clipping",
    "EditedRanges",
    "FixedRange",
    "MinKL",
    "MinMSE",
    "MinMax",
    "MovingAverage",
    "Objective",
    "Percentile",
]
