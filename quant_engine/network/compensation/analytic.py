"""Bias correction and equalization without data: BatchNorms tell what images would, or images are made to fit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from quant_engine.compensation import absorb, absorbable, bias_correction, equalization
from quant_engine.network.compensation.data_free import synthesis
from quant_engine.network.compensation.expected import (
    Normals,
    at_each_weight,
    expected_inputs,
    expected_outputs,
    filled,
)
from quant_engine.network.compensation.layerwise import rounded_weight
from quant_engine.network.compensation.rescaling import carried, equalized, float_layers, with_layers
from quant_engine.network.compensation.stages import Setting, Stage
from quant_engine.network.network import Network
from quant_engine.observers import BlockObservers
from quant_engine.plan import LayerPlan, QuantizationPlan


def corrected_analytically(network: Network, setting: Setting) -> Iterator[Stage]:
    """Round to nearest, and correct every bias by the mean inputs that BatchNorms tell of, without an image.

    Behind BatchNorm and ReLU these are the means of clipped normal distributions (Nagel et al. 2019, "Quantization bias
    correction" and appendix C), which quantized inputs are taken to have too, since the layers before were corrected.
    Inputs are clipped as the setting says, on values of these distributions. (The paper takes β ± 6γ, as "ranges from
    BatchNorm" does, which wastes codes where there are few.)
    """
    yield Stage(1, 1, "biases", _corrected(network, setting, expected_outputs(network)))


def equalized_without_data(network: Network, setting: Setting) -> Iterator[Stage]:
    """Equalize, absorb high biases, round to nearest, and correct biases analytically: "DFQ" of Nagel et al. (2019).

    As `corrected_analytically`, on the network that equalization and absorption make of this one, whose channels have
    the BatchNorms' β and γ divided by the scales that were found, and β less what was absorbed. In the built-in
    networks no β is above 3γ, so that there is nothing to absorb.
    """
    layers, outputs = float_layers(network), expected_outputs(network)
    names, (equal, scales) = list(layers), equalization(list(layers.values()))
    yield Stage(1, 3, "equalization")
    chain = list(equal)
    for at, factors in enumerate(scales):
        even = outputs[names[at]].divided(factors)
        amounts = absorbable(even.mean, even.deviation)
        chain[at], chain[at + 1] = absorb(chain[at], chain[at + 1], amounts)
        outputs[names[at]] = even.lowered(amounts)
    yield Stage(2, 3, "absorption")
    changed = with_layers(network, dict(zip(names, chain, strict=True)))
    yield Stage(3, 3, "biases", carried(changed, _corrected(changed, setting, outputs)))


def equalized_on_synthetic_images(network: Network, setting: Setting) -> Iterator[Stage]:
    """Equalize as `equalized` does, with synthetic images in place of the calibration images."""
    layers = len(network.layers())
    for at in synthesis(network, setting):
        yield Stage(at.done, at.total + layers, "images", None, at.loss)
    for stage in equalized(network, setting, at.images):
        yield replace(stage, done=at.total + stage.done, total=at.total + layers)


def _corrected(network: Network, setting: Setting, outputs: Mapping[str, Normals]) -> QuantizationPlan:
    """Return the plan of a network whose layers give normal outputs, with its biases corrected."""
    inputs = expected_inputs(network, outputs)
    plan = network.freeze(_clipped(network, setting, inputs))
    layers = {}
    for step, shape, _ in network.architecture.layer_inputs():
        layer, weight = plan[step.name], network.weight(step.name)
        matrix = weight.reshape(len(weight), -1)
        mean, _ = inputs[step.name].moments()
        change = bias_correction(matrix, rounded_weight(layer, matrix), at_each_weight(step, shape, mean))
        layers[step.name] = replace(layer, bias=network.bias(step.name) + change)
    return QuantizationPlan(layers)


def _clipped(network: Network, setting: Setting, inputs: Mapping[str, Normals]) -> QuantizationPlan:
    """Return the plan whose inputs are fitted to the values expected of them, weights still to be fitted."""
    layers: dict[str, LayerPlan] = {}
    for name, layer in network.layers().items():
        activation = None
        if setting.activation is not None:
            seen = BlockObservers(setting.activation, layer.input_shape)
            seen.update(filled(inputs[name].values(), layer.input_shape))
            activation = seen.quantizer()
        layers[name] = LayerPlan(setting.weight, activation)
    return QuantizationPlan(layers)
