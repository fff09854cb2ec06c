"""Methods that quantize a network layer by layer, each on what it receives from the layers quantized before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from quant_engine import compensation
from quant_engine.compensation import AdaRoundSetting, adaround_steps, layer_error, reached_weight
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.methods.layer_by_layer import LayerVisit, layer_by_layer
from quant_engine.methods.rounding import uniform_plan
from quant_engine.methods.stages import MethodProgress, Setting
from quant_engine.models import ties
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer

SAMPLES = 8192  # patches of a layer that AdaRound learns from
ADAROUND = AdaRoundSetting()

Found = tuple[LayerPlan, float | None]  # what a layer has come to, and what is minimised
Choose = Callable[[LayerVisit, LayerPlan], Iterator[Found]]


def improved(network: Network, setting: Setting, choose: Choose, steps: int = 1) -> Iterator[MethodProgress]:
    """Improve the clipped plan layer after layer; `choose` yields `steps` times what the layer has come to.

    Every stage has the plan of the whole network: layers that have not had their turn are rounded to nearest, and so
    are embeddings. A weight that layers share is what the first of them has made of it, whatever the others receive.
    """
    layers = network.layers()
    plans = dict(network.freeze(uniform_plan(network, setting)).layers)
    done, total = 0, steps * sum(layer.op != "embedding" and not layer.tied_to for layer in layers.values())
    for visit in layer_by_layer(network, plans):
        if visit.layer.tied_to:
            continue
        for plan, loss in choose(visit, plans[visit.name]):
            done, plans[visit.name] = done + 1, plan
            for user in ties(layers)[visit.name][1:]:
                plans[user] = replace(plans[user], weight=plan.weight)
            yield MethodProgress(done, total, visit.name, QuantizationPlan(plans), loss)


def bias_correction(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Round to nearest in clipped ranges, and correct every bias so that the layer's mean outputs stay as they were.

    The means are those of the calibration data, in floating point and as quantized up to the layer (Nagel et al. 2019,
    appendix D). A layer without a bias is given one.
    """

    def choose(visit: LayerVisit, plan: LayerPlan) -> Iterator[Found]:
        yield replace(plan, bias=_corrected_bias(visit, rounded_weight(plan, visit.weight))), None

    return improved(network, setting, choose)


def gptq(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """GPTQ in every layer, strongest inputs first, and biases corrected where there are any.

    As in its paper, each layer keeps what its weight makes of the inputs from the layers quantized before it. What
    those have lost moves the means of the outputs, and the bias takes that back. The loss is the share of the outputs'
    power that is lost.
    """

    def choose(visit: LayerVisit, plan: LayerPlan) -> Iterator[Found]:
        yield _by_gptq(visit, plan, setting, visit.weight, visit.x_hat.hessian())

    return improved(network, setting, choose)


def gptaq(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """GPTQ in every layer, of the weight that makes best of quantized inputs what the layer made in floating point.

    So a layer makes up for those before it too, as in AdaRound and in GPTAQ (`reached_weight`). The loss is the share
    of the outputs' power that is lost on the way from there.
    """

    def choose(visit: LayerVisit, plan: LayerPlan) -> Iterator[Found]:
        hessian = visit.x_hat.hessian()
        weight = reached_weight(visit.weight, visit.x.hessian(visit.x_hat), hessian)
        yield _by_gptq(visit, plan, setting, weight, hessian)

    return improved(network, setting, choose)


def _by_gptq(
    visit: LayerVisit, plan: LayerPlan, setting: Setting, weight: Float32Array, hessian: Float64Array
) -> Found:
    """Return the layer with a weight rounded by GPTQ and its bias corrected, and the share of power that is lost."""
    found = compensation.gptq(weight, hessian, setting.weight, act_order=True)
    rounded = found.dequantize()
    power = layer_error(weight, np.zeros_like(weight), hessian)
    loss = layer_error(weight, rounded, hessian) / power if power else 0.0
    return replace(plan, weight=found, bias=_corrected_bias(visit, rounded) if visit.layer.has_bias else None), loss


def adaround(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """AdaRound in every layer: the quantized layer learns to give what the layer in floating point gives."""
    chosen = replace(ADAROUND, seed=setting.seed)

    def choose(visit: LayerVisit, plan: LayerPlan) -> Iterator[Found]:
        x, x_hat = visit.samples(SAMPLES, setting.seed)
        target = visit.outputs(x)
        for step in adaround_steps(visit.weight, x_hat, setting.weight, target, visit.bias, visit.relu, chosen):
            yield replace(plan, weight=step.quantized), step.loss

    return improved(network, setting, choose, -(-chosen.iterations // chosen.every))


def _corrected_bias(visit: LayerVisit, weight: Float32Array) -> Float32Array:
    """Return the bias with which a weight (out, in) gives the mean outputs of the layer in floating point."""
    change = compensation.bias_correction(visit.weight, weight, visit.x.means(), visit.x_hat.means())
    return visit.bias + change


def rounded_weight(plan: LayerPlan, weight: Float32Array) -> Float32Array:
    """Return what a fitted plan makes of a layer's weight, (out, in)."""
    if isinstance(plan.weight, QuantizedTensor):
        return plan.weight.dequantize()
    assert isinstance(plan.weight, Quantizer)  # the plan is frozen, and no layer is left out
    return plan.weight.fake_quantize(weight)
