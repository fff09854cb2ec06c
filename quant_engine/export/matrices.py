"""The codes of a layer's weight under a fitted plan, in the view (out, everything else)."""

from __future__ import annotations

from quant_engine.network import Network
from quant_engine.plan import LayerPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer


def quantized_matrix(network: Network, name: str, plan: LayerPlan) -> QuantizedTensor:
    """Return the codes that a plan brings, or gives the layer's weight."""
    if isinstance(plan.weight, QuantizedTensor):
        return plan.weight
    assert isinstance(plan.weight, Quantizer)  # the plan is fitted
    return plan.weight.encode(network.weight(name).reshape(network.layers()[name].matrix_shape))
