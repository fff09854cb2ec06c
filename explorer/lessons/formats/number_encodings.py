"""One number held in many formats: which formats, what each stores, and the formula of its bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.lessons.framework.scene import Held, Scene
from explorer.notation import latex
from quant_engine import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    FP16,
    FP32,
    TF32,
    FixedPointFormat,
    FloatFormat,
    IntFormat,
    QuantError,
)

FIXED, INTEGER, SCALED = "fixed point", "int8", "int8 · S"
FLOATS = {
    "FP32": FP32,
    "TF32": TF32,
    "FP16": FP16,
    "BF16": BF16,
    "E5M2": E5M2,
    "E4M3": E4M3,
    "E3M2": E3M2,
    "E2M3": E2M3,
    "E2M1": E2M1,
}
NAMES = (*FLOATS, FIXED, INTEGER, SCALED)
WORD = 8  # bits of the integers
OPENING = Held("FP16", "0.1", 4)


@dataclass(frozen=True)
class Holder:
    """A format that holds a number; `step` is what its code 1 stands for, where a scale is put beside it."""

    name: str
    title: str
    format: Any
    step: float | None = None

    def code(self, number: float) -> int | None:
        """Return the code of the nearest number, or None where there is none."""
        wide = number / (self.step or 1.0)
        if math.isnan(number) and not isinstance(self.format, FloatFormat):
            return None
        try:
            return int(self.format.encode(wide))
        except QuantError:
            return None

    def value(self, code: int) -> float:
        """Return the number that a code stands for."""
        return float(self.format.decode(code)) * (1.0 if self.step is None else self.step)


def read_number(text: str) -> str:
    """Return the text of a number as Python reads it.

    >>> read_number("-inf")
    '-inf'

    Raises:
        ValueError: for text that is no number.
    """
    float(text)
    return text


def point_name(form: FixedPointFormat) -> str:
    """Write a fixed-point format as Qm.n.

    >>> point_name(FixedPointFormat(3, 4)), point_name(FixedPointFormat(0, 8, signed=False))
    ('Q3.4', 'UQ0.8')
    """
    return f"{'' if form.signed else 'U'}Q{form.integer_bits}.{form.fraction_bits}"


def holders(point: int, scale: float) -> dict[str, Holder]:
    """Return every format by name; `scale` is what the scaled integer is multiplied by."""
    fixed = FixedPointFormat(WORD - 1 - point, point)
    whole = IntFormat(WORD)
    found = [Holder(name, name, form) for name, form in FLOATS.items()]
    found.append(Holder(FIXED, f"fixed {point_name(fixed)}", fixed))
    found += [Holder(INTEGER, INTEGER, whole), Holder(SCALED, SCALED, whole, scale)]
    return {holder.name: holder for holder in found}


def scale_of(scene: Scene) -> float:
    """Return the scale that fits int8 to the tensor from its least to its greatest value."""
    shown = scene.subject.statistics
    return max(-shown.lo, shown.hi) / IntFormat(WORD).qmax or 1.0


def holder_of(scene: Scene) -> tuple[Holder, float]:
    """Return the format whose bits are shown, and the number."""
    held = scene.held or OPENING
    return holders(held.point, scale_of(scene))[held.format], float(held.number)


def bits_formula(holder: Holder, number: float) -> tuple[str, ...]:
    """Write out what a number's bits stand for, first in letters, then with the numbers in it, as LaTeX."""
    code = holder.code(number)
    if code is None:
        return (rf"\text{{{holder.title} has no code for {written(number)}}}",)
    return (_float_formula if isinstance(holder.format, FloatFormat) else _integer_formula)(holder, code)


def _float_formula(holder: Holder, code: int) -> tuple[str, ...]:
    form, value = holder.format, holder.value(code)
    sign, exponent, mantissa = (int(part) for part in form.split(code))
    if not math.isfinite(value):
        name = r"\mathrm{NaN}" if math.isnan(value) else r"\infty" if value > 0 else r"-\infty"
        return (rf"E = {exponent}, \; M = {mantissa}: \quad {name}",)
    lead, power = (1, "E") if exponent else (0, "1")
    general = rf"\tilde r = (-1)^s \cdot 2^{{{power} - \mathrm{{bias}}}} \cdot \left({lead} + \frac{{M}}{{2^m}}\right)"
    size = 2**form.mantissa_bits
    live = (
        rf"\tilde r = (-1)^{{{sign}}} \cdot 2^{{{exponent or 1} - {form.bias}}} \cdot "
        rf"\left({lead} + \frac{{{mantissa}}}{{{size}}}\right) = {_number(value)}"
    )
    return general, live


def _integer_formula(holder: Holder, code: int) -> tuple[str, ...]:
    general, unit = {
        FIXED: (r"q \cdot 2^{-n}", rf" \cdot 2^{{-{getattr(holder.format, 'fraction_bits', 0)}}}"),
        INTEGER: ("q", ""),
        SCALED: (r"q \cdot S", rf" \cdot {latex(holder.step or 1.0)}"),
    }[holder.name]
    return rf"\tilde r = {general}", rf"\tilde r = {code}{unit} = {_number(holder.value(code))}"


def _number(value: float) -> str:
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    return latex(value, 9)


def written(number: float) -> str:
    """Write a number as it was typed, in full.

    >>> written(float("-inf")), written(-0.0), written(2049.0), written(1e-45)
    ('−∞', '−0', '2049', '1e−45')
    """
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    text = repr(number)
    return text.removesuffix(".0").replace("-", "−")


def fp32_share_to_one() -> float:
    """Return how many of the non-negative finite FP32 values lie in [0, 1], as a share of them."""
    return (int(FP32.encode(1.0)) + 1) / (int(FP32.encode(FP32.highest)) + 1)


def stored(name: str, number: float) -> float:
    """Return what a float format stores for a number."""
    form = FLOATS[name]
    return float(np.float64(form.decode(form.encode(number))))
