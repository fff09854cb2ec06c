"""What the instrument's figures show, in words."""

from __future__ import annotations

from explorer.notation import count, short
from explorer.results import BlockView


def describe_values(view: BlockView, unit: str) -> str:
    """Describe histogram, buckets, staircase, error and codes."""
    used = int((view.counts > 0).sum())
    return (
        f"Histogram of {count(view.distribution.size)} {unit}s from {short(view.distribution.lo)} to "
        f"{short(view.distribution.hi)}, with {view.levels.size} codewords {short(view.scale)} apart in the clipping "
        f"range {short(view.lo)} to {short(view.hi)}; {used} codes are used. Below it the staircase from real to "
        f"reconstructed value, the error, and the share of {unit}s in each code."
    )


def describe_curve(bits: int, view: BlockView, least_error: float) -> str:
    """Describe the curves of error against clipping value."""
    return (
        f"Mean squared error against the clipping value, a curve for each bit width. At {bits} bits it is now "
        f"{short(view.error)} at β = {short(view.hi)}; the least is {short(least_error)}."
    )
