"""Search of the scale with the least mean squared error, of formats whose values are not evenly spaced."""

from __future__ import annotations

import numpy as np

from quant_engine.distribution.indexed import IndexedValues
from quant_engine.formats import Format
from quant_engine.inputs import LARGEST_FLOAT32, Float64Array

COARSE_STEPS = 192
CLOSE_LOOKS = 6  # candidates looked at more closely …
CLOSE_STEPS = 17  # … by this many steps between their neighbours, …
CLOSER_ROUNDS = 2  # … again and again
SEARCH_FLOOR = 0.1  # the smallest clipping value tried, as a share of mean |x|
BEYOND = 2.0  # the greatest scale tried, in units of the one that clips nothing: large values may want a closer level
MAX_REACH = 0.999 * LARGEST_FLOAT32  # of a clipping value, so that the outermost level is a float32 once rounded


def level_errors(indexed: IndexedValues, format: Format, scales: Float64Array) -> Float64Array:
    """Return the mean squared error of the format's values at each scale."""
    values = format.values()
    return np.array([indexed.levels_error(values * scale) for scale in scales])


def best_scale(indexed: IndexedValues, covering: float, format: Format) -> float:
    """Return the scale with the least error; `covering` is the one that takes the greatest |x| to the peak.

    The error has several local minima, so it is looked at everywhere on a grid even in logarithm, then more closely
    around the best.
    """
    min_scale = min(SEARCH_FLOOR * indexed.mean_magnitude / format.symmetric_max, covering / 4.0)
    scales = np.append(np.geomspace(min_scale, BEYOND * covering, COARSE_STEPS), covering)
    errors = level_errors(indexed, format, scales)
    gap = (BEYOND * covering / min_scale) ** (1.0 / (COARSE_STEPS - 1))
    for _ in range(1 + CLOSER_ROUNDS):
        best = np.argsort(errors, kind="stable")[:CLOSE_LOOKS]
        close = (scales[best][:, None] * np.geomspace(1.0 / gap, gap, CLOSE_STEPS)).reshape(-1)
        errors = np.append(errors[best], level_errors(indexed, format, close))
        scales = np.append(scales[best], close)
        gap = gap ** (2.0 / (CLOSE_STEPS - 1))
    return float(scales[np.argmin(errors)])
