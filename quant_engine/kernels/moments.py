"""What analytic clipping needs to know of each block: mean, and deviations from it or from 0."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, kernel

MEAN, POWER, DEVIATION, SIDE_POWER, SIDE_MEAN = range(5)  # columns of what `spreads` writes
SPREADS = 5


@kernel
def spreads(x, offsets, start, stop, found):
    """Write the mean, the mean square and mean magnitude off it, and mean square and mean of the values above 0."""
    for block in range(start, stop):
        values = x[offsets[block] : offsets[block + 1]]
        total, above, above_total, above_square = 0.0, 0, 0.0, 0.0
        for i in range(values.size):
            value = np.float64(values[i])
            side = value if value > 0.0 else 0.0
            total = add_any_order(total, value)
            above_total = add_any_order(above_total, side)
            above_square = add_any_order(above_square, side * side)
            above += 1 if value > 0.0 else 0
        mean = total / values.size
        square, magnitude = 0.0, 0.0
        for i in range(values.size):
            off = np.float64(values[i]) - mean
            square = add_any_order(square, off * off)
            magnitude = add_any_order(magnitude, abs(off))
        found[block, MEAN] = mean
        found[block, POWER] = square / values.size
        found[block, DEVIATION] = magnitude / values.size
        found[block, SIDE_POWER] = above_square / max(above, 1)
        found[block, SIDE_MEAN] = above_total / max(above, 1)
