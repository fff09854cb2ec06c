"""Real factors as multipliers and shifts of 32 bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_number
from quant_engine.errors import QuantError

FRACTION_BITS = 31  # of a multiplier: it stands for a number in [½, 1)
LARGEST_FACTOR = (1 - 2.0**-53) * 2.0**FRACTION_BITS  # that a shift within 32 bits reaches


def fixed_point(number: float) -> tuple[int, int]:
    """Return (multiplier, shift) with number ≈ multiplier · 2^(shift − 31) and 2³⁰ ≤ multiplier < 2³¹; 0 gives (0, 0).

    A number below 2⁻³² becomes 0, since 31 bits is the furthest that a sum is shifted to the right.

    Raises:
        QuantError: for what is no number from 0 to below 2³¹, beyond which no shift reaches.

    >>> fixed_point(0.75), fixed_point(1.0), fixed_point(0.1)
    ((1610612736, 0), (1073741824, 1), (1717986918, -3))
    """
    mantissa, exponent = math.frexp(as_number(number, "number", 0.0, LARGEST_FACTOR))
    multiplier = round(mantissa * (1 << FRACTION_BITS))
    if multiplier == 1 << FRACTION_BITS:
        multiplier, exponent = multiplier >> 1, exponent + 1
    return (multiplier, exponent) if multiplier and exponent >= -FRACTION_BITS else (0, 0)


def multipliers_of(name: str, numbers: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the multiplier and shift of each channel's factor; `name` gave the sums."""
    if not (numbers <= LARGEST_FACTOR).all():
        channel = int(np.argmax(numbers))
        raise QuantError(
            f"layer {name!r}, channel {channel}: one step of its sums is {numbers[channel]:.4g} steps of what follows, "
            "beyond any shift in 32 bits; give the next layer's input a wider range"
        )
    pairs = np.array([fixed_point(float(number)) for number in numbers], np.int32).reshape(-1, 2)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
