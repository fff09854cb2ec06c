"""Following one number of a layer's output through an integer-only program, from codes to code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, as_integer, as_list
from quant_engine.errors import QuantError
from quant_engine.integer_only.output_pixel import Integers, OutputPixel, Requantized
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.integer_only.steps import (
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
