"""Finding the layers that a plan's lost score is to blame on, in the background."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from explorer import compute
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.lessons.framework.study import Study
from explorer.sources import ModelKey
from explorer.tuner_results import fitted_plan, split_of
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import QuantizationPlan
from quant_engine.studies import (
    Attributed,
    Attribution,
    Culprits,
    CulpritStep,
    Damage,
    attribute,
    culprits,
    in_eight_bits,
)

CULPRITS, DAMAGE = "tuner culprits", "tuner damage"  # places on the page


def culprit_study(model: ModelKey, engine: QuantizationPlan) -> Study:
    """Return the search for the layers to blame, on the data that plans are scored on."""

    def steps() -> Generator[CulpritStep | Culprits, None, None]:
        plan, kept = fitted_plan(model, engine), compute.attributions(model)
        return culprits(compute.network(model), plan, split_of(model), kept=kept)

    return Study(ResultKey(CULPRITS, model, engine), steps, 2 * _parts(model, engine) + 2)


def damage_study(model: ModelKey, engine: QuantizationPlan) -> Study | None:
    """Return the measuring of each layer alone under a plan; None where nothing can be measured."""
    network = compute.network(model)
    if network.task is None or not engine.layers:
        return None

    def steps() -> Generator[Attributed | Attribution, None, None]:
        plan, kept = fitted_plan(model, engine), compute.attributions(model)
        return attribute(network, plan, split_of(model), kept=kept)

    return Study(ResultKey(DAMAGE, model, engine), steps, _parts(model, engine) + 2)


def alone(model: ModelKey, engine: QuantizationPlan) -> dict[str, Damage]:
    """Return what each layer does alone under a plan, as far as either study has measured it."""
    found: dict[str, Damage] = {}
    for place in (DAMAGE, CULPRITS):
        for step in _items(compute.session().find(ResultKey(place, model, engine))):
            if (isinstance(step, CulpritStep) and step.phase == "alone") or (
                isinstance(step, Attributed) and step.layer and step.draw is None
            ):
                found[step.layer] = step.damage
    return found


def with_eight_bits(plan: TunedPlan, layers: Iterable[str]) -> TunedPlan:
    """Return a plan with layers in 8 bits where they have fewer, as `culprits` measures it."""
    for layer in layers:
        plan = plan.with_plan(layer, in_eight_bits(plan.layer_plan(layer)))
    return plan


def _items(task: Task | None) -> tuple[object, ...]:
    return () if task is None else task.items


def _parts(model: ModelKey, engine: QuantizationPlan) -> int:
    layers = compute.network(model).layers()
    return len({layers[name].tied_to or name for name in engine.layers})
