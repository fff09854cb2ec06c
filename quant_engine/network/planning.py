"""Whether a plan fits the layers it is for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.models import Layer, ties
from quant_engine.network.activations import each_sample
from quant_engine.plan import LayerPlan, Planned, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec
from quant_engine.quantizer.codecs import grid_of

PLAN_REMEDY = "give QuantizationPlan({layer: LayerPlan(weight, activation)})"


def refuse_unfit(layer: Layer, plan: LayerPlan) -> None:
    """Check the codes and the bias that a plan brings, and the blocks of what is fitted or dynamic.

    Raises:
        QuantError: naming the layer, if they do not fit it.
    """
    matrix = layer.matrix_shape
    if isinstance(plan.weight, QuantizedTensor) and plan.weight.shape != matrix:
        raise QuantError(f"layer {layer.name!r} has a weight of {matrix}, its plan codes of {plan.weight.shape}")
    if plan.bias is not None and plan.bias.shape != matrix[:1]:
        raise QuantError(f"layer {layer.name!r} has {matrix[0]} outputs, its plan a bias of {len(plan.bias)}")
    if plan.input_scale is not None and (layer.op == "embedding" or len(plan.input_scale) != layer.input_channels):
        reads = "looks rows up" if layer.op == "embedding" else f"reads {layer.input_channels} channels"
        raise QuantError(f"layer {layer.name!r} {reads}, its plan has an input_scale of {len(plan.input_scale)}")
    for role, planned in (("weight", plan.weight), ("activation", plan.activation)):
        try:
            if isinstance(planned, Quantizer):
                shape = matrix if role == "weight" else (1, *layer.input_shape)
                grid_of(planned, planned.spec.granularity.blocks(shape))
            elif role == "activation" and plan.dynamic and isinstance(planned, QuantizerSpec):
                each_sample(planned).granularity.blocks((1, *layer.input_shape))
        except QuantError as error:
            raise QuantError(f"the {role} of layer {layer.name!r}: {error}") from error


def check_shared(layers: Mapping[str, Layer], plan: QuantizationPlan) -> None:
    """Check that layers which share a weight are given the same one: it is stored once.

    Raises:
        QuantError: naming the layers and what each is given.
    """
    for holder, users in ties(layers).items():
        for user in users[1:]:
            if not _same(plan[holder].weight, plan[user].weight):
                given = (f"{name!r} {_said(plan[name].weight)}" for name in (holder, user))
                raise QuantError(
                    f"layers {holder!r} and {user!r} share one weight of {layers[holder].shape}, but the plan gives "
                    f"{' and '.join(given)}; give both the same"
                )


def _same(one: Planned | None, other: Planned | None) -> bool:
    """Return whether two planned weights are stored as one: the same spec, or the same arrays."""
    if one is other:
        return True
    if isinstance(one, QuantizerSpec) or isinstance(other, QuantizerSpec) or one is None or other is None:
        return one == other
    if type(one) is not type(other):
        return False
    mine, others = vars(one), vars(other)
    return all(np.array_equal(mine[part], others[part]) for part in mine)


def _said(weight: Planned | None) -> str:
    if weight is None:
        return "floating point"
    return (weight if isinstance(weight, QuantizerSpec) else weight.spec).key
