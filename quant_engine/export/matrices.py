"""A layer's weight under a fitted plan: its codes, in the view (out, everything else), or its values."""

from __future__ import annotations

import numpy as np

from quant_engine.execution.layer_change import planned_weight
from quant_engine.inputs import Float32Array
from quant_engine.network import Network
from quant_engine.plan import LayerPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer


def quantized_matrix(network: Network, name: str, plan: LayerPlan) -> QuantizedTensor:
    """Return the codes that a plan brings, or gives the layer's weight."""
    if isinstance(plan.weight, QuantizedTensor):
        return plan.weight
    assert isinstance(plan.weight, Quantizer)  # the plan is fitted
    return plan.weight.encode(network.weight(name).reshape(network.layers()[name].matrix_shape))


def float_weight(network: Network, name: str, plan: LayerPlan) -> Float32Array | None:
    """Return x̂ for a layer whose input nothing changes, of the layer's shape, or None for the weight as it is.

    Where the plan divides each input channel by a scale, the weight is divided by it instead.
    """
    values, info = planned_weight(network.model, name, plan), network.layers()[name]
    if values is None or plan.input_scale is None:
        return values
    places = (1,) * (len(info.shape) - 2)
    scale = plan.input_scale.reshape(info.groups, 1, info.shape[1], *places)
    groups = values.reshape(info.groups, -1, *info.shape[1:])
    return np.asarray(groups / scale, np.float32).reshape(info.shape)
