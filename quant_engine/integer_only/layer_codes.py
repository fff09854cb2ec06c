"""What a plan gives a layer in integers: the codes of its weight, and how its input is coded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.formats import FixedPointFormat, IntFormat
from quant_engine.inputs import Float32Array
from quant_engine.integer_only.accumulator import WORD
from quant_engine.integer_only.steps import Codes
from quant_engine.network import Network
from quant_engine.plan import LayerPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec

MAX_BITS = 8
LARGEST_BIAS = 1 << 29  # in steps of its sums: beyond it the channel gets a larger step
DEAD_BIAS = 1 << 20  # steps of the bias of a channel without weights: fine enough, and sums over pictures of it fit


@dataclass(frozen=True, eq=False)
class LayerInput:
    """A layer's input: step, code of 0 and greatest code, with the least code moved to 0."""

    quantizer: Quantizer
    scale: float
    zero_point: int
    max_code: int

    def code(self, value: float) -> int:
        """Return the code of one value, also of an infinite one."""
        if np.isinf(value):
            return 0 if value < 0 else self.max_code
        return int(self.encode(np.full(self.quantizer.scale.shape, value, np.float32)).item())

    def encode(self, x: Any) -> Codes:
        """Return the codes of values."""
        codes = self.quantizer.encode(x).codes.astype(np.int16) - self.quantizer.spec.format.qmin
        moved: Codes = codes.astype(np.uint8)
        return moved


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """A layer's weight codes in the layer's shape, the step of each output channel, and the bias in floating point."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float64]
    bias: Float32Array


def validate_layer(name: str, plan: LayerPlan) -> None:
    """Check, before anything is fitted, that a layer is quantized to integers and its ranges are fixed."""
    for role in ("weight", "activation"):
        planned = getattr(plan, role)
        if planned is None:
            raise QuantError(f"layer {name!r}: the plan leaves its {role} in floating point; give it an integer format")
        spec = planned if isinstance(planned, QuantizerSpec) else planned.spec
        _validate_format(f"layer {name!r}, {role}", spec.format)
    if plan.dynamic:
        raise QuantError(
            f"layer {name!r}: the range of a dynamic activation is found in floating point on every image; use "
            "dynamic=False"
        )
    if plan.input_scale is not None:
        raise QuantError(f"layer {name!r}: its plan divides what it receives by an input_scale, in floating point")


def input_of(name: str, plan: LayerPlan) -> LayerInput:
    """Return how a frozen plan codes a layer's input, which has one scale."""
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
    return LayerInput(quantizer, scale, zero_point, spec.format.qmax - spec.format.qmin)


def weight_of(network: Network, name: str, plan: LayerPlan) -> LayerWeight:
    """Return a layer's weight and bias under a frozen plan, signed and with one scale an output channel or more."""
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
    return LayerWeight(codes, scale, network.bias_or_zeros(name) if plan.bias is None else plan.bias)


def _validate_format(what: str, form: Any) -> None:
    if not isinstance(form, IntFormat | FixedPointFormat):
        raise QuantError(f"{what}: {form} is no integer format, its codes cannot be multiplied; use IntFormat")
    if form.bits > MAX_BITS:
        raise QuantError(f"{what}: {form.bits} bits; integer-only execution takes at most {MAX_BITS}")


def with_room_for_bias(name: str, weight: LayerWeight, input_scale: float, relu: bool) -> LayerWeight:
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
    return LayerWeight(codes, scale, weight.bias)


def _dead_scale(bias: NDArray[np.float64], largest: float, input_scale: float, relu: bool) -> NDArray[np.float64]:
    """Return the scales of channels without weights; of logits no larger than the others', whose scale they share."""
    scale = bias / DEAD_BIAS / input_scale
    if not relu and largest:
        scale = np.clip(largest, bias / LARGEST_BIAS / input_scale, scale)
    return np.where(bias > 0, scale, largest or 1.0)
