"""Floating-point codes of any split into exponent and mantissa."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_integer, validate_boolean
from quant_engine.errors import QuantError
from quant_engine.formats.base import CommonFormat, as_integer_codes, validate_listable
from quant_engine.inputs import Float32Array, Float64Array, as_float64
from quant_engine.records import Record

MAX_SCALED_BITS = 8
FLOAT32_MIN_EXPONENT, FLOAT32_MAX_EXPONENT = -149, 128  # exponents between which every value is a float32
SPECIALS = ("ieee", "nan", "none", "fnuz")


@final
@dataclass(frozen=True)
class FloatFormat(CommonFormat, Record):
    """A sign, `exponent_bits` and `mantissa_bits`: ±2^(E − bias) · (1 + M/2^m), or ±2^(1 − bias) · M/2^m where E = 0.

    A code is the bit pattern, sign first. Which codes are no finite values, `specials` says: "ieee", the greatest
    exponent is that of infinities and NaN; "nan", NaN has all exponent and mantissa bits set, and there are no
    infinities (the FN formats); "fnuz", the one NaN is the code that would be −0; "none", every code is a value. The
    `bias` is 2^(exponent_bits − 1) − 1 by default. Not `signed` means no sign and, for want of it, neither 0 nor
    subnormal values: the formats of scales.

    Rounding is to nearest, a tie to the even mantissa. What rounds beyond the greatest value becomes that value if
    `saturate` is set, or where there is nothing else; else infinity, or NaN without infinities. (A `Quantizer` always
    saturates.) Formats of 8 bits and fewer are scaled; wider ones stand for themselves.

    Raises:
        QuantError: for widths or values beyond float32's, unknown specials, and flags that are no truth values.

    Source: IEEE 754-2019, section 3.4; Micikevicius et al., FP8 Formats for Deep Learning (2022), table 1; OCP
    Microscaling Formats 1.0 (2023), section 5.3.

    Example:
        >>> E4M3.highest, E4M3.smallest_normal, E4M3.decode(E4M3.encode([0.3, 17.0, 1e9])).tolist()
        (448.0, 0.015625, [0.3125, 16.0, 448.0])
        >>> FP16.decode(FP16.encode([2049.0, 1e5])).tolist()
        [2048.0, inf]
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int | None = None
    specials: str = "ieee"
    signed: bool = True
    saturate: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        for name, low, high in (("exponent_bits", 1, 8), ("mantissa_bits", 0, 23)):
            object.__setattr__(self, name, as_integer(getattr(self, name), name, low, high))
        bias = 2 ** (self.exponent_bits - 1) - 1 if self.bias is None else self.bias
        object.__setattr__(self, "bias", as_integer(bias, "bias", -255, 255))
        if not isinstance(self.specials, str) or self.specials not in SPECIALS:
            raise QuantError(f"specials={self.specials!r} is unknown; choose one of {', '.join(SPECIALS)}")
        for name in ("signed", "saturate"):
            validate_boolean(getattr(self, name), name)
        if self.specials == "fnuz" and not self.signed:
            raise QuantError("specials='fnuz' takes the code of -0, which a format that is not signed does not have")
        if self._max_code < 1:
            raise QuantError(f"{self} has no finite value above its least; give it more bits, or specials='none'")
        if (
            self.min_exponent - self.mantissa_bits < FLOAT32_MIN_EXPONENT
            or not self.highest < 2.0**FLOAT32_MAX_EXPONENT
        ):
            raise QuantError(f"{self} has values beyond float32, from 2^-149 to below 2^128; change its bias")

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.exponent_bits + self.mantissa_bits + self.signed

    @property
    def scaled(self) -> bool:
        """Whether values are scaled to each block's range: so are those of 8 bits and fewer."""
        return self.bits <= MAX_SCALED_BITS

    @property
    def min_exponent(self) -> int:
        """The exponent of the least normal value."""
        return int(self.signed) - (self.bias or 0)

    @property
    def smallest_normal(self) -> float:
        """The least value above 0 with all bits of its mantissa."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def smallest_subnormal(self) -> float:
        """The least value above 0."""
        return math.ldexp(1.0, self.min_exponent - self.mantissa_bits * self.signed)

    @property
    def highest(self) -> float:
        """The greatest finite value."""
        return float(self._magnitudes(np.array(self._max_code)))

    @property
    def lowest(self) -> float:
        """The least finite value."""
        return -self.highest if self.signed else self.smallest_normal

    @property
    def negative_zero(self) -> bool:
        """Whether −0 has a code."""
        return self.signed and self.specials != "fnuz"

    @property
    def infinity_code(self) -> int | None:
        """The code of +infinity, or None."""
        return self._all_exponents if self.specials == "ieee" else None

    @property
    def nan_code(self) -> int | None:
        """A code of NaN (the quiet one without sign), or None."""
        half = 1 << max(self.mantissa_bits - 1, 0)
        return {
            "ieee": self._all_exponents + half if self.mantissa_bits else None,
            "nan": self._magnitude_codes - 1,
            "fnuz": self._magnitude_codes,
            "none": None,
        }[self.specials]

    def values(self) -> Float64Array:
        """Return the finite, sorted, distinct values of all codes (±0 are one).

        Raises:
            QuantError: for more than 16 bits.
        """
        validate_listable(self, self.bits)
        magnitudes = self._magnitudes(np.arange(self._max_code + 1))
        return np.unique(np.concatenate([-magnitudes, magnitudes]) + 0.0) if self.signed else magnitudes

    def encode(self, u: ArrayLike) -> NDArray[Any]:
        """Return the bit patterns of the nearest values.

        Raises:
            QuantError: for NaN, and numbers without a sign of their own, where the format has no NaN.
        """
        wide = as_float64(u, "u")
        size = np.abs(wide)
        finite = np.where(np.isfinite(size), size, 0.0)
        exponent = np.where(finite > 0.0, np.frexp(finite)[1] - 1, self.min_exponent)
        exponent = np.maximum(exponent, self.min_exponent)
        steps = np.rint(np.ldexp(finite, self.mantissa_bits - exponent)).astype(np.int64)
        codes = ((exponent - self.min_exponent).astype(np.int64) << self.mantissa_bits) + steps
        codes = np.maximum(codes - (0 if self.signed else 1 << self.mantissa_bits), 0)
        beyond = (codes > self._max_code) | np.isinf(size)
        codes = np.where(beyond, self._overflow_code, codes)
        if self.signed:
            codes = np.where(
                np.signbit(wide) & (self.negative_zero | (codes > 0)), codes | self._magnitude_codes, codes
            )
        nothing = np.isnan(wide) if self.signed else ~(wide > 0.0)
        if nothing.any():
            if self.nan_code is None:
                raise QuantError(f"{int(nothing.sum())} of {nothing.size} values have no code in {self}; it has no NaN")
            codes = np.where(nothing, self.nan_code, codes)
        return np.asarray(codes).astype(self.dtype)

    def decode(self, codes: ArrayLike) -> Float32Array:
        """Return the values of bit patterns, infinities and NaN among them.

        Raises:
            QuantError: for numbers that are no codes.
        """
        array = self.as_codes(codes).astype(np.int64)
        magnitude = array & (self._magnitude_codes - 1)
        found = self._magnitudes(np.minimum(magnitude, self._max_code))
        beyond = magnitude > self._max_code
        found = np.where(beyond, np.where(magnitude == (self.infinity_code or -1), np.inf, np.nan), found)
        if self.signed:
            found = np.where(array & self._magnitude_codes, -found, found)
        if self.specials == "fnuz":
            found = np.where(array == self.nan_code, np.nan, found)
        return np.asarray(found).astype(np.float32)

    def split(self, codes: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return sign, exponent E and mantissa M of bit patterns, as whole numbers.

        Raises:
            QuantError: for numbers that are no codes.

        Example:
            >>> [int(part) for part in FP16.split(FP16.encode(-0.75))]
            [1, 14, 512]
        """
        array = self.as_codes(codes).astype(np.int64)
        magnitude = array & (self._magnitude_codes - 1)
        sign = array >> (self.exponent_bits + self.mantissa_bits)
        return sign, magnitude >> self.mantissa_bits, magnitude & ((1 << self.mantissa_bits) - 1)

    def join(self, sign: ArrayLike, exponent: ArrayLike, mantissa: ArrayLike) -> NDArray[Any]:
        """Return the bit patterns that `split` takes apart.

        Raises:
            QuantError: for parts that do not fit their bits.

        Example:
            >>> FP16.decode(FP16.join(1, 14, 512)).tolist()
            -0.75
        """
        parts = (
            as_integer_codes(sign, 0, int(self.signed), f"the sign of {self}").astype(np.int64),
            as_integer_codes(exponent, 0, (1 << self.exponent_bits) - 1, f"the exponent of {self}").astype(np.int64),
            as_integer_codes(mantissa, 0, (1 << self.mantissa_bits) - 1, f"the mantissa of {self}").astype(np.int64),
        )
        codes = (parts[0] << self.exponent_bits + self.mantissa_bits) | (parts[1] << self.mantissa_bits) | parts[2]
        return np.asarray(codes).astype(self.dtype)

    @property
    def _magnitude_codes(self) -> int:
        """Number of codes without the sign."""
        return 1 << (self.exponent_bits + self.mantissa_bits)

    @property
    def _all_exponents(self) -> int:
        """The code with all bits of the exponent set."""
        return (1 << self.exponent_bits) - 1 << self.mantissa_bits

    @property
    def _max_code(self) -> int:
        """The code of the greatest finite value."""
        if self.specials == "ieee":
            return self._all_exponents - 1
        return self._magnitude_codes - (2 if self.specials == "nan" else 1)

    @property
    def _overflow_code(self) -> int:
        if self.saturate:
            return self._max_code
        for code in (self.infinity_code, self.nan_code):
            if code is not None:
                return code
        return self._max_code

    def _magnitudes(self, codes: NDArray[np.int64]) -> Float64Array:
        """Return the finite values of codes without sign."""
        mantissa = codes & ((1 << self.mantissa_bits) - 1)
        exponent = codes >> self.mantissa_bits
        normal = (exponent > 0) | (not self.signed)
        whole = mantissa + np.where(normal, 1 << self.mantissa_bits, 0)
        power = np.where(normal, exponent, 1) - (self.bias or 0) - self.mantissa_bits
        return np.asarray(np.ldexp(whole.astype(np.float64), power.astype(np.int32)))


# IEEE 754: what rounds beyond the greatest value becomes infinity.
FP32 = FloatFormat(exponent_bits=8, mantissa_bits=23)
TF32 = FloatFormat(exponent_bits=8, mantissa_bits=10)
FP16 = FloatFormat(exponent_bits=5, mantissa_bits=10)
BF16 = FloatFormat(exponent_bits=8, mantissa_bits=7)

# OFP8 (OCP, 2023) leaves overflow to the conversion. E5M2 keeps IEEE 754's infinities and overflows to them, as FP16
# does. E4M3 gave their codes to values (its greatest is 448 instead of 240), so that it could only overflow to NaN: it
# saturates, as ONNX's Cast does by default.
E5M2 = FloatFormat(exponent_bits=5, mantissa_bits=2)
E4M3 = FloatFormat(exponent_bits=4, mantissa_bits=3, specials="nan", saturate=True)

# OCP Microscaling 1.0: every code is a value, so there is nothing to overflow to and all saturate.
E3M2 = FloatFormat(exponent_bits=3, mantissa_bits=2, specials="none")
E2M3 = FloatFormat(exponent_bits=2, mantissa_bits=3, specials="none")
E2M1 = FloatFormat(exponent_bits=2, mantissa_bits=1, specials="none")
E8M0 = FloatFormat(exponent_bits=8, mantissa_bits=0, specials="nan", signed=False)  # scales: powers of two, and NaN
