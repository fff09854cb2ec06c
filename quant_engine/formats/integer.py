"""Integer codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_integer, validate_boolean
from quant_engine.errors import QuantError
from quant_engine.formats.base import CommonFormat, as_values
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.records import Record

MAX_BITS = 16


@final
@dataclass(frozen=True)
class IntFormat(CommonFormat, Record):
    """Consecutive integers, the codes of uniform quantization.

    Signed codes run from −2^(bits−1), or −2^(bits−1) + 1 in the restricted (narrow) range, to 2^(bits−1) − 1;
    unsigned codes from 0 to 2^bits − 1.

    Raises:
        QuantError: for a width outside 2 to 16 bits (1 to 16 unsigned), for flags that are no truth values, and for an
            unsigned restricted range.

    Example:
        >>> IntFormat(4).qmin, IntFormat(4).qmax, IntFormat(4, narrow=True).qmin
        (-8, 7, -7)
        >>> IntFormat(3).encode([-9.0, 0.5, 1.5, 2.6]).tolist()
        [-4, 0, 2, 3]
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("signed", "narrow"):
            validate_boolean(getattr(self, name), name)
        object.__setattr__(self, "bits", as_integer(self.bits, "bits", 2 if self.signed else 1, MAX_BITS))
        if self.narrow and not self.signed:
            raise QuantError(
                "narrow=True with signed=False: the restricted range leaves out the code -2^(bits-1), which unsigned "
                "codes do not have; use narrow=False"
            )

    @property
    def qmin(self) -> int:
        """The least code."""
        return int(self.narrow) - (1 << self.bits - 1) if self.signed else 0

    @property
    def qmax(self) -> int:
        """The greatest code."""
        return (1 << self.bits - 1) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""
        return self.qmin, self.qmax

    @property
    def even(self) -> bool:
        """Codes are consecutive integers of equal steps."""
        return True

    @property
    def step(self) -> float:
        """The value of the code 1 before scaling."""
        return 1.0

    @property
    def lowest(self) -> float:
        """The least code, as a value."""
        return float(self.qmin)

    @property
    def highest(self) -> float:
        """The greatest code, as a value."""
        return float(self.qmax)

    @property
    def symmetric_max(self) -> float:
        """The greatest code, in the full range too, whose one extra code lies beyond the clipping range."""
        return float(self.qmax)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest numpy type that holds the codes."""
        return np.dtype(f"{'int' if self.signed else 'uint'}{8 if self.bits <= 8 else 16}")

    def values(self) -> Float64Array:
        """Return all codes as numbers: an integer stands for itself."""
        return np.arange(self.qmin, self.qmax + 1, dtype=np.float64)

    def encode(self, u: ArrayLike) -> NDArray[Any]:
        """Return saturate(rint(u)), half to even, as integers of `dtype`."""
        codes: NDArray[Any] = np.clip(np.rint(as_values(u, self)), self.qmin, self.qmax).astype(self.dtype)
        return codes

    def decode(self, codes: ArrayLike) -> Float32Array:
        """Return the codes as float32 numbers.

        Raises:
            QuantError: for numbers that are no codes.
        """
        return np.asarray(self.as_codes(codes).astype(np.float32))
