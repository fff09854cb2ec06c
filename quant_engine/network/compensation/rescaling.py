"""Methods that move scales between layers before they round: the network in floating point computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from quant_engine.compensation import FloatLayer, awq, equalize, smoothquant
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.network.architectures import Conv
from quant_engine.network.compensation.layerwise import corrected
from quant_engine.network.compensation.rounding import uniform_plan
from quant_engine.network.compensation.stages import Setting, Stage
from quant_engine.network.compensation.walk import Visit, walk
from quant_engine.network.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import Quantizer


def equalized(network: Network, setting: Setting) -> Iterator[Stage]:
    """Equalize the ranges of weights across layers, round in clipped ranges, and correct the biases.

    As Nagel et al. (2019) put it together, with the empirical correction.
    """
    layers = float_layers(network)
    changed = with_layers(network, dict(zip(layers, equalize(list(layers.values())), strict=True)))
    for stage in corrected(changed, setting):
        yield replace(stage, plan=stage.plan and carried(changed, stage.plan))


def activation_aware(network: Network, setting: Setting) -> Iterator[Stage]:
    """Scale the inputs of every layer by AWQ, the first one's apart, and round in clipped ranges."""

    def scales(visit: Visit, layer: FloatLayer) -> Float64Array:
        magnitude = np.abs(_by_channel(visit, layer)).mean(axis=(0, 2))
        return awq(visit.weight, visit.hessian(visit.x), magnitude, setting.weight)

    return _rescaled(network, setting, scales)


def smoothed(network: Network, setting: Setting) -> Iterator[Stage]:
    """Move half of the inputs' range of every layer into its weights by SmoothQuant, and round in clipped ranges."""

    def scales(visit: Visit, layer: FloatLayer) -> Float64Array:
        return smoothquant(np.abs(_by_channel(visit, layer)).max(axis=(0, 2)), layer.input_ranges())

    return _rescaled(network, setting, scales)


def float_layers(network: Network) -> dict[str, FloatLayer]:
    """Return the network's layers as a chain, each with the channels that it reads."""
    found: dict[str, FloatLayer] = {}
    channels = 0
    for step in network.architecture.steps:
        if step.name in network.layers():
            groups = step.groups if isinstance(step, Conv) else 1
            layer = FloatLayer(network.weight(step.name), network.bias_or_zeros(step.name), groups, channels)
            found[step.name], channels = layer, layer.outputs
    return found


def with_layers(network: Network, layers: Mapping[str, FloatLayer]) -> Network:
    """Return the network with the weights and biases of these layers."""
    return network.with_parameters({name: (layer.weight, layer.bias) for name, layer in layers.items()})


def carried(changed: Network, plan: QuantizationPlan) -> QuantizationPlan:
    """Return the plan that makes of the network as it was what a frozen plan makes of it as changed."""
    layers = {}
    for name, layer in plan.layers.items():
        weight = layer.weight
        if isinstance(weight, Quantizer):
            weight = weight.encode(changed.weight(name).reshape(changed.layers()[name].matrix_shape))
        layers[name] = replace(layer, weight=weight, bias=changed.bias(name) if layer.bias is None else layer.bias)
    return QuantizationPlan(layers)


def _rescaled(
    network: Network, setting: Setting, scales: Callable[[Visit, FloatLayer], Float64Array]
) -> Iterator[Stage]:
    """Divide the inputs of every layer but the first by scales found on the network as it is, then round."""
    layers = float_layers(network)
    found, total = dict(layers), len(layers) + 1
    before = None
    for done, visit in enumerate(walk(network, dict.fromkeys(layers, LayerPlan())), 1):
        if before is not None:
            factors = scales(visit, layers[visit.name])
            found[before] = found[before].scaled_outputs(1 / factors)
            found[visit.name] = found[visit.name].scaled_inputs(factors)
        before = visit.name
        yield Stage(done, total, visit.name)
    changed = with_layers(network, found)
    yield Stage(total, total, "rounding", carried(changed, changed.freeze(uniform_plan(changed, setting))))


def _by_channel(visit: Visit, layer: FloatLayer) -> Float32Array:
    """Return a layer's inputs as (images, channels, values of a channel)."""
    array = visit.x.numpy()
    return array.reshape(len(array), layer.channels, -1)
