"""A tensor in a few thousand numbers, for whatever cannot hold all of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import Float64Array

SHARE_OF_SQUARES = 0.5  # of the runs; the rest is shared out by count


@dataclass(frozen=True, eq=False)
class Runs:
    """Neighbouring values taken together: count, mean and variance of each run, in ascending order."""

    counts: NDArray[np.int64]
    means: Float64Array
    variances: Float64Array


def join(sums: Float64Array, max_runs: int) -> Runs:
    """Join neighbouring rows of (count, Σx, Σx²), ascending in x, into at most `max_runs` runs.

    Half of the runs share out the count equally and half the sum of squares, so that the few large values that decide
    where to clip are not averaged with the many around them.
    """
    filled = sums[sums[:, 0] > 0]
    if len(filled) > max_runs:
        progress = np.cumsum(filled / filled.sum(axis=0), axis=0)
        mass = (1.0 - SHARE_OF_SQUARES) * progress[:, 0] + SHARE_OF_SQUARES * progress[:, 2]
        middle = mass - 0.5 * np.diff(mass, prepend=0.0)  # a row heavier than a run's share is alone in its run
        run = np.minimum((middle * max_runs).astype(np.int64), max_runs - 1)
        starts = np.flatnonzero(np.diff(run, prepend=-1))
        filled = np.add.reduceat(filled, starts, axis=0)
    counts, total, square = filled.T
    means = total / counts
    return Runs(counts.astype(np.int64), means, np.maximum(square / counts - means**2, 0.0))
