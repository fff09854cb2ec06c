"""Methods that move scales between layers before they round: the network in floating point computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from quant_engine import compensation
from quant_engine.compensation import FloatLayer, equalize
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.methods.layer_by_layer import LayerVisit, layer_by_layer
from quant_engine.methods.layerwise import bias_correction
from quant_engine.methods.pairs import Pair, float_layers, norm_parameters, scaling_pairs
from quant_engine.methods.rounding import uniform_plan
from quant_engine.methods.stages import MethodProgress, Setting
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import Quantizer

Scales = Callable[[list[LayerVisit], list[FloatLayer]], Float64Array]  # of the channels that some layers read


def cross_layer_equalization(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Equalize the ranges of weights across layers, round in clipped ranges, and correct the biases.

    As Nagel et al. (2019) put it together, with the empirical correction.
    """
    layers = float_layers(network, scaling_pairs(network))
    equal = dict(layers)
    for chain in _chains(scaling_pairs(network)):
        equal |= dict(zip(chain, equalize([layers[name] for name in chain]), strict=True))
    changed = with_layers(network, equal)
    for stage in bias_correction(changed, setting):
        yield replace(stage, plan=stage.plan and carried(changed, stage.plan))


def awq(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Scale what layers read from a norm or from the layer before by AWQ, and round in clipped ranges."""

    def scales(visits: list[LayerVisit], layers: list[FloatLayer]) -> Float64Array:
        first = visits[0]
        weight = np.concatenate([visit.weight for visit in visits])
        magnitude = first.x.magnitude(layers[0].channels)
        return compensation.awq(weight, first.x.hessian(), magnitude, setting.weight)

    return _rescaled(network, setting, scales)


def smoothquant(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Move half of the range of what layers read into their weights by SmoothQuant, and round in clipped ranges."""

    def scales(visits: list[LayerVisit], layers: list[FloatLayer]) -> Float64Array:
        weights: Float32Array = np.max([layer.input_ranges() for layer in layers], axis=0)
        return compensation.smoothquant(visits[0].x.largest(layers[0].channels), weights)

    return _rescaled(network, setting, scales)


def with_layers(network: Network, layers: Mapping[str, FloatLayer]) -> Network:
    """Return the network with the weights and biases of these layers."""
    return network.with_parameters(
        {name: (layer.weight, layer.bias if network.bias(name) is not None else None) for name, layer in layers.items()}
    )


def carried(changed: Network, plan: QuantizationPlan) -> QuantizationPlan:
    """Return the plan that makes of the network as it was what a frozen plan makes of it as changed."""
    layers = {}
    for name, layer in plan.layers.items():
        weight = layer.weight
        if isinstance(weight, Quantizer):
            weight = weight.encode(changed.weight(name).reshape(changed.layers()[name].matrix_shape))
        layers[name] = replace(layer, weight=weight, bias=changed.bias(name) if layer.bias is None else layer.bias)
    return QuantizationPlan(layers)


def _chains(pairs: tuple[Pair, ...]) -> list[list[str]]:
    """Return the layers that are joined by pairs, in runs."""
    chains: list[list[str]] = []
    for pair in pairs:
        if pair.norm:
            continue
        if chains and chains[-1][-1] == pair.producer:
            chains[-1].extend(pair.consumers)
        else:
            chains.append([pair.producer, *pair.consumers])
    return chains


def _rescaled(network: Network, setting: Setting, scales: Scales) -> Iterator[MethodProgress]:
    """Divide what pairs pass on by scales found on the network as it is, then round.

    Where a layer gives it, that layer's weight and bias take the scale; where a norm does, the norm's would, and the
    plan has it as the `input_scale` of those that read it.
    """
    pairs = {pair.consumers[-1]: pair for pair in scaling_pairs(network)}
    layers = float_layers(network, tuple(pairs.values()))
    found, total = dict(layers), len(layers) + 1
    norms: dict[Pair, Float64Array] = {}
    readers = {name for pair in pairs.values() for name in pair.consumers}
    visits: dict[str, LayerVisit] = {}  # of a pair whose last reader has not had its turn
    for done, visit in enumerate(layer_by_layer(network, dict.fromkeys(network.layers(), LayerPlan())), 1):
        if visit.name in readers:
            visits[visit.name] = visit
        if pair := pairs.get(visit.name):
            factors = scales([visits.pop(name) for name in pair.consumers], [layers[name] for name in pair.consumers])
            for name in pair.consumers:
                found[name] = found[name].scaled_inputs(factors)
            if pair.norm:
                norms[pair] = factors
            else:
                found[pair.producer] = found[pair.producer].scaled_outputs(1 / factors)
        yield MethodProgress(done, total, visit.name)
    changed = _with_norms(with_layers(network, found), norms)
    plan = carried(changed, changed.freeze(uniform_plan(changed, setting)))
    yield MethodProgress(total, total, "rounding", _with_input_scales(plan, norms))


def _with_norms(network: Network, norms: Mapping[Pair, Float64Array]) -> Network:
    """Return the network with the weights and biases of norms divided by scales."""
    if not norms:
        return network
    parameters: dict[str, tuple[Float32Array, Float32Array | None]] = {}
    for pair, factors in norms.items():
        weight, bias = norm_parameters(network, pair.producer)
        parameters[pair.producer] = (
            (weight / factors).astype(np.float32),
            None if bias is None else (bias / factors).astype(np.float32),
        )
    return Network(network.model.with_parameters(parameters), network.task)


def _with_input_scales(plan: QuantizationPlan, norms: Mapping[Pair, Float64Array]) -> QuantizationPlan:
    layers = dict(plan.layers)
    for pair, factors in norms.items():
        for name in pair.consumers:
            layers[name] = replace(layers[name], input_scale=factors.astype(np.float32))
    return QuantizationPlan(layers)
