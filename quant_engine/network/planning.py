"""Whether a layer's plan fits the layer."""

from __future__ import annotations

from quant_engine.errors import QuantError
from quant_engine.network.activations import each_image
from quant_engine.network.layers import LayerInfo
from quant_engine.plan import LayerPlan
from quant_engine.quantizer import QuantizedTensor, QuantizerSpec


def refuse_unfit(layer: LayerInfo, plan: LayerPlan) -> None:
    """Check the codes and the bias that a plan brings, and the blocks of a dynamic activation.

    Raises:
        QuantError: naming the layer, if they do not fit it.
    """
    matrix = layer.matrix_shape
    if isinstance(plan.weight, QuantizedTensor) and plan.weight.shape != matrix:
        raise QuantError(f"layer {layer.name!r} has a weight of {matrix}, its plan codes of {plan.weight.shape}")
    if plan.bias is not None and plan.bias.shape != matrix[:1]:
        raise QuantError(f"layer {layer.name!r} has {matrix[0]} outputs, its plan a bias of {len(plan.bias)}")
    if plan.dynamic and isinstance(plan.activation, QuantizerSpec):
        try:
            each_image(plan.activation).granularity.blocks((1, *layer.input_shape))
        except QuantError as error:
            raise QuantError(f"the activation of layer {layer.name!r}: {error}") from error
