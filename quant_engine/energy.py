"""What arithmetic and memory cost in energy, by number format: estimates, each of which says what it rests on.

Measured are integers of 8 and 32 bits, FP16 and FP32, in a 45 nm process at 0.9 V. Energy of other widths follows the
power law through both measured points: of the code's width for integers (exponent 1.98: a multiplier is nearly a square
of adders), of the significand's width, mantissa and leading one, for floats. Reads are of 64 bits; the figure says so
of caches, and DRAM is taken alike. Newer processes take less throughout; what lasts are the ratios.

Source: M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from quant_engine.checks import as_choice, as_instance, as_member, as_number
from quant_engine.formats import FORMATS, FP16, FP32, FixedPointFormat, FloatFormat, IntFormat

SOURCE = "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9, 45 nm"
BASES = ("measured", "interpolated", "extrapolated")  # from the firmest to the least firm
READ_BITS = 64  # of one measured read

INTEGER_MULTIPLY = {8: 0.2, 32: 3.1}  # pJ by width
FLOAT_MULTIPLY = {11: 1.1, 24: 3.7}  # pJ by width of the significand: FP16, FP32
INTEGER_ACCUMULATE, FLOAT_ACCUMULATE = 0.1, 0.9  # pJ of an addition in int32, in FP32
MEASURED_FLOATS = FP16, FP32


@dataclass(frozen=True)
class Energy:
    """Estimated picojoules, from `low` to `high`, with the least firm basis of what they are made of.

    Raises:
        QuantError: for what are no finite numbers with 0 ≤ low ≤ high, and for another basis.
    """

    low: float
    high: float
    basis: str

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "low", as_number(self.low, "low", 0.0))
        object.__setattr__(self, "high", as_number(self.high, "high", self.low))
        as_choice(self.basis, BASES, "basis")

    @property
    def picojoules(self) -> float:
        """The middle of the estimate."""
        return (self.low + self.high) / 2

    def __add__(self, other: Energy) -> Energy:
        """Return both together."""
        as_instance(other, Energy, "what is added", "give an Energy")
        basis = max(self.basis, other.basis, key=BASES.index)
        return Energy(self.low + other.low, self.high + other.high, basis)

    def __mul__(self, times: float) -> Energy:
        """Return the energy of as many of these."""
        number = as_number(times, "times", 0.0)
        return Energy(self.low * number, self.high * number, self.basis)


NOTHING = Energy(0.0, 0.0, "measured")
MEMORIES = {  # energy of a read of 64 bits
    "8 KB cache": Energy(10.0, 10.0, "measured"),
    "32 KB cache": Energy(20.0, 20.0, "measured"),
    "1 MB cache": Energy(100.0, 100.0, "measured"),
    "DRAM": Energy(1300.0, 2600.0, "measured"),
}


def multiply_energy(format: Any) -> Energy:
    """Return the energy of one multiplication of two values of a format.

    Fixed point multiplies as integers do; codebooks are looked up as float32 and multiply in FP32.

    Raises:
        QuantError: for what is no format.

    Example:
        >>> from quant_engine import BF16, FP32, IntFormat
        >>> multiply_energy(IntFormat(8)), multiply_energy(FP32).picojoules
        (Energy(low=0.2, high=0.2, basis='measured'), 3.7)
        >>> round(multiply_energy(IntFormat(4)).picojoules, 3), multiply_energy(BF16).basis
        (0.051, 'extrapolated')
    """
    form = multiplied_in(format)
    if isinstance(form, FloatFormat):
        return _power_law(FLOAT_MULTIPLY, form.mantissa_bits + 1, form in MEASURED_FLOATS)
    return _power_law(INTEGER_MULTIPLY, form.bits, form.bits in INTEGER_MULTIPLY)


def accumulate_energy(format: Any) -> Energy:
    """Return the energy of adding one product to a sum: in int32 for integers and fixed point, else in FP32.

    Raises:
        QuantError: for what is no format.

    Example:
        >>> from quant_engine import E4M3
        >>> accumulate_energy(E4M3).picojoules
        0.9
    """
    floating = isinstance(multiplied_in(format), FloatFormat)
    return _exactly(FLOAT_ACCUMULATE if floating else INTEGER_ACCUMULATE, "measured")


def requantize_energy() -> Energy:
    """Return the energy of making a code of a sum: one multiplication of 32 bits, three additions of 32 bits.

    The additions round twice and add the zero point; shifts and the clamp are left out.

    Example:
        >>> round(requantize_energy().picojoules, 9), requantize_energy().basis
        (3.4, 'measured')
    """
    return _exactly(INTEGER_MULTIPLY[32], "measured") + accumulate_energy(FixedPointFormat(7, 0)) * 3


def move_energy(bits: float, memory: str = "DRAM") -> Energy:
    """Return the energy of reading as many bits, as parts of 64-bit reads, from one of `MEMORIES`.

    Raises:
        QuantError: for another memory, and for bits that are no finite number from 0.

    Example:
        >>> move_energy(8), move_energy(32, "8 KB cache").picojoules
        (Energy(low=162.5, high=325.0, basis='measured'), 5.0)
    """
    return MEMORIES[as_choice(memory, MEMORIES, "memory")] * (as_number(bits, "bits", 0.0) / READ_BITS)


def multiplied_in(weight: Any, activation: Any = None) -> Any:
    """Return the format in which values of two formats (or of one) are multiplied.

    Two integers: the wider one. Else the float with the wider significand, since an integer beside a float is converted
    first.

    Raises:
        QuantError: for what is no format.

    Example:
        >>> from quant_engine import FP16, FP32, NF4, IntFormat
        >>> multiplied_in(IntFormat(4), IntFormat(8)).bits, multiplied_in(IntFormat(8), FP16) == FP16
        (8, True)
        >>> multiplied_in(NF4) == FP32
        True
    """
    given = [as_member(form, FORMATS, "format") for form in (weight, weight if activation is None else activation)]
    pair = [form if isinstance(form, IntFormat | FixedPointFormat | FloatFormat) else FP32 for form in given]
    floats = [form for form in pair if isinstance(form, FloatFormat)]
    return max(floats, key=lambda form: form.mantissa_bits) if floats else max(pair, key=lambda form: form.bits)


def _power_law(measured: dict[int, float], width: int, known: bool) -> Energy:
    """Return the energy at a width, on the power law through two measured points."""
    (narrow, less), (wide, more) = measured.items()
    if known:
        return _exactly(measured[width], "measured")
    exponent = math.log(more / less) / math.log(wide / narrow)
    basis = "interpolated" if narrow <= width <= wide else "extrapolated"
    return _exactly(less * (width / narrow) ** exponent, basis)


def _exactly(picojoules: float, basis: str) -> Energy:
    return Energy(picojoules, picojoules, basis)
