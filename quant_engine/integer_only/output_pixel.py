"""One number of a layer's output in Python's own integers: every intermediate is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quant_engine.integer_only.accumulator import Accumulator

Integers = NDArray[np.int64]
WORD_HALF = 1 << 30


@dataclass(frozen=True)
class Requantized:
    """How a sum becomes a code (or a logit): every number is exact.

    `shifted` is the sum after a shift to the left, if there is one; `product` takes 64 bits; `high` is product / 2³¹,
    half up; `divided` is high / 2^right, half away from 0; `moved` has the zero point added; `code` is clamped. With
    `once`, `divided` is the product shifted and rounded in one.
    """

    total: int
    multiplier: int
    shift: int
    zero_point: int
    lowest: int | None
    highest: int | None
    once: bool = False

    @property
    def left(self) -> int:
        """Places to shift to the left before multiplying."""
        return 0 if self.once else max(self.shift, 0)

    @property
    def right(self) -> int:
        """Places to shift to the right after multiplying."""
        return max(-self.shift, 0)

    @property
    def factor(self) -> float:
        """What multiplier and shift stand for."""
        return float(np.ldexp(self.multiplier, self.shift - 31))

    @property
    def shifted(self) -> int:
        """The sum, shifted to the left, saturated at 32 bits."""
        return min(max(self.total << self.left, -(1 << 31)), (1 << 31) - 1)

    @property
    def product(self) -> int:
        """Sum · multiplier."""
        return self.shifted * self.multiplier

    @property
    def high(self) -> int:
        """The high half of the doubled product, rounded."""
        return (self.product + WORD_HALF) >> 31

    @property
    def divided(self) -> int:
        """The high half, shifted to the right and rounded."""
        if self.once:
            return (self.product + ((1 << 31 - self.shift) >> 1)) >> (31 - self.shift)
        size, half = abs(self.high), (1 << self.right) >> 1
        return ((size + half) >> self.right) * (1 if self.high >= 0 else -1)

    @property
    def moved(self) -> int:
        """With the zero point added."""
        return self.divided + self.zero_point

    @property
    def code(self) -> int:
        """The code; of logits, what is compared."""
        if self.lowest is None or self.highest is None:
            return self.moved
        return min(max(self.moved, self.lowest), self.highest)


@dataclass(frozen=True, eq=False)
class OutputPixel:
    """One number of a layer's output: what it is made of, and what becomes of it.

    `codes`, `inside`, `weights` and `products` have the shape of the window, (in/groups, height, width) or (in,);
    `inside` is False where the window leaves the image and the code of 0 stands in. `total` is the exact sum of
    products, correction and bias, `held` what the accumulator makes of it. `gathered` is the sum over the picture that
    is requantized in its place, where an average follows. `requantized` is None for logits that stay as they are.
    `input_scale`, `sum_scale` and `output_scale` say what one step of each stands for.
    """

    layer: str
    channel: int
    place: tuple[int, ...]
    codes: Integers
    inside: NDArray[np.bool_]
    weights: Integers
    zero_point: int
    correction: int
    bias: int
    held: int
    gathered: int | None
    requantized: Requantized | None
    input_scale: float
    sum_scale: float
    output_scale: float

    @property
    def products(self) -> Integers:
        """Weight · code, each."""
        return self.weights * self.codes

    @property
    def raw(self) -> int:
        """The sum of the products."""
        return int(self.products.sum())

    @property
    def total(self) -> int:
        """The sum with correction and bias."""
        return self.raw + self.correction + self.bias

    @property
    def weight_scale(self) -> float:
        """What one step of the weight stands for."""
        return self.sum_scale / self.input_scale

    @property
    def simulated(self) -> float:
        """The same in real numbers, bias as the integers have it: scale · weight · scale · (code − z), added up."""
        parts = (self.weights * self.weight_scale) * ((self.codes - self.zero_point) * self.input_scale)
        return float(parts.sum()) + self.bias * self.sum_scale

    def narrowed(self, bits: int) -> OutputPixel:
        """Return the same number where this layer alone has an accumulator of so many bits, which wraps.

        Raises:
            QuantError: as `Accumulator`.
        """
        wrapped = Accumulator(bits, "wrap").wrapped
        gathered = None if self.gathered is None else wrapped(self.gathered)
        held = wrapped(self.total)
        total = held if gathered is None else gathered
        done = self.requantized and replace(self.requantized, total=total)
        return replace(self, held=held, gathered=gathered, requantized=done)
