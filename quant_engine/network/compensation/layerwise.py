"""Methods that quantize a network layer by layer, each on what it receives from the layers quantized before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from quant_engine.compensation import (
    AdaRoundSetting,
    adaround_steps,
    bias_correction,
    gptq,
    layer_error,
    reached_weight,
)
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.network.compensation.rounding import uniform_plan
from quant_engine.network.compensation.stages import Setting, Stage
from quant_engine.network.compensation.walk import Visit, samples, walk
from quant_engine.network.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer

SAMPLES = 8192  # patches of a layer that AdaRound learns from
ADAROUND = AdaRoundSetting()

Found = tuple[LayerPlan, float | None]  # what a layer has come to, and what is minimised
Choose = Callable[[Visit, LayerPlan], Iterator[Found]]


def layer_by_layer(network: Network, setting: Setting, choose: Choose, steps: int = 1) -> Iterator[Stage]:
    """Improve the clipped plan layer after layer; `choose` yields `steps` times what the layer has come to.

    Every stage has the plan of the whole network: layers that have not had their turn are rounded to nearest.
    """
    plans = dict(network.freeze(uniform_plan(network, setting)).layers)
    for before, visit in enumerate(walk(network, plans)):
        for step, (plan, loss) in enumerate(choose(visit, plans[visit.name]), 1):
            plans[visit.name] = plan
            yield Stage(before * steps + step, len(plans) * steps, visit.name, QuantizationPlan(plans), loss)


def corrected(network: Network, setting: Setting) -> Iterator[Stage]:
    """Round to nearest in clipped ranges, and correct every bias so that the layer's mean outputs stay as they were.

    The means are those of the calibration images, in floating point and as quantized up to the layer (Nagel et al.
    2019, appendix D).
    """

    def choose(visit: Visit, plan: LayerPlan) -> Iterator[Found]:
        yield replace(plan, bias=_corrected_bias(visit, rounded_weight(plan, visit.weight))), None

    return layer_by_layer(network, setting, choose)


def second_order(network: Network, setting: Setting) -> Iterator[Stage]:
    """GPTQ in every layer, strongest inputs first, and the biases corrected, for it does not mind what came before.

    As in its paper, each layer keeps what its weight makes of the inputs from the layers quantized before it. What
    those have lost moves the means of the outputs, and the bias takes that back. The loss is the share of the outputs'
    power that is lost.
    """

    def choose(visit: Visit, plan: LayerPlan) -> Iterator[Found]:
        yield _by_gptq(visit, plan, setting, visit.weight, visit.hessian(visit.x_hat))

    return layer_by_layer(network, setting, choose)


def second_order_reaching(network: Network, setting: Setting) -> Iterator[Stage]:
    """GPTQ in every layer, of the weight that makes best of quantized inputs what the layer made in floating point.

    So a layer makes up for those before it too, as in AdaRound and in GPTAQ (`reached_weight`). The loss is the share
    of the outputs' power that is lost on the way from there.
    """

    def choose(visit: Visit, plan: LayerPlan) -> Iterator[Found]:
        hessian = visit.hessian(visit.x_hat)
        weight = reached_weight(visit.weight, visit.hessian(visit.x, visit.x_hat), hessian)
        yield _by_gptq(visit, plan, setting, weight, hessian)

    return layer_by_layer(network, setting, choose)


def _by_gptq(visit: Visit, plan: LayerPlan, setting: Setting, weight: Float32Array, hessian: Float64Array) -> Found:
    """Return the layer with a weight rounded by GPTQ and its bias corrected, and the share of power that is lost."""
    found = gptq(weight, hessian, setting.weight, act_order=True)
    rounded = found.dequantize()
    power = layer_error(weight, np.zeros_like(weight), hessian)
    loss = layer_error(weight, rounded, hessian) / power if power else 0.0
    return replace(plan, weight=found, bias=_corrected_bias(visit, rounded)), loss


def learned_rounding(network: Network, setting: Setting) -> Iterator[Stage]:
    """AdaRound in every layer: the quantized layer learns to give what the layer in floating point gives."""
    chosen = replace(ADAROUND, seed=setting.seed)

    def choose(visit: Visit, plan: LayerPlan) -> Iterator[Found]:
        x, x_hat = samples(visit, SAMPLES, setting.seed)
        target = visit.outputs(x)
        relu = visit.step.one_sided(False)
        for step in adaround_steps(visit.weight, x_hat, setting.weight, target, visit.bias, relu, chosen):
            yield replace(plan, weight=step.quantized), step.loss

    return layer_by_layer(network, setting, choose, -(-chosen.iterations // chosen.every))


def _corrected_bias(visit: Visit, weight: Float32Array) -> Float32Array:
    """Return the bias with which a weight (out, in) gives the mean outputs of the layer in floating point."""
    return visit.bias + bias_correction(visit.weight, weight, visit.means(visit.x), visit.means(visit.x_hat))


def rounded_weight(plan: LayerPlan, weight: Float32Array) -> Float32Array:
    """Return what a fitted plan makes of a layer's weight, (out, in)."""
    if isinstance(plan.weight, QuantizedTensor):
        return plan.weight.dequantize()
    assert isinstance(plan.weight, Quantizer)  # the plan is frozen, and no layer is left out
    return plan.weight.fake_quantize(weight)
