"""What rounding takes from the outputs of one layer: what GPTQ and AdaRound make small, for the formula."""

from __future__ import annotations

from dataclasses import dataclass, replace

from explorer import compute
from explorer.background import live
from explorer.caches import ResultKey
from explorer.lessons.compensation.method_results import MethodResults
from explorer.sources import ModelKey
from quant_engine import QuantizedTensor, QuantizerSpec, quantize
from quant_engine.compensation import gptq, layer_error
from quant_engine.inputs import Float64Array
from quant_engine.methods import layer_hessian

LEARNED = "adaround"


@dataclass(frozen=True)
class Lost:
    """Squared error of a layer's outputs on real data, ‖WX − ŴX‖²/n: rounded to nearest and by GPTQ, in like ranges.

    `power` is ‖WX‖²/n, and `learned` the error of AdaRound's weights, where the race has brought them.
    """

    nearest: float
    gptq: float
    power: float
    learned: float | None = None


def measured(model: ModelKey, layer: str, spec: QuantizerSpec) -> Lost:
    """Round a layer to nearest and by GPTQ, and see what its outputs lose."""
    weight, hessian = compute.matrix(model, layer), hessian_of(model, layer)
    nearest = quantize(weight, spec).dequantize()
    second_order = gptq(weight, hessian, spec, act_order=True).dequantize()
    return Lost(*(layer_error(weight, other, hessian) for other in (nearest, second_order, 0 * weight)))


def hessian_of(model: ModelKey, layer: str) -> Float64Array:
    """Return XXᵀ/n of what the calibration data brings a layer."""
    return compute.kept(ResultKey("hessian", model, layer), lambda: layer_hessian(compute.network(model), layer))


def lost_of(raced: MethodResults, layer: str) -> Lost | None:
    """Return what a layer's outputs lose, or None while that is worked out: then the page comes back when it is."""
    model, spec = raced.model, raced.setting.weight
    key = ResultKey("lost", model, layer, spec)
    task = compute.session().ask("lost", key, lambda: measured(model, layer, spec))
    live(lambda: None, lambda: task.active)
    if not task.ended:
        return None
    found: Lost = task.result()
    return replace(found, learned=learned_loss(raced, layer))


def learned_loss(raced: MethodResults, layer: str) -> float | None:
    """Return what AdaRound's weights of a layer lose, if it is through in the race."""
    plan = raced.ended[LEARNED].plan if LEARNED in raced.ended else None
    weight = plan[layer].weight if plan is not None else None
    if not isinstance(weight, QuantizedTensor):
        return None
    return compute.kept(
        ResultKey("learned", raced.model, raced.setting, layer),
        lambda: layer_error(compute.matrix(raced.model, layer), weight.dequantize(), hessian_of(raced.model, layer)),
    )
