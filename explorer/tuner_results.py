"""What the tuner shows of a plan, found in the background: scores on held-out data, size, and SQNR of each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from explorer import compute
from explorer.background import Kind, Task
from explorer.caches import ResultKey
from explorer.layer_damage import owners
from explorer.results import BlockView, view_of
from explorer.sources import ModelKey
from explorer.tuning.fitted import Fitted, of_block
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import LayerPlan, QuantError, QuantizationPlan, QuantizedTensor, QuantizerSpec, measure
from quant_engine.network import Score
from quant_engine.plan import Planned

SPLITS = ("search", "test")  # held out, the first there is


@dataclass(frozen=True)
class Size:
    """Bytes of all weights under a plan and in float32, and how many bits that is for each weight."""

    size_bytes: int
    plain_bytes: int

    @property
    def bits_a_weight(self) -> float:
        """Bits that are stored for a weight, on average, everything counted."""
        return 32 * self.size_bytes / self.plain_bytes


def split_of(model: ModelKey) -> str:
    """Return the split on which plans are scored: test data stay unseen where there are others to search on."""
    splits = compute.network(model).given_task.splits
    return next((split for split in SPLITS if split in splits), min(splits))


def engine_plan(model: ModelKey, plan: TunedPlan) -> QuantizationPlan:
    """Return the plan as the engine has it, with specs.

    Raises:
        QuantError: for a setting that there is not.
    """
    return plan.to_plan(compute.network(model).layers())


def fitted_plan(model: ModelKey, plan: QuantizationPlan) -> QuantizationPlan:
    """Return a plan with weights fitted, each layer's once, whatever plans it is in."""
    layers = compute.network(model).layers()

    def fitted(name: str, one: LayerPlan) -> LayerPlan:
        if not isinstance(one.weight, QuantizerSpec):
            return one
        return replace(one, weight=compute.fitted(model, layers[name].tied_to or name, one.weight))

    return QuantizationPlan({name: fitted(name, one) for name, one in plan.layers.items()})


def score(model: ModelKey, plan: QuantizationPlan | None, split: str) -> Score:
    """Return the score of a plan on a split, found once."""

    def found() -> Score:
        return compute.network(model).evaluate(None if plan is None else fitted_plan(model, plan), split)

    return compute.kept(ResultKey("tuner score", model, plan, split), found)


def scoring(place: str, model: ModelKey, plan: QuantizationPlan | None, split: str) -> Task:
    """Return the task of a plan's score in a place of the page."""
    key = ResultKey("tuner score", model, plan, split)
    return compute.session().ask(place, key, lambda: score(model, plan, split))


def score_task(model: ModelKey, plan: QuantizationPlan | None, split: str) -> Task | None:
    """Return the task of a plan's score, if it was ever asked for."""
    return compute.session().find(ResultKey("tuner score", model, plan, split))


def size(model: ModelKey, plan: QuantizationPlan) -> Size:
    """Return what a plan stores; what layers share is counted once. No input's shape has to be known for that."""
    layers = compute.network(model).layers()
    stored = plain = 0
    for name in owners(model):
        planned, whole = plan[name].weight, 4 * layers[name].parameters
        plain += whole
        spec = planned if planned is None or isinstance(planned, QuantizerSpec) else planned.spec
        stored += whole if spec is None else spec.storage(layers[name].matrix_shape).size_bytes
    return Size(stored, plain)


def sqnr(place: str, model: ModelKey, plan: QuantizationPlan) -> Task:
    """Return the study of each layer's SQNR under a plan: items are (layer, dB), NaN where it cannot be quantized."""

    def steps() -> Iterator[tuple[str, float]]:
        for layer in owners(model):
            if (planned := plan[layer].weight) is not None:
                yield layer, _sqnr_db(model, layer, planned)

    key = ResultKey("tuner sqnr", model, plan)
    return compute.session().ask(place, key, steps, Kind.STUDY, len(owners(model)))


def _sqnr_db(model: ModelKey, layer: str, planned: Planned) -> float:
    def found() -> float:
        matrix = compute.matrix(model, layer)
        if isinstance(planned, QuantizedTensor):
            return measure(matrix, planned.dequantize()).sqnr_db
        try:
            fitted = compute.fitted(model, layer, planned) if isinstance(planned, QuantizerSpec) else planned
        except QuantError:
            return math.nan
        return fitted.measure(matrix).sqnr_db

    return compute.kept(ResultKey("tuner sqnr of", model, layer, LayerPlan(planned)), found)


def fitted_view(model: ModelKey, layer: str, fitted: Fitted, block: int) -> BlockView:
    """Return everything that the instrument draws of one block of a fitted weight, such as a file brings."""
    granularity = fitted.spec.granularity

    def found() -> BlockView:
        values = compute.block_values(model, layer, granularity, block)
        return view_of(values, of_block(fitted, block), compute.distribution(model, layer, granularity, block))

    return compute.kept(ResultKey("tuner fitted", model, layer, LayerPlan(fitted), block), found)
