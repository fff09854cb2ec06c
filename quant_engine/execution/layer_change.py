"""How what a layer receives and gives is quantized while the network runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from quant_engine.checks import as_instance
from quant_engine.errors import QuantError
from quant_engine.execution.executor import Override
from quant_engine.execution.finite import validate_computed
from quant_engine.granularity import PerSample
from quant_engine.inputs import Float32Array
from quant_engine.models import Model, layer_of
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec, fit


@dataclass(frozen=True)
class LayerChange:
    """A layer's other weight and bias, and how its input and output are quantized, where there are any.

    `key` tells changes apart.
    """

    key: str = ""
    weight: Float32Array | None = None
    bias: Float32Array | None = None
    quantize: Callable[[Float32Array], Float32Array] | None = None
    quantize_output: Callable[[Float32Array], Float32Array] | None = None

    def override(self, layer: str) -> Override:
        """Return the same for an executor."""
        import torch

        output = self.quantize_output
        return Override(
            None if self.weight is None else torch.from_numpy(self.weight),
            None if self.bias is None else torch.from_numpy(self.bias.copy()),
            None if self.quantize is None else lambda x: torch.from_numpy(self.of_input(layer, x.detach().numpy())),
            None if output is None else lambda y: torch.from_numpy(output(y.detach().numpy())),
        )

    def of_input(self, layer: str, x: Float32Array) -> Float32Array:
        """Return the layer's input as the layer sees it.

        Raises:
            QuantError: naming the layer, if some of the values are not finite.
        """
        if self.quantize is None:
            return x
        try:
            return self.quantize(x)
        except QuantError:
            validate_computed(f"layer {layer!r} receives", x)
            raise


def layer_changes(model: Model, frozen: QuantizationPlan | None) -> dict[str, LayerChange]:
    """Return what a frozen plan changes in a model, by layer."""
    plans = {} if frozen is None else frozen.layers
    return {
        name: layer_change(plan, planned_weight(model, name, plan), model.layers[name].channel_axis)
        for name, plan in plans.items()
    }


def planned_weight(model: Model, layer: str, plan: LayerPlan) -> Float32Array | None:
    """Return the weight that a frozen plan gives a layer, of the layer's shape, or None for its own.

    Raises:
        QuantError: if there is no such layer.
    """
    info = layer_of(model, layer)
    as_instance(plan, LayerPlan, "plan", "give LayerPlan(weight, activation)")
    if isinstance(plan.weight, QuantizedTensor):
        return plan.weight.dequantize().reshape(info.shape)
    if isinstance(plan.weight, Quantizer):
        return plan.weight.fake_quantize(model.parameters[layer][0].reshape(info.matrix_shape)).reshape(info.shape)
    return None


def layer_change(plan: LayerPlan, weight: Float32Array | None, channels: int = -1) -> LayerChange:
    """Return what a frozen plan and the weight it gives change; `channels` is the axis of the input's channels."""
    quantize: Callable[[Float32Array], Float32Array] | None = None
    if isinstance(plan.activation, Quantizer):
        quantize = plan.activation.fake_quantize
    elif plan.activation is not None:
        quantize = partial(_fit_and_quantize, spec=each_sample(plan.activation))
    if plan.input_scale is not None:
        quantize = partial(_divide_and_quantize, scale=plan.input_scale, channels=channels, quantize=quantize)
    changed = weight is not None or plan.bias is not None or quantize is not None
    return LayerChange(plan.key if changed else "", weight, plan.bias, quantize)


def _divide_and_quantize(
    x: Float32Array,
    scale: Float32Array,
    channels: int,
    quantize: Callable[[Float32Array], Float32Array] | None,
) -> Float32Array:
    """Return inputs divided by a scale for each channel, then quantized."""
    divided = np.moveaxis(np.moveaxis(x, channels, -1) / scale, -1, channels)
    return divided if quantize is None else quantize(np.ascontiguousarray(divided))


def _fit_and_quantize(x: Float32Array, spec: QuantizerSpec) -> Float32Array:
    return fit(x, spec).fake_quantize(x)


def each_sample(spec: QuantizerSpec) -> QuantizerSpec:
    """Return the spec that finds the blocks of a spec anew in each sample, so that batches change no result."""
    return replace(spec, granularity=PerSample(spec.granularity))
