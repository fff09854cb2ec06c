"""From a plan to integers: what floats there are, scales and biases, become codes, multipliers and shifts here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_choice, as_instance, as_number
from quant_engine.errors import QuantError
from quant_engine.formats import FixedPointFormat, IntFormat
from quant_engine.inputs import Float32Array
from quant_engine.network.architectures import Conv, GlobalPool, MaxPool, Shape, Weighted
from quant_engine.network.architectures import Flatten as FlattenStep
from quant_engine.network.integer_only.program import (
    WORD,
    AddUp,
    Bounds,
    Codes,
    Door,
    Flatten,
    IntegerProgram,
    IntegerStep,
    Largest,
    MultiplyAccumulate,
    Requantize,
    Rescale,
)
from quant_engine.network.network import Network
from quant_engine.network.planning import PLAN_REMEDY
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec

FRACTION_BITS = 31  # of a multiplier: it stands for a number in [½, 1)
LARGEST_FACTOR = (1 - 2.0**-53) * 2.0**FRACTION_BITS  # that a shift within 32 bits reaches
MOST_BITS = 8
ROUNDINGS = ("gemmlowp", "single")
LARGEST_MULTIPLIED = 1 << 30  # of logits, which no clamp follows: the largest is doubled before it is multiplied
LARGEST_BIAS = 1 << 29  # in steps of its sums: beyond it the channel gets a larger step
DEAD_BIAS = 1 << 20  # steps of the bias of a channel without weights: fine enough, and sums over pictures of it fit


def compile_plan(network: Network, plan: QuantizationPlan, rounding: str = "gemmlowp") -> IntegerProgram:
    """Return a network under a plan as an integer program; specs are fitted first, as `Network.freeze` does.

    Every layer needs a weight in signed integers of at most 8 bits with zero point 0 and one scale an output channel or
    more, and an input in integers of at most 8 bits with one static scale. Biases become round(b / (s_x · s_w)) in
    int32, and s_x · s_w / s_y becomes multiplier · 2^(shift − 31). An average over the picture is a sum whose division
    is in the multiplier. Logits with one scale stay as they are; of several, the largest is taken for all.

    The scale of a channel whose codes are all 0 is free, and is chosen for its bias: |b| / 2²⁰ a step. Where a bias
    would take 2²⁹ steps or more because the weights of its channel are tiny, s_w is multiplied by the power of two that
    brings it below, and the codes are rounded to it (ONNX Runtime and TFLite adjust such scales likewise).

    `rounding` of the requantized sums: "gemmlowp" rounds twice, first to the high half of the doubled product, then
    when that is shifted; so, shifted by n places, it also rounds up what lies within 2^−(n+1) below a half. "single"
    rounds the 64-bit product once, half up (TFLite's option of that name).

    Raises:
        QuantError: naming the layer, for what integers cannot do, and for sums that 32 bits could not hold.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> activation = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
        >>> layer = LayerPlan(QuantizerSpec(IntFormat(8)), activation)
        >>> program = compile_plan(network, QuantizationPlan(dict.fromkeys(network.layers(), layer)))
        >>> logits = program.run(program.quantize(network.data()[0][:4]))
        >>> logits.dtype, logits.shape
        (dtype('int32'), (4, 10))
        >>> program.bounds["fc1"].bits  # with PerChannel(0) every channel uses all of its codes, and it is 24
        22
    """
    as_choice(rounding, ROUNDINGS, "rounding")
    as_instance(network, Network, "network", "load() gives one")
    as_instance(plan, QuantizationPlan, "plan", PLAN_REMEDY)
    for name in network.layers():
        _refuse_uncompilable(name, plan[name])
    frozen = network.freeze(plan)
    inputs = {name: _input_of(name, frozen[name]) for name in network.layers()}
    builder = _Builder(once=rounding == "single")
    shape = network.architecture.input_shape
    for step in network.architecture.steps:
        if isinstance(step, Weighted):
            builder.requantize(inputs[step.name])
            builder.accumulate(step, _weight_of(network, step.name, frozen[step.name]), inputs[step.name])
        elif isinstance(step, MaxPool):
            builder.requantize(inputs[_next_layer(network, step)])
            builder.steps.append(Largest(step.name))
        elif isinstance(step, GlobalPool):
            builder.add_up(step, shape)
        elif isinstance(step, FlattenStep):
            builder.steps.append(Flatten(step.name))
        shape = step.output_shape(shape)
    logit_scale = builder.finish()
    first = inputs[next(iter(inputs))]
    return IntegerProgram(
        network.name,
        network.architecture.input_shape,
        tuple(builder.steps),
        Door(first.encode, first.top),
        builder.scales,
        logit_scale,
    )


def fixed_point(number: float) -> tuple[int, int]:
    """Return (multiplier, shift) with number ≈ multiplier · 2^(shift − 31) and 2³⁰ ≤ multiplier < 2³¹; 0 gives (0, 0).

    A number below 2⁻³² becomes 0, since 31 bits is the furthest that a sum is shifted to the right.

    Raises:
        QuantError: for what is no number from 0 to below 2³¹, beyond which no shift reaches.

    >>> fixed_point(0.75), fixed_point(1.0), fixed_point(0.1)
    ((1610612736, 0), (1073741824, 1), (1717986918, -3))
    """
    mantissa, exponent = math.frexp(as_number(number, "number", 0.0, LARGEST_FACTOR))
    multiplier = round(mantissa * (1 << FRACTION_BITS))
    if multiplier == 1 << FRACTION_BITS:
        multiplier, exponent = multiplier >> 1, exponent + 1
    return (multiplier, exponent) if multiplier and exponent >= -FRACTION_BITS else (0, 0)


@dataclass(frozen=True, eq=False)
class _Input:
    """A layer's input: step, code of 0 and greatest code, with the least code moved to 0."""

    quantizer: Quantizer
    scale: float
    zero_point: int
    top: int

    def encode(self, x: Any) -> Codes:
        """Return the codes of values."""
        codes = self.quantizer.encode(x).codes.astype(np.int16) - self.quantizer.spec.format.qmin
        moved: Codes = codes.astype(np.uint8)
        return moved


@dataclass(frozen=True, eq=False)
class _Weight:
    """A layer's weight codes in the layer's shape, the step of each output channel, and the bias in floating point."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float64]
    bias: Float32Array


class _Builder:
    """The steps so far, and what the sums that come last stand for."""

    def __init__(self, once: bool) -> None:
        """Start with nothing; `once`: products are rounded once."""
        self._once = once
        self.steps: list[IntegerStep] = []
        self.scales: dict[str, tuple[float, NDArray[np.float64]]] = {}
        self._open: MultiplyAccumulate | AddUp | None = None
        self._relu = False
        self._step: NDArray[np.float64] = np.empty(0)  # of each channel's open sum

    def accumulate(self, step: Weighted, weight: _Weight, given: _Input) -> None:
        """Add up products, on top of the bias."""
        relu = not hasattr(step, "relu") or step.relu
        weight = _with_room_for_bias(step.name, weight, given.scale, relu)
        sum_scale = given.scale * weight.scale
        groups = step.groups if isinstance(step, Conv) else 1
        bias = np.rint(weight.bias / sum_scale).astype(np.int32)
        layer = MultiplyAccumulate(step.name, weight.codes, bias, given.zero_point, given.top, groups)
        _refuse_wide(layer.bounds)
        self.steps.append(layer)
        self.scales[step.name] = given.scale, sum_scale
        self._open, self._step = layer, sum_scale
        self._relu = relu

    def add_up(self, pool: GlobalPool, shape: Shape) -> None:
        """Sum over the picture; the sums count in steps that are as many times smaller."""
        places = math.prod(shape[1:])
        if self._open is None or not self._relu:
            raise QuantError(f"{pool.name!r} averages what is no layer's ReLU; integers have no step for that")
        before = self._open.bounds
        totals = AddUp(pool.name, Bounds(pool.name, np.zeros_like(before.low), places * np.maximum(before.high, 0)))
        _refuse_wide(totals.bounds)
        self.steps.append(totals)
        self._open, self._step = totals, self._step / places

    def requantize(self, following: _Input) -> None:
        """Make codes of open sums, as the next layer takes them."""
        if self._open is None:
            return
        multiplier, shift = _multipliers(self._open.name, self._step / following.scale)
        lowest = following.zero_point if self._relu else 0
        self.steps.append(Requantize(multiplier, shift, self._once, following.zero_point, lowest, following.top))
        self._open = None

    def finish(self) -> float:
        """Bring the last sums to one scale, and return it."""
        assert self._open is not None
        largest = float(self._step.max())
        if (self._step == largest).all():
            return largest
        bounds = self._open.bounds
        if max(int(bounds.high.max()), -int(bounds.low.min())) >= LARGEST_MULTIPLIED:
            raise QuantError(
                f"layer {bounds.name!r}, channel {bounds.channel}: logits of up to {bounds.bits} bits cannot be "
                "brought to one scale in 32; give its weight one scale for all channels"
            )
        self.steps.append(Rescale(*_multipliers(self._open.name, self._step / largest), self._once))
        return largest


def _multipliers(name: str, numbers: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    if not (numbers <= LARGEST_FACTOR).all():
        channel = int(np.argmax(numbers))
        raise QuantError(
            f"layer {name!r}, channel {channel}: one step of its sums is {numbers[channel]:.4g} steps of what follows, "
            "beyond any shift in 32 bits; give the next layer's input a wider range"
        )
    pairs = np.array([fixed_point(float(number)) for number in numbers], np.int32).reshape(-1, 2)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


def _next_layer(network: Network, pool: MaxPool) -> str:
    steps = network.architecture.steps
    return next(step.name for step in steps[steps.index(pool) :] if isinstance(step, Weighted))


def _refuse_uncompilable(name: str, plan: LayerPlan) -> None:
    """Check, before anything is fitted, that a layer is quantized to integers and its ranges are fixed."""
    for role in ("weight", "activation"):
        planned = getattr(plan, role)
        if planned is None:
            raise QuantError(f"layer {name!r}: the plan leaves its {role} in floating point; give it an integer format")
        spec = planned if isinstance(planned, QuantizerSpec) else planned.spec
        _refuse_format(f"layer {name!r}, {role}", spec.format)
    if plan.dynamic:
        raise QuantError(
            f"layer {name!r}: the range of a dynamic activation is found in floating point on every image; use "
            "dynamic=False"
        )
    if plan.input_scale is not None:
        raise QuantError(f"layer {name!r}: its plan divides what it receives by an input_scale, in floating point")


def _input_of(name: str, plan: LayerPlan) -> _Input:
    quantizer = plan.activation
    assert isinstance(quantizer, Quantizer)
    spec, what = quantizer.spec, f"layer {name!r}, activation"
    if spec.rounding != "nearest":
        raise QuantError(f"{what}: rounding={spec.rounding!r}; requantization rounds to nearest")
    if quantizer.scale.size != 1:
        raise QuantError(
            f"{what}: {quantizer.scale.size} scales, but a sum over inputs needs one for all; use PerTensor()"
        )
    scale = float(quantizer.scale.item()) * spec.format.step
    if not scale > 0:
        raise QuantError(f"{what}: its scale is {scale}, which nothing can be divided by; use another scale format")
    zero_point = int(quantizer.zero_point.item()) - spec.format.qmin
    return _Input(quantizer, scale, zero_point, spec.format.qmax - spec.format.qmin)


def _weight_of(network: Network, name: str, plan: LayerPlan) -> _Weight:
    info, planned, what = network.layers()[name], plan.weight, f"layer {name!r}, weight"
    assert isinstance(planned, Quantizer | QuantizedTensor)
    spec, form = planned.spec, planned.spec.format
    if not form.signed:
        raise QuantError(f"{what}: unsigned codes; int8 and int4 are signed: use signed=True")
    if planned.zero_point.any():
        raise QuantError(
            f"{what}: a zero point of its own would need the sum of the codes at every place; use symmetric=True"
        )
    rows, columns = info.matrix_shape
    block = spec.granularity.blocks(info.matrix_shape).block
    if block[1] < columns:
        raise QuantError(
            f"{what}: {planned.scale.shape[1]} scales inside one output channel; one sum has one scale: use "
            "PerChannel(0), PerChannelGroup or PerTensor()"
        )
    whole = planned if isinstance(planned, QuantizedTensor) else planned.encode(network.weight(name).reshape(rows, -1))
    scale = np.repeat(planned.scale[:, 0].astype(np.float64) * form.step, block[0])[:rows]
    codes = whole.codes.astype(np.int8).reshape(info.shape)
    return _Weight(codes, scale, network.bias_or_zeros(name) if plan.bias is None else plan.bias)


def _refuse_format(what: str, form: Any) -> None:
    if not isinstance(form, IntFormat | FixedPointFormat):
        raise QuantError(f"{what}: {form} is no integer format, its codes cannot be multiplied; use IntFormat")
    if form.bits > MOST_BITS:
        raise QuantError(f"{what}: {form.bits} bits; integer-only execution takes at most {MOST_BITS}")


def _with_room_for_bias(name: str, weight: _Weight, input_scale: float, relu: bool) -> _Weight:
    """Return the weight with a step for each channel in which its bias is an int32.

    Raises:
        QuantError: for a bias that is not finite, and one that is beyond int32 in steps of the layer's largest scale.
    """
    bias = np.abs(weight.bias.astype(np.float64))
    if not np.isfinite(bias).all():
        channel = int(np.argmin(np.isfinite(bias)))
        raise QuantError(f"layer {name!r}, channel {channel}: the bias is {weight.bias[channel]}; give a finite one")
    live = weight.codes.reshape(len(bias), -1).any(axis=1)
    largest = float(weight.scale[live].max()) if live.any() else 0.0
    if live.any() and float(bias[live].max()) >= input_scale * largest * (1 << WORD - 1):
        channel = int(np.argmax(np.where(live, bias, 0.0)))
        raise QuantError(
            f"layer {name!r}, channel {channel}: the bias {weight.bias[channel]:.6g} is beyond int32 in steps of its "
            f"sums, input scale {input_scale:.6g} times weight scale, of which the layer's largest is {largest:.6g}; "
            "give the layer's input a wider range, or its bias a smaller value"
        )
    counted = np.where(live, bias, 0.0) / (input_scale * weight.scale)
    coarser = np.exp2(np.maximum(np.ceil(np.log2(np.maximum(counted, 1.0) / LARGEST_BIAS)), 0.0))
    shape = (-1, *[1] * (weight.codes.ndim - 1))
    codes = np.rint(weight.codes / coarser.reshape(shape)).astype(np.int8)
    scale = weight.scale * coarser
    dead = ~codes.reshape(len(bias), -1).any(axis=1)
    scale[dead] = _dead_scale(bias[dead], largest, input_scale, relu)
    return _Weight(codes, scale, weight.bias)


def _dead_scale(bias: NDArray[np.float64], largest: float, input_scale: float, relu: bool) -> NDArray[np.float64]:
    """Return the scales of channels without weights; of logits no larger than the others', whose scale they share."""
    scale = bias / DEAD_BIAS / input_scale
    if not relu and largest:
        scale = np.clip(largest, bias / LARGEST_BIAS / input_scale, scale)
    return np.where(bias > 0, scale, largest or 1.0)


def _refuse_wide(bounds: Bounds) -> None:
    """Check that no sum can leave 32 bits."""
    if bounds.bits > WORD:
        low, high = int(bounds.low[bounds.channel]), int(bounds.high[bounds.channel])
        raise QuantError(
            f"layer {bounds.name!r}, channel {bounds.channel}: its sums can reach from {low} to {high}, which needs "
            f"{bounds.bits} bits; the accumulator has {WORD}. Use fewer bits, or a smaller bias"
        )
