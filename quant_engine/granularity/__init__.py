"""Granularity: which values share one scale, as a block shape.

A granularity turns a tensor's shape into a `BlockGrid`: equal blocks, of which only the last along a split axis may be
shorter. Every block here spans one index of some axes, a run of one axis or of two, and all of the others. With a run
of one axis, moving the axes into that order lays the blocks one after the other in memory; with runs of two, the last
two axes are cut into tiles as well. Kernels see a flat array and block offsets.
"""

from quant_engine.granularity.grid import BlockGrid
from quant_engine.granularity.shapes import (
    GRANULARITIES,
    Granularity,
    PerBlock,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerSample,
    PerTensor,
    PerToken,
    Remainder,
)

__all__ = [
    "GRANULARITIES",
    "BlockGrid",
    "Granularity",
    "PerBlock",
    "PerChannel",
    "PerChannelGroup",
    "PerGroup",
    "PerSample",
    "PerTensor",
    "PerToken",
    "Remainder",
]
