"""Fixed-point codes: integers with an agreed radix point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_integer, validate_boolean
from quant_engine.errors import QuantError
from quant_engine.formats.base import CommonFormat, as_values, validate_listable
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.records import Record

MAX_BITS = 24  # of which float32 holds every value exactly


@final
@dataclass(frozen=True)
class FixedPointFormat(CommonFormat, Record):
    """Qm.n: multiples of 2^−n, of m bits before the point and n behind it, and a sign bit beside these if signed.

    Codes are integers q (two's complement), values q · 2^−n: from −2^m to 2^m − 2^−n, or from 0 if not signed. (The
    article's m leaves out the sign bit, as Texas Instruments counts; ARM counts it in.) Rounding is to nearest, a tie
    to the even code, and saturates. The values stand for themselves: nothing is scaled.

    Raises:
        QuantError: for negative numbers of bits, none at all, or more than 24 in all, which float32 does not hold.

    Example:
        >>> form = FixedPointFormat(2, 5)
        >>> form.bits, form.lowest, form.highest, form.decode(form.encode([0.1, 9.0])).tolist()
        (8, -4.0, 3.96875, [0.09375, 3.96875])
    """

    integer_bits: int
    fraction_bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("integer_bits", "fraction_bits"):
            object.__setattr__(self, name, as_integer(getattr(self, name), name, 0, MAX_BITS))
        validate_boolean(self.signed, "signed")
        if not 1 + self.signed <= self.bits <= MAX_BITS:
            raise QuantError(f"{self} has {self.bits} bits; give one bit or more beside the sign, up to {MAX_BITS}")

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.integer_bits + self.fraction_bits + self.signed

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""
        return self.qmin, self.qmax

    @property
    def even(self) -> bool:
        """Codes are consecutive integers of equal steps."""
        return True

    @property
    def scaled(self) -> bool:
        """Values stand for themselves."""
        return False

    @property
    def step(self) -> float:
        """The value of the code 1, 2^−n."""
        return 2.0**-self.fraction_bits

    @property
    def qmin(self) -> int:
        """The least code."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def qmax(self) -> int:
        """The greatest code."""
        return (1 << self.bits - self.signed) - 1

    @property
    def lowest(self) -> float:
        """The least value."""
        return self.qmin * self.step

    @property
    def highest(self) -> float:
        """The greatest value."""
        return self.qmax * self.step

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest numpy type that holds the codes."""
        width = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32
        return np.dtype(f"{'int' if self.signed else 'uint'}{width}")

    def values(self) -> Float64Array:
        """Return the values of all codes.

        Raises:
            QuantError: for more than 16 bits.
        """
        validate_listable(self, self.bits)
        return np.arange(self.qmin, self.qmax + 1, dtype=np.float64) * self.step

    def encode(self, u: ArrayLike) -> NDArray[Any]:
        """Return saturate(rint(u · 2^n)), half to even."""
        with np.errstate(over="ignore"):
            steps = np.rint(as_values(u, self) / self.step)
        codes: NDArray[Any] = np.clip(steps, self.qmin, self.qmax).astype(self.dtype)
        return codes

    def decode(self, codes: ArrayLike) -> Float32Array:
        """Return code · 2^−n.

        Raises:
            QuantError: for numbers that are no codes.
        """
        whole = self.as_codes(codes)
        return np.asarray(whole * np.float64(self.step)).astype(np.float32)
