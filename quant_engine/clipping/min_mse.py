"""The range with the least mean squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.clipping.base import Blocks, Objective
from quant_engine.distribution import MAX_REACH, Distribution, WeightedValues
from quant_engine.formats import Format
from quant_engine.inputs import Float64Array
from quant_engine.kernels import search, table
from quant_engine.kernels.parallel import over_ranges
from quant_engine.records import Record

LARGE_BLOCK = 1 << 18  # values; from here a histogram of the block beats trying candidates on its values
SEARCH_STEPS = 100  # candidates for each smaller block


@final
@dataclass(frozen=True)
class MinMSE(Record):
    """The range with the least mean squared error of the quantized block."""

    def ranges(self, blocks: Blocks, format: Any, symmetric: bool) -> Float64Array:
        """Search every block: large ones through their histogram, small ones by trying candidates on the values."""
        lengths = np.diff(blocks.offsets)
        if blocks.count == 1 and lengths[0] >= LARGE_BLOCK:
            return np.array([blocks.distribution.best_range(format, symmetric)])
        if lengths.max() >= LARGE_BLOCK:
            return np.array([Distribution(block).best_range(format, symmetric) for block in blocks.each()])
        offsets, steps = blocks.offsets, np.zeros(blocks.count)
        if not format.even:
            return _ranges_of_levels(blocks, format)
        if symmetric:
            qmin, qmax = np.float32(format.qmin), np.float32(format.qmax)

            def scale_only(start: int, stop: int) -> None:
                search.best_even_steps(blocks.values, offsets, SEARCH_STEPS, qmin, qmax, start, stop, steps)

            over_ranges(blocks.count, scale_only, cost=blocks.values.size)
            reach = steps * format.qmax
            return np.stack([-reach if format.qmin < 0 else 0.0 * reach, reach], axis=1)
        span, zeros = format.qmax - format.qmin, np.zeros(blocks.count, np.int64)

        def scale_and_zero(start: int, stop: int) -> None:
            search.best_offset_steps(blocks.values, offsets, SEARCH_STEPS, span, start, stop, steps, zeros)

        over_ranges(blocks.count, scale_and_zero, cost=blocks.values.size)
        return np.stack([-zeros * steps, (span - zeros) * steps], axis=1)

    def range_of(self, values: WeightedValues, format: Format, symmetric: bool) -> tuple[float, float]:
        """Search through prefix sums of the values."""
        return values.best_range(format, symmetric)

    def objective(self, values: WeightedValues, format: Format, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return the mean squared error."""
        return Objective("mean squared error", "", values.range_errors(format, ranges, symmetric))


def _ranges_of_levels(blocks: Blocks, format: Format) -> Float64Array:
    """Return the best range of every small block, of a format whose values are not evenly spaced."""
    given, scales = (blocks.values, blocks.offsets, format.values(), format.symmetric_max), np.zeros(blocks.count)

    def scale_only(start: int, stop: int) -> None:
        table.best_scales(*given, SEARCH_STEPS, start, stop, scales)

    over_ranges(blocks.count, scale_only, cost=blocks.values.size)
    reach = np.minimum(scales * format.symmetric_max, MAX_REACH)
    return np.stack([-reach if format.lowest < 0.0 else 0.0 * reach, reach], axis=1)
