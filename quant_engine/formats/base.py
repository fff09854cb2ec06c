"""What every number format answers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_float64, as_integers

MAX_LISTED_BITS = 16  # beyond, a list of all values serves nobody


class Format(Protocol):
    """A frozen, hashable choice of codes and of the values they stand for before scaling."""

    @property
    def bits(self) -> int:
        """Width of a code."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of the codes."""

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""

    @property
    def even(self) -> bool:
        """Whether codes are consecutive integers of equal steps, as zero points and models of even steps need them."""

    @property
    def scaled(self) -> bool:
        """Whether values are scaled to each block's range, or stand for themselves."""

    @property
    def learned(self) -> bool:
        """Whether values are learned from each tensor, and so not known beforehand."""

    @property
    def lowest(self) -> float:
        """The least finite value."""

    @property
    def highest(self) -> float:
        """The greatest finite value."""

    @property
    def symmetric_max(self) -> float:
        """The value that a symmetric range's clipping value a is given: scale = a / symmetric_max."""

    def values(self) -> Float64Array:
        """Return the finite, sorted, distinct values of all codes."""

    def encode(self, u: ArrayLike) -> Any:
        """Return the code of the nearest value to each `u` of the scaled domain."""

    def decode(self, codes: ArrayLike) -> Float32Array:
        """Return the value of each code, in the scaled domain."""

    def as_codes(self, codes: ArrayLike) -> NDArray[Any]:
        """Return codes as integers of `dtype`.

        Raises:
            QuantError: for what are no codes of the format.
        """

    def validate_activations(self) -> None:
        """Check that activations can have the format.

        Raises:
            QuantError: where they cannot, with the reason.
        """


class CommonFormat:
    """What formats are unless they say otherwise: scaled, not even, and with the outermost of their values."""

    @property
    def even(self) -> bool:
        """Whether codes are consecutive integers of equal steps."""
        return False

    @property
    def scaled(self) -> bool:
        """Whether values are scaled to each block's range."""
        return True

    @property
    def code_range(self: Format) -> tuple[int, int]:
        """The least and the greatest code: all that the bits can hold."""
        return 0, (1 << self.bits) - 1

    def as_codes(self: Format, codes: ArrayLike) -> NDArray[Any]:
        """Return codes as integers of `dtype`."""
        return as_integer_codes(codes, *self.code_range, self).astype(self.dtype, copy=False)

    def validate_activations(self) -> None:
        """Check that activations can have the format: they can."""

    @property
    def learned(self) -> bool:
        """Whether values are learned from each tensor."""
        return False

    @property
    def dtype(self: Format) -> np.dtype[Any]:
        """The smallest unsigned numpy type that holds the codes."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16 if self.bits <= 16 else np.uint32)

    @property
    def lowest(self: Format) -> float:
        """The least value."""
        return float(self.values()[0])

    @property
    def highest(self: Format) -> float:
        """The greatest value."""
        return float(self.values()[-1])

    @property
    def symmetric_max(self: Format) -> float:
        """The greatest magnitude of a value."""
        return max(-self.lowest, self.highest)


def validate_listable(format: Any, bits: int) -> None:
    """Check that a format's values are few enough to list.

    Raises:
        QuantError: for more than 16 bits.
    """
    if bits > MAX_LISTED_BITS:
        raise QuantError(
            f"{format} has {bits} bits, and a list of 2^{bits} values is refused: only formats of up to "
            f"{MAX_LISTED_BITS} bits list theirs; use encode() and decode()"
        )


def as_values(u: ArrayLike, what: object) -> Float64Array:
    """Return what is to be encoded as float64.

    Raises:
        QuantError: for what are no real numbers, and NaN, which has no code.
    """
    array = as_float64(u, "u")
    if np.isnan(array).any():
        raise QuantError(f"{int(np.isnan(array).sum())} of {array.size} values are NaN, which has no code in {what}")
    return array


def as_integer_codes(codes: ArrayLike, lowest: int, highest: int, what: object) -> NDArray[Any]:
    """Return codes as an array.

    Raises:
        QuantError: for numbers that are no codes of the format.
    """
    return as_integers(
        codes, f"not all codes are codes of {what!s:.80}", lowest, highest, "give integers that encode() gave"
    )
