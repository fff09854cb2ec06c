"""The register of an integer-only program: what it holds, and what sums can be at worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_choice, as_integer
from quant_engine.errors import QuantError

Sums = NDArray[np.int32]

WORD = 32  # bits of the accumulator that every program is proved to fit
MIN_BITS = 8
OVERFLOWS = ("refuse", "wrap")


@dataclass(frozen=True)
class Accumulator:
    """The register in which products are added up: its bits, and whether a sum beyond them is refused or wraps.

    Two's complement: a sum is right if it fits in the end, wherever it has been on the way.

    Raises:
        QuantError: for a width outside 8 to 32 bits, and for another word.
    """

    bits: int = WORD
    overflow: str = "refuse"

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "bits", as_integer(self.bits, "accumulator bits", MIN_BITS, WORD))
        as_choice(self.overflow, OVERFLOWS, "overflow")

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the greatest number that it holds."""
        return -(1 << self.bits - 1), (1 << self.bits - 1) - 1

    def held(self, sums: Sums, name: str) -> Sums:
        """Return what is left of sums (n, channels, …) in this register.

        Raises:
            QuantError: for a sum beyond it that is not to wrap, naming the layer, the channel and the sum.
        """
        low, high = self.ends
        if self.bits == WORD or (sums.min(initial=0) >= low and sums.max(initial=0) <= high):
            return sums
        if self.overflow == "refuse":
            image, channel, *_ = (int(i) for i in np.argwhere((sums < low) | (sums > high))[0])
            beyond = sums[image, channel][(sums[image, channel] < low) | (sums[image, channel] > high)].flat[0]
            raise QuantError(
                f"layer {name!r}, channel {channel}: the sum {int(beyond)} of an image needs {bits_of(int(beyond))} "
                f"bits, but the accumulator has {self.bits}; take more bits, or overflow='wrap' to see what comes out"
            )
        spare = np.int32(WORD - self.bits)
        kept: Sums = np.right_shift(np.left_shift(sums, spare), spare)
        return kept

    def wrapped(self, total: int) -> int:
        """Return what is left of one sum.

        >>> Accumulator(16).wrapped(40000), Accumulator(16).wrapped(-5)
        (-25536, -5)
        """
        low, _ = self.ends
        return (as_integer(total, "total") - low) % (1 << self.bits) + low


def bits_of(number: int) -> int:
    """Return the least bits of two's complement that hold a number.

    >>> bits_of(127), bits_of(128), bits_of(-128), bits_of(0)
    (8, 9, 8, 1)
    """
    whole = as_integer(number, "number")
    return (whole if whole >= 0 else ~whole).bit_length() + 1


@dataclass(frozen=True, eq=False)
class Bounds:
    """What the sums of each channel can be at worst, for any codes: no order of adding up leaves [low, high]."""

    name: str
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @property
    def channel(self) -> int:
        """The channel that needs the most bits."""
        return int(np.argmax(np.maximum(self.high, ~self.low)))

    @property
    def bits(self) -> int:
        """Bits of an accumulator that cannot overflow."""
        return max(bits_of(int(self.low.min())), bits_of(int(self.high.max())))
