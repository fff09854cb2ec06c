"""Ranges that a method chooses, but for some blocks whose range is set by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.checks import as_integer
from quant_engine.clipping.base import Blocks, Clipping, Objective
from quant_engine.clipping.simple import FixedRange
from quant_engine.distribution import WeightedValues
from quant_engine.errors import QuantError
from quant_engine.formats import Format
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float64Array
from quant_engine.records import Record


@final
@dataclass(frozen=True)
class EditedRanges(Record):
    """The ranges of another method, but for `edits`: (block, lo, hi) each, blocks by number, row-major in the grid.

    Raises:
        QuantError: for edits of another form, a block twice, and the errors of `FixedRange`.
    """

    clipping: Any
    edits: tuple[tuple[int, float, float], ...]

    def __post_init__(self) -> None:
        """Check the fields, and put the edits in the order of their blocks."""
        if isinstance(self.clipping, EditedRanges) or not hasattr(self.clipping, "ranges"):
            raise QuantError(f"clipping={self.clipping!r} chooses no ranges of its own; give a method such as MinMax()")
        if not isinstance(self.edits, tuple | list) or not all(
            isinstance(edit, tuple | list) and len(edit) == 3 for edit in self.edits
        ):
            raise QuantError(f"edits={self.edits!r} are not triples; give ((block, lo, hi), …)")
        found: dict[int, tuple[float, float]] = {}
        for block, lo, hi in self.edits:
            place, fixed = as_integer(block, "the number of a block"), FixedRange(lo, hi)
            if place < 0:
                raise QuantError(f"block {place} does not exist: blocks are counted from 0")
            if place in found:
                raise QuantError(f"block {place} is edited twice; give each block one range")
            found[place] = fixed.ends
        object.__setattr__(self, "edits", tuple((block, *found[block]) for block in sorted(found)))

    def of_block(self, block: int) -> Clipping:
        """Return how the range of one block is chosen."""
        edit = {number: FixedRange(lo, hi) for number, lo, hi in self.edits}.get(block)
        found: Clipping = self.clipping if edit is None else edit
        return found

    def ranges(self, blocks: Blocks, format: Format, symmetric: bool) -> Float64Array:
        """Return the method's ranges with the edits in place.

        Raises:
            QuantError: for a block that is not there.
        """
        return self.edited(self.clipping.ranges(blocks, format, symmetric), blocks.grid)

    def edited(self, ranges: Float64Array, grid: BlockGrid) -> Float64Array:
        """Return ranges (blocks, 2), in the order in which blocks are flattened, with the edits in place.

        Raises:
            QuantError: for a block that is not there.
        """
        place = np.argsort(grid.from_grid(np.arange(grid.count).reshape(grid.grid)))
        found = ranges.copy()
        for block, *ends in self.edits:
            if block >= grid.count:
                raise QuantError(f"block {block} does not exist: there are blocks 0 to {grid.count - 1}")
            found[place[block]] = ends
        return found

    def range_of(self, values: WeightedValues, format: Format, symmetric: bool) -> tuple[float, float]:
        """Return the range of one block, which is number 0."""
        return self.of_block(0).range_of(values, format, symmetric)

    def objective(self, values: WeightedValues, format: Format, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return what the way in which block 0 is chosen minimises."""
        return self.of_block(0).objective(values, format, symmetric, ranges)
