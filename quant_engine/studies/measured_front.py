"""Plans along a budget: the exact allocation proposes, the measured score decides.

1. Costs: what each layer does alone under each candidate, measured on the calibration data or predicted.
2. Proposals: the exact allocation of least summed cost at each of several budgets, of all candidates, of those that
   share scales in one way, and of these without the smallest ones, as long as another fits for all layers; and each
   candidate for all layers. A layer of few bits can do far less alone than among others of few bits: then the best plan
   under a budget has none. What is picked is thus no worse on the search split than from any of these choices alone.
3. Each proposal is measured as a whole on the search split before it is believed: that costs add up is an assumption.
   Test data are never touched; score the plan that was picked on them once, by `Network.evaluate`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_choice, as_instance, as_integer, as_list, as_number
from quant_engine.errors import QuantError
from quant_engine.formats import FP32
from quant_engine.models import ties
from quant_engine.network import Network
from quant_engine.network.freezing import PLAN_REMEDY
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec
from quant_engine.studies.damage import Damage, Kept, PlanParts
from quant_engine.studies.fused_allocation import allocate_alike
from quant_engine.studies.mixed import COSTS, Float64Array, layer_costs, layer_sizes
from quant_engine.studies.sensitivity import SPEC_REMEDY
from quant_engine.tasks import Task

IntArray = NDArray[np.intp]

DAMAGE = "damage"  # the cost that is `Damage.measure` of a layer alone
FRONT_COSTS = (DAMAGE, *COSTS)
BUDGETS = 8
SEARCH_SPLITS = ("search", "calibration", "training")  # the first there is; never test


class CostStep(NamedTuple):
    """One measurement of a layer alone under a candidate; `done` of `total` steps, proposals counted."""

    layer: str
    spec: QuantizerSpec
    damage: Damage
    done: int
    total: int


class FrontPoint(NamedTuple):
    """A proposed plan, measured as a whole.

    Attributes:
        plan: all layers' specs.
        size_bytes: bytes of all weights, those that layers share counted once.
        bits_per_weight: the same in bits for each weight.
        predicted: the sum of the layers' costs.
        measured: what the plan does on the search split, beside floating point.
        uniform: the candidate that all layers have, for a plan that was not allocated.
    """

    plan: QuantizationPlan
    size_bytes: int
    bits_per_weight: float
    predicted: float
    measured: Damage
    uniform: QuantizerSpec | None
    done: int
    total: int


@dataclass(frozen=True)
class MeasuredFront:
    """All plans that were measured, by rising size, and the split they were measured on."""

    points: tuple[FrontPoint, ...]
    split: str

    def best_within(self, bits_per_weight: float) -> FrontPoint:
        """Return the plan of the best measured score that takes no more bits a weight.

        Of equal scores the one whose outputs are the nearest to floating point's (`Damage.measure`), then the smallest.


        Raises:
            QuantError: where no plan is as small, with the smallest there is.
        """
        budget = as_number(bits_per_weight, "bits_per_weight", above=0)
        fitting = [point for point in self.points if point.bits_per_weight <= budget * (1 + 1e-12)]
        if not fitting:
            least = self.points[0].bits_per_weight
            raise QuantError(f"no plan fits {budget:g} bits a weight: the smallest takes {least:.4g}; raise the budget")
        return min(fitting, key=_by_measured)

    def smallest_within(self, max_drop: float) -> FrontPoint | None:
        """Return the smallest plan whose measured score is at most so much worse than floating point's, if any."""
        allowed = as_number(max_drop, "max_drop", 0)
        return next((point for point in self.points if point.measured.lost.value <= allowed), None)


def _by_measured(point: FrontPoint) -> tuple[float, float, int]:
    return point.measured.lost.value, point.measured.measure.value, point.size_bytes


def search_split(task: Task) -> str:
    """Return the split on which plans are searched.

    Raises:
        QuantError: for a task that has test data alone.
    """
    found = next((split for split in SEARCH_SPLITS if split in task.splits), None)
    if found is None:
        raise QuantError(
            "the task has test data alone, and a search would make them worthless as a test; give 8 samples or more, "
            'or data by split: {"search": …, "test": …}'
        )
    return found


def measured_front(
    network: Network,
    candidates: Iterable[QuantizerSpec],
    budgets: Iterable[float] | int = BUDGETS,
    cost: str = DAMAGE,
    locked: QuantizationPlan | None = None,
    split: str | None = None,
    kept: Kept | None = None,
    alike: Iterable[Iterable[str]] = (),
    activation: QuantizerSpec | None = None,
) -> Generator[CostStep | FrontPoint | MeasuredFront, None, None]:
    """Measure plans of a network's weights along budgets of bits a weight; the last item is the whole front.

    `budgets` are bits a weight, or how many budgets from the smallest plan to the largest. `cost` is one of
    `FRONT_COSTS`. Layers in `locked` keep the plan they have there. The split is by default the task's search split,
    or the first there is of calibration and training. `kept` is that of `attribute`. Layers that `alike` names
    together, such as those of `fused_groups`, have one candidate. With `activation` what each layer receives is
    quantized, too, by a range found once, on the calibration data in floating point; `damage` alone counts that.

    Raises:
        QuantError: for no candidates, and such that do not fit a layer; a budget below the smallest plan; an unknown
            cost; a task that has test data alone, and the split "test".

    Example:
        >>> from quant_engine import IntFormat, PerChannel
        >>> from quant_engine.network import load
        >>> specs = [QuantizerSpec(IntFormat(bits), PerChannel()) for bits in (2, 4, 8)]
        >>> *steps, front = measured_front(load("fashion-cnn"), specs, budgets=[4.5], cost="predicted loss")
        >>> best = front.best_within(4.5)
        >>> best.bits_per_weight <= 4.5, best.measured.score.n
        (True, 2000)
    """
    task = as_instance(network, Network, "network", "load() gives one").given_task
    where = split or search_split(task)
    if where == "test":
        raise QuantError("split='test' is what a plan is scored on once, at the end; search on another split")
    specs = as_list(candidates, QuantizerSpec, "candidates", SPEC_REMEDY)
    named = as_choice(cost, FRONT_COSTS, "cost")
    problem = _Problem(
        network, specs, QuantizationPlan() if locked is None else locked, [*map(list, alike)], activation
    )
    wanted = problem.budgets(budgets)
    choosing = problem.choosing(wanted)
    total = len(choosing) + len(specs) + (problem.measurements if named == DAMAGE else 0)
    done = 0
    if named == DAMAGE:
        costs = np.zeros(problem.sizes.shape)
        for row, column, damage in problem.alone(kept):
            done, costs[row, column] = done + 1, damage.measure.value
            yield CostStep(problem.owners[row], specs[column], damage, done, total)
    else:
        costs = problem.unlocked(layer_costs(network, specs, named))
    points: dict[str, FrontPoint] = {}
    for choice in problem.proposals(costs, choosing):
        done += 1
        plan = problem.plan(choice)
        if plan.key in points:
            continue
        size, predicted = (values[np.arange(len(choice)), choice].sum() for values in (problem.sizes, costs))
        parts = PlanParts(network, plan, where, kept)
        uniform = specs[choice[0]] if len(set(choice)) == 1 else None
        measured, bits = parts.damage(parts.layers), float(8 * size / problem.parameters)
        points[plan.key] = FrontPoint(plan, int(size), bits, float(predicted), measured, uniform, done, total)
        yield points[plan.key]
    yield MeasuredFront(tuple(sorted(points.values(), key=lambda point: point.size_bytes)), where)


class _Problem:
    """Layers that own a weight, by row, and candidates, by column; locked layers have one choice in all columns."""

    def __init__(
        self,
        network: Network,
        specs: Sequence[QuantizerSpec],
        locked: QuantizationPlan,
        alike: Sequence[Sequence[str]],
        activation: QuantizerSpec | None,
    ) -> None:
        self._network, self._specs, layers = network, specs, network.layers()
        self._locked = as_instance(locked, QuantizationPlan, "locked", PLAN_REMEDY)
        if unknown := [name for name in locked.layers if name not in layers]:
            raise QuantError(f"locked names {', '.join(unknown)}; the layers are {', '.join(layers)}")
        self._ties = ties(layers)
        self.owners = [*self._ties]
        self.parameters = sum(layers[name].parameters for name in self.owners)
        self._free = np.array([not self._is_locked(name) for name in self.owners])
        self.sizes = layer_sizes(network, specs)
        for row in np.flatnonzero(~self._free):
            self.sizes[row] = self._locked_bytes(self.owners[row])
        self._alike, self._inputs = alike, self._fitted_inputs(activation)

    @property
    def measurements(self) -> int:
        return int(self._free.sum()) * len(self._specs)

    def budgets(self, budgets: Iterable[float] | int) -> list[float]:
        """Return budgets in bytes."""
        least, most = (8 * float(ends.sum()) / self.parameters for ends in (self.sizes.min(1), self.sizes.max(1)))
        if isinstance(budgets, int):
            bits = np.linspace(least, most, as_integer(budgets, "budgets", 1)).tolist()
        else:
            bits = [as_number(one, "a budget in bits a weight", above=0) for one in budgets]
        for one in bits:
            if one < least * (1 - 1e-12):
                raise QuantError(
                    f"no plan fits {one:g} bits a weight: the smallest candidate of every layer takes {least:.4g} "
                    "together; raise the budget, or give candidates of fewer bits"
                )
        return [one * (1 + 1e-12) * self.parameters / 8 for one in bits]

    def alone(self, kept: Kept | None) -> Generator[tuple[int, int, Damage], None, None]:
        """Measure each free layer alone under each candidate, on the calibration data."""
        for column, spec in enumerate(self._specs):
            free = [name for row in np.flatnonzero(self._free) for name in self._ties[self.owners[row]]]
            parts = PlanParts(
                self._network, QuantizationPlan({name: self._layer(name, spec) for name in free}), None, kept
            )
            for row in np.flatnonzero(self._free).tolist():
                yield row, column, parts.damage([self.owners[row]])

    def unlocked(self, costs: Float64Array) -> Float64Array:
        """Return costs of which those of locked layers are 0."""
        found: Float64Array = np.where(self._free[:, None], costs, 0.0)
        return found

    def choosing(self, budgets: Sequence[float]) -> list[tuple[float, IntArray]]:
        """Return what each allocation chooses from: at each budget all candidates, then fewer that share scales alike.

        Of these all, and those that are no smaller than each, where that fits for all layers.
        """
        alike, columns = self.sizes.sum(axis=0), np.arange(len(self._specs))
        kinds = dict.fromkeys(spec.granularity for spec in self._specs)
        families = [columns[[spec.granularity == kind for spec in self._specs]] for kind in kinds]
        fewer = [
            (one, family[alike[family] >= alike[smallest]])
            for family in families
            for smallest in family
            for one in budgets
            if alike[smallest] <= math.floor(one)
        ]
        return [*((one, columns) for one in budgets), *fewer]

    def proposals(
        self, costs: Float64Array, choosing: Iterable[tuple[float, IntArray]]
    ) -> Generator[list[int], None, None]:
        """Yield the candidates' numbers of all layers: of each allocation, then each candidate alike."""
        layers = self._network.layers()
        for budget, columns in choosing:
            found = allocate_alike(layers, costs[:, columns], self.sizes[:, columns], math.floor(budget), self._alike)
            yield columns[found].tolist()
        for column in range(len(self._specs)):
            yield [column] * len(self.owners)

    def plan(self, choice: Sequence[int]) -> QuantizationPlan:
        chosen: Mapping[str, int] = dict(zip(self.owners, choice, strict=True))
        layers = {}
        for owner, names in self._ties.items():
            for name in names:
                free = not self._is_locked(owner)
                layers[name] = self._layer(name, self._specs[chosen[owner]]) if free else self._locked[name]
        return QuantizationPlan(layers)

    def _layer(self, name: str, spec: QuantizerSpec) -> LayerPlan:
        return LayerPlan(spec, self._inputs[name].activation)

    def _fitted_inputs(self, activation: QuantizerSpec | None) -> QuantizationPlan:
        """Return quantizers of what free layers receive: an embedding receives numbers of tokens."""
        if activation is None:
            return QuantizationPlan()
        layers = self._network.layers()
        free = [name for name, info in layers.items() if not self._is_locked(info.tied_to or name)]
        received = [name for name in free if layers[name].op != "embedding"]
        return self._network.freeze(QuantizationPlan(dict.fromkeys(received, LayerPlan(activation=activation))))

    def _is_locked(self, owner: str) -> bool:
        return any(name in self._locked.layers for name in self._ties[owner])

    def _locked_bytes(self, owner: str) -> int:
        info, planned = self._network.layers()[owner], self._locked[owner].weight
        if planned is None:
            return info.parameters * FP32.bits // 8
        spec = planned if isinstance(planned, QuantizerSpec) else planned.spec
        return spec.storage(info.matrix_shape).size_bytes
