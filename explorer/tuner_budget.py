"""Plans along a budget of bits a weight, found and measured in the background; and the one look at the test split."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from explorer import compute
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.commands.settings import spec_of
from explorer.layer_damage import owners
from explorer.lessons.framework.study import Study
from explorer.sources import ModelKey
from explorer.tuner_results import score, size, split_of
from explorer.tuning.cells import WIDTHS
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.models import fused_groups
from quant_engine.network import Score
from quant_engine.studies import measured_front
from quant_engine.studies.measured_front import BUDGETS, CostStep, FrontPoint, MeasuredFront

SHARED = ("channel", "64")  # what may share a scale, unless one asks for something else
TEST_SPLIT = "test"
FRONT, TEST = "tuner budget", "tuner test"  # places on the page


@dataclass(frozen=True)
class Tested:
    """The scores on the test split, in floating point and of the plan."""

    plain: Score
    planned: Score


def candidates(sharing: Iterable[str]) -> list[QuantizerSpec]:
    """Return what a layer may be, as for `quant-explorer tune`: integers of each width, by the range of least error."""
    return [spec_of(bits, word, least_mse=True) for bits in WIDTHS for word in sharing]


def front_study(model: ModelKey, plan: TunedPlan, sharing: Sequence[str] = SHARED) -> Study:
    """Return the search along budgets; locked layers keep what they have."""
    specs, locked = candidates(sharing), _locked(model, plan)
    budgets = _budgets(model, specs, locked)

    def steps() -> Generator[CostStep | FrontPoint | MeasuredFront, None, None]:
        network, kept = compute.network(model), compute.attributions(model)
        alike = fused_groups(network.layers())
        return measured_front(network, specs, budgets, locked=locked, split=_split(model), kept=kept, alike=alike)

    free = len(owners(model)) - len(plan.locks)
    key = ResultKey(FRONT, model, *(spec.key for spec in specs), locked)
    return Study(
        key, steps, (free + 1) * len(specs) + 2 * len(sharing) * len(budgets) + 1
    )  # about: no plan is measured twice


def points_of(task: Task | None) -> list[FrontPoint]:
    """Return the plans that are measured so far."""
    return [item for item in (() if task is None else task.items) if isinstance(item, FrontPoint)]


def tested_study(model: ModelKey, engine: QuantizationPlan) -> Study:
    """Return the scoring on test data, which a search never sees."""

    def steps() -> Generator[Tested, None, None]:
        yield Tested(score(model, None, TEST_SPLIT), score(model, engine, TEST_SPLIT))

    return Study(ResultKey(TEST, model, engine), steps, 1)


def _budgets(model: ModelKey, specs: list[QuantizerSpec], locked: QuantizationPlan) -> list[float]:
    """Return budgets of bits a weight, half a bit apart from the smallest candidate on."""
    layers = compute.network(model).layers()
    plans = [QuantizationPlan({**dict.fromkeys(layers, LayerPlan(spec)), **locked.layers}) for spec in specs]
    least = min(size(model, plan).bits_a_weight for plan in plans)
    return [least, *(math.floor(2 * least) / 2 + step / 2 for step in range(1, BUDGETS))]


def _split(model: ModelKey) -> str | None:
    """Return the split that plans are scored on, unless that is the test split: then the engine chooses."""
    split = split_of(model)
    return None if split == TEST_SPLIT else split


def _locked(model: ModelKey, plan: TunedPlan) -> QuantizationPlan:
    layers = compute.network(model).layers()
    held = {name: plan.layer_plan(info.tied_to or name) for name, info in layers.items()}
    return QuantizationPlan({name: one for name, one in held.items() if (layers[name].tied_to or name) in plan.locks})
