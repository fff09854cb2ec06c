"""Fitting all that a plan leaves open, where it fits the layers it is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from quant_engine.batches import merge_like
from quant_engine.caches import ByteCache
from quant_engine.checks import as_instance
from quant_engine.errors import QuantError
from quant_engine.execution import Calibration, Capture, each_sample
from quant_engine.inputs import Inputs, each_batch
from quant_engine.models import Layer, Model, layer_of, ties
from quant_engine.plan import LayerPlan, Planned, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec, fit
from quant_engine.quantizer.codecs import grid_of
from quant_engine.tasks import Task

MAX_BYTES = 64 << 20  # of the frozen plans of one network
PLAN_REMEDY = "give QuantizationPlan({layer: LayerPlan(weight, activation)})"


class Freezer:
    """Fits what plans of one model leave open: weights, and static activations on calibration data.

    A plan is fitted once, as long as there is room for it, unless it is for somebody's own data.
    `capture` gives what layers receive of some inputs; by default these are the task's for calibration.
    """

    def __init__(self, model: Model, task: Task | None, capture: Capture) -> None:
        """Keep references."""
        self._model, self._task, self._capture = model, task, capture
        self._frozen = ByteCache(MAX_BYTES)

    def freeze(self, plan: QuantizationPlan, data: int | Inputs | Iterable[Inputs] | None) -> QuantizationPlan:
        """Return the plan with everything fitted that can be fixed; `data` as in `Network.freeze`.

        Raises:
            QuantError: as `Network.freeze`.
        """
        for name, layer in as_instance(plan, QuantizationPlan, "plan", PLAN_REMEDY).layers.items():
            validate_fits(layer_of(self._model, name), layer)
        validate_shared(self._model.layers, plan)
        if plan.frozen:
            return plan
        if data is None or isinstance(data, int | float | np.number):
            return self._frozen.get((plan.key, repr(data)), lambda: self._fit(plan, data))
        return self._fit(plan, data)

    def _fit(self, plan: QuantizationPlan, data: int | Inputs | Iterable[Inputs] | None) -> QuantizationPlan:
        static = {
            name: layer.activation
            for name, layer in plan.layers.items()
            if isinstance(layer.activation, QuantizerSpec) and not layer.dynamic
        }
        fitted = self._fit_activations(static, data) if static else {}
        return QuantizationPlan(
            {
                name: layer
                if layer.frozen
                else replace(
                    layer, weight=self._fit_weight(name, layer.weight), activation=fitted.get(name, layer.activation)
                )
                for name, layer in plan.layers.items()
            }
        )

    def _fit_weight(self, name: str, weight: Planned | None) -> Quantizer | QuantizedTensor | None:
        if not isinstance(weight, QuantizerSpec):
            return weight
        return fit(self._model.parameters[name][0].reshape(self._model.layers[name].matrix_shape), weight)

    def _fit_activations(
        self, static: dict[str, QuantizerSpec], data: int | Inputs | Iterable[Inputs] | None
    ) -> dict[str, Quantizer]:
        if data is None or isinstance(data, int | float | np.number):
            return self._calibration.quantizers(static, data)
        given = (self._model.as_inputs(batch) for batch in each_batch(data))
        return Calibration(self._capture, self._model.layers, given).quantizers(static)

    @cached_property
    def _calibration(self) -> Calibration:
        if self._task is None or "calibration" not in self._task.splits:
            raise QuantError(
                f"{self._model.name} has no calibration data for static activations; give freeze(plan, data=inputs), "
                "or the network a task with a calibration split"
            )
        batches = merge_like(batch.inputs for batch in self._task.batches("calibration"))
        return Calibration(self._capture, self._model.layers, batches)


def validate_fits(layer: Layer, plan: LayerPlan) -> None:
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


def validate_shared(layers: Mapping[str, Layer], plan: QuantizationPlan) -> None:
    """Check that layers which share a weight are given the same one: it is stored once.

    Raises:
        QuantError: naming the layers and what each is given.
    """
    for owner, users in ties(layers).items():
        for user in users[1:]:
            if not _same(plan[owner].weight, plan[user].weight):
                given = (f"{name!r} {_said(plan[name].weight)}" for name in (owner, user))
                raise QuantError(
                    f"layers {owner!r} and {user!r} share one weight of {layers[owner].shape}, but the plan gives "
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
