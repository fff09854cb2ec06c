"""What the instrument's figures show, in words."""

from __future__ import annotations

import numpy as np

from explorer.notation import count, short
from explorer.results import BlockView


def describe_values(view: BlockView, unit: str) -> str:
    """Describe histogram, buckets, staircase, error and codes."""
    closest = float(np.diff(view.levels).min(initial=np.inf))
    used = int((view.counts > 0).sum())
    return (
        f"Histogram of {count(view.distribution.size)} {unit}s from {short(view.distribution.lo)} to "
        f"{short(view.distribution.hi)}, with {view.levels.size} codewords from {short(view.lo)} to "
        f"{short(view.hi)}, the closest {short(closest)} apart; {used} codes are used. Below it the staircase from "
        f"real to reconstructed value, the error, and the share of {unit}s in each code."
    )


def describe_curve(name: str, view: BlockView, min_error: float) -> str:
    """Describe the curves of error against clipping value."""
    return (
        f"Mean squared error against the clipping value, a curve for each bit width. With {name} it is now "
        f"{short(view.error)} at β = {short(view.hi)}; the least is {short(min_error)}."
    )
