"""One number of a layer's output, followed from codes to code in Python's own integers: every intermediate is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, as_integer, as_list
from quant_engine.errors import QuantError
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.integer_only.steps import (
    Accumulator,
    Add,
    AddUp,
    AddWindows,
    Clamp,
    Codes,
    IntegerStep,
    Largest,
    MultiplyAccumulate,
    Requantize,
    Rescale,
)

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


def trace_output(
    program: IntegerProgram, image: Codes, layer: str, channel: int, place: tuple[int, ...] = ()
) -> OutputPixel:
    """Return how one number of a layer's output comes about, for one quantized image (channels, height, width).

    `place` is (row, column) of a convolution's output, before pooling, and () for a linear layer.

    Raises:
        QuantError: for a layer, channel or place there is not, and as `IntegerProgram.run`.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> from quant_engine.integer_only import compile_plan
        >>> network, activation = load("fashion-cnn"), QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
        >>> layer = LayerPlan(QuantizerSpec(IntFormat(8)), activation)
        >>> program = compile_plan(network, QuantizationPlan(dict.fromkeys(network.layers(), layer)))
        >>> pixel = trace_output(program, program.quantize(network.data()[0][:1])[0], "conv1", 3, (9, 12))
        >>> pixel.total == pixel.raw + pixel.correction + pixel.bias, pixel.codes.shape
        (True, (1, 3, 3))
    """
    step = as_instance(program, IntegerProgram, "program", "compile_plan() gives one").layer(layer)
    validate_traceable(program)
    as_instance(image, np.ndarray, "image", "give one of what program.quantize() returns")
    given, sums, gathered = _around(program, image, step)
    channel = as_integer(channel, f"channel of layer {layer!r}", 0, len(step.weight) - 1)
    given_place = as_list(place, object, "place", "give (row, column) of a convolution, () of a linear layer")
    place = tuple(as_integer(at, "place") for at in given_place)
    if len(place) != sums.ndim - 1 or not all(0 <= p < size for p, size in zip(place, sums.shape[1:], strict=True)):
        raise QuantError(f"place {place} of layer {layer!r} does not exist: one channel's output is {sums.shape[1:]}")
    codes, inside = window(step, given, channel, place)
    held = int(sums[(channel, *place)])
    total = None if gathered is None else int(gathered[channel])
    input_scale, sum_scales = program.scales[layer]
    requantized, output_scale = _requantized(program, step, channel, held if total is None else total)
    return OutputPixel(
        layer,
        channel,
        place,
        codes,
        inside,
        step.weight[channel].astype(np.int64),
        step.zero_point,
        int(step.correction[channel]),
        int(step.bias[channel]),
        held,
        total,
        requantized,
        input_scale,
        float(sum_scales[channel]),
        float(sum_scales[channel]) if output_scale is None else output_scale,
    )


def validate_traceable(program: IntegerProgram) -> None:
    """Check that a program is a straight run of steps whose numbers can be retraced one by one.

    Raises:
        QuantError: for any other, which runs all the same.
    """
    layers = [step for step in program.steps if isinstance(step, MultiplyAccumulate)]
    tops = iter(layer.max_code for layer in layers[1:])
    clamped = (step.highest for step in program.steps if isinstance(step, Requantize))
    plain = all(_retraceable(step) for step in program.steps)
    if not (program.straight and plain and all(highest == next(tops) for highest in clamped)):
        raise QuantError(
            f"{program.network} is no straight run of convolutions that keep the picture's size, ReLUs and pools of "
            "2 × 2 or of the whole picture, so its numbers are not retraced one by one; run and predict compute them"
        )


def _retraceable(step: IntegerStep) -> bool:
    if isinstance(step, MultiplyAccumulate):
        padded = [sum(ends) + 1 for ends in step.padding]
        return step.weight.ndim == 2 or (step.stride == (1, 1) and padded == list(step.weight.shape[2:]))
    if isinstance(step, Largest):
        return step.halving
    return not isinstance(step, Add | AddWindows | Clamp) and (not isinstance(step, AddUp) or step.relu)


def window(
    step: MultiplyAccumulate, codes: Codes, channel: int, place: tuple[int, ...]
) -> tuple[Integers, NDArray[np.bool_]]:
    """Return the codes of one image that an output is made of, and which of them lie inside the image."""
    if step.weight.ndim == 2:
        return codes.astype(np.int64), np.ones(codes.shape, np.bool_)
    channels = step.weight.shape[1]
    first = channel // (len(step.weight) // step.groups) * channels
    geometry = zip(place, step.weight.shape[2:], step.stride, step.padding, strict=True)
    rows, columns = (at * stride + np.arange(size) - before for at, size, stride, (before, _) in geometry)
    height, width = codes.shape[1:]
    there = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    part = codes[first : first + channels][:, rows.clip(0, height - 1)][:, :, columns.clip(0, width - 1)]
    inside = np.broadcast_to(there, part.shape)
    return np.where(inside, part, step.zero_point).astype(np.int64), inside


def next_steps(program: IntegerProgram, step: MultiplyAccumulate) -> tuple[AddUp | None, Requantize | Rescale | None]:
    """Return what a layer's sums go through until they are codes or logits: an average, and requantization."""
    gather: AddUp | None = None
    for later in program.steps[program.steps.index(step) + 1 :]:
        if isinstance(later, AddUp):
            gather = later
        elif isinstance(later, Requantize | Rescale):
            return gather, later
    return gather, None


def _around(
    program: IntegerProgram, image: Codes, step: MultiplyAccumulate
) -> tuple[Codes, NDArray[Any], NDArray[Any] | None]:
    """Return a layer's input codes and its sums for one image, and the sums over the picture if it has those."""
    gather, _ = next_steps(program, step)
    given = sums = None
    for passed, before, after in program.trace(image[None]):
        if passed is step:
            given, sums = before[0], after[0]
            if gather is None:
                return given, sums, None
        elif passed is gather and given is not None and sums is not None:
            return given, sums, after[0]
    raise AssertionError(step.name)


def _requantized(
    program: IntegerProgram, step: MultiplyAccumulate, channel: int, total: int
) -> tuple[Requantized | None, float | None]:
    """Return how a channel's sum is requantized, and what one step of the outcome stands for."""
    _, later = next_steps(program, step)
    if later is None:
        return None, None
    numbers = total, int(later.multiplier[channel]), int(later.shift[channel])
    if isinstance(later, Rescale):
        return Requantized(*numbers, 0, None, None, later.once), program.logit_scale
    names = list(program.scales)
    scale, _ = program.scales[names[names.index(step.name) + 1]]
    return Requantized(*numbers, later.zero_point, later.lowest, later.highest, later.once), scale
