"""Bias correction and equalization without data: BatchNorms tell what images would, or images are made to fit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from quant_engine.compensation import absorb, absorbable, bias_correction, equalization
from quant_engine.inputs import Float32Array
from quant_engine.methods.data_free import synthesis
from quant_engine.methods.expected import (
    Normals,
    at_each_weight,
    expected_inputs,
    expected_outputs,
    filled,
)
from quant_engine.methods.layerwise import rounded_weight
from quant_engine.methods.pairs import Pair, float_layers
from quant_engine.methods.rescaling import carried, with_layers
from quant_engine.methods.rounding import uniform_plan
from quant_engine.methods.stages import MethodProgress, Setting
from quant_engine.network import Network
from quant_engine.observers import BlockObservers
from quant_engine.plan import LayerPlan, QuantizationPlan

EQUALIZING = 3  # stages


def bias_correction_analytic(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Round to nearest, and correct every bias by the mean inputs that BatchNorms tell of, without an image.

    Behind BatchNorm and ReLU these are the means of clipped normal distributions (Nagel et al. 2019, "Quantization bias
    correction" and appendix C), which quantized inputs are taken to have too, since the layers before were corrected.
    Inputs are clipped as the setting says, on values of these distributions. (The paper takes β ± 6γ, as "ranges from
    BatchNorm" does, which wastes codes where there are few.)
    """
    yield MethodProgress(1, 1, "biases", _corrected(network, setting, expected_outputs(network)))


def dfq(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Equalize, absorb high biases, round to nearest, and correct biases analytically: "DFQ" of Nagel et al. (2019).

    As `bias_correction_analytic`, on the network that equalization and absorption make of this one, whose channels have
    the BatchNorms' β and γ divided by the scales that were found, and β less what was absorbed. In the built-in
    networks no β is above 3γ, so that there is nothing to absorb.

    Made for one scale a layer: with weights of 4 bits and inputs of 8 the depthwise network has 1,826 of 2,000 test
    images right, 346 in clipped ranges, and 1,839 after `cross_layer_equalization` with real images. With a scale a
    channel DFQ loses no more than 2 images to that at W8A8, but up to 39 at W4A8 and 276 at W3A8, in the depthwise
    network: what is pooled has larger means than BatchNorms tell of (`expected_inputs`), and biases make up for that
    much less.
    """
    yield from _equalized(network, setting, before=0, images=None)


def dfq_zeroq(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Do as `dfq` does, with the inputs' ranges from synthetic images.

    Biases are corrected analytically here too. (With the means that layers have of synthetic images, the plain network
    falls from 1,790 to 1,484 of 2,000 test images at W3A8: such images are like noise, and maxima of neighbours that
    differ come out too large.)
    """
    for at in synthesis(network, setting):
        yield MethodProgress(at.done, at.total + EQUALIZING, "images", None, at.loss)
    yield from _equalized(network, setting, at.total, at.images)


def _equalized(
    network: Network, setting: Setting, before: int, images: Float32Array | None
) -> Iterator[MethodProgress]:
    """Go on, after so many steps, to equalize; inputs are clipped on `images`, or on what is expected of them."""
    joints = tuple(Pair(first, (second,)) for first, second in pairwise(network.layers()))
    layers, outputs = float_layers(network, joints), expected_outputs(network)
    names, (equal, scales) = list(layers), equalization(list(layers.values()))
    total = before + EQUALIZING
    yield MethodProgress(before + 1, total, "equalization")
    chain = list(equal)
    for at, factors in enumerate(scales):
        even = outputs[names[at]].divided(factors)
        amounts = absorbable(even.mean, even.deviation)
        chain[at], chain[at + 1] = absorb(chain[at], chain[at + 1], amounts)
        outputs[names[at]] = even.lowered(amounts)
    yield MethodProgress(before + 2, total, "absorption")
    changed = with_layers(network, dict(zip(names, chain, strict=True)))
    yield MethodProgress(total, total, "biases", carried(changed, _corrected(changed, setting, outputs, images)))


def _corrected(
    network: Network, setting: Setting, outputs: Mapping[str, Normals], images: Float32Array | None = None
) -> QuantizationPlan:
    """Return the plan of a network whose layers give normal outputs, with its biases corrected."""
    inputs = expected_inputs(network, outputs)
    wanted = _clipped(network, setting, inputs) if images is None else uniform_plan(network, setting)
    plan = network.freeze(wanted, images)
    layers = {}
    for name, layer in network.layers().items():
        matrix = network.weight(name).reshape(layer.matrix_shape)
        mean, _ = inputs[name].moments()
        change = bias_correction(matrix, rounded_weight(plan[name], matrix), at_each_weight(layer, mean))
        layers[name] = replace(plan[name], bias=network.bias_or_zeros(name) + change)
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
