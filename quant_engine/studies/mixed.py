"""Mixed precision: a spec for each layer, under a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_engine.allocation.problem import as_budget
from quant_engine.checks import as_choice, as_instance, as_list
from quant_engine.errors import QuantError
from quant_engine.models import ties
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec
from quant_engine.studies.effect import Effect, effect
from quant_engine.studies.fused_allocation import allocate_alike
from quant_engine.studies.sensitivity import SPEC_REMEDY, Key, Trial, predict_sensitivity, sensitivities, weight_error

Kept = MutableMapping[Key, Effect]
LayerCost = Callable[[str, QuantizerSpec], float]
Cost = Callable[[Network, Kept], LayerCost]
Measure = Callable[[Effect], float]
Float64Array = NDArray[np.float64]


def _measured(name: str) -> Cost:
    """Return the cost of one layer's quantization by one of `MEASURES`: what it has more than floating point."""

    def cost(network: Network, kept: Kept) -> LayerCost:
        of = MEASURES[name]
        plain = _known(network, name, effect(network))

        def of_layer(layer: str, spec: QuantizerSpec) -> float:
            (found,) = sensitivities(network, [Trial(layer, spec)], kept)
            return of(found.effect) - plain

        return of_layer

    return cost


def _known(network: Network, name: str, found: Effect) -> float:
    """Return an effect by one of `MEASURES`, or refuse what the task does not know."""
    value = MEASURES[name](found)
    if np.isnan(value):
        known = [other for other, of in MEASURES.items() if not np.isnan(of(found))]
        raise QuantError(
            f"{name!r} is not known by {type(network.task).__name__}, the task of {network.name}; "
            f"choose one of {', '.join(known)}, or give the network a task with labels"
        )
    return value


def _predicted_loss(network: Network, kept: Kept) -> LayerCost:
    return lambda layer, spec: predict_sensitivity(network, layer, spec).loss_increase


def _predicted_error(network: Network, kept: Kept) -> LayerCost:
    layers = network.layers()
    return lambda layer, spec: float(weight_error(network, layer, spec).mean()) * layers[layer].parameters


@dataclass(frozen=True)
class MixedPlan:
    """A plan that was searched for: its specs by layer, bytes of weights, and what it costs.

    `predicted` is the sum of the layers' costs, each with the others in floating point; `measured` is the effect of the
    whole plan on the calibration data, on which it was searched. Score it on test data with `Network.evaluate`.
    """

    choices: Mapping[str, QuantizerSpec]
    size_bytes: int
    predicted: float
    measured: Effect

    @property
    def plan(self) -> QuantizationPlan:
        """The plan to evaluate, freeze and save."""
        return weight_plan(self.choices)


def _searched(network: Network) -> list[str]:
    """Return the layers that are given a spec: of those that share a weight the one that holds it."""
    return list(ties(as_instance(network, Network, "network", "load() gives one").layers()))


def _choices(network: Network, chosen: Iterable[QuantizerSpec]) -> dict[str, QuantizerSpec]:
    """Return every layer's spec, where each of `_searched` has been given one."""
    found = dict(zip(_searched(network), chosen, strict=True))
    return {name: found[info.tied_to or name] for name, info in network.layers().items()}


def weight_plan(choices: Mapping[str, QuantizerSpec]) -> QuantizationPlan:
    """Return the plan that quantizes each layer's weight by its spec.

    Raises:
        QuantError: for what is no mapping of specs.
    """
    if not isinstance(choices, Mapping):
        raise QuantError(f"choices={choices!r} are no mapping; give {{layer: QuantizerSpec(format, …)}}")
    return QuantizationPlan({name: LayerPlan(spec) for name, spec in choices.items()})


def layer_sizes(network: Network, candidates: Sequence[QuantizerSpec]) -> Float64Array:
    """Return the whole bytes of each weight under each candidate, (layers, candidates), everything counted.

    A row for each layer, in their order; layers that share a weight have one row, at the place of the first.

    Raises:
        QuantError: for no candidates, and one whose blocks do not fit a layer.
    """
    specs = _candidates(candidates)
    shapes = [network.layers()[name].matrix_shape for name in _searched(network)]
    return np.array([[spec.storage(shape).size_bytes for spec in specs] for shape in shapes], np.float64)


def _candidates(candidates: Iterable[QuantizerSpec]) -> list[QuantizerSpec]:
    specs = as_list(candidates, QuantizerSpec, "candidates", SPEC_REMEDY)
    if not specs:
        raise QuantError("there are no candidates; give at least one QuantizerSpec")
    return specs


def layer_costs(
    network: Network, candidates: Sequence[QuantizerSpec], cost: str = "divergence", kept: Kept | None = None
) -> Float64Array:
    """Return what quantizing each weight alone costs, (layers, candidates), by one of `COSTS`; rows as `layer_sizes`.

    Measured costs are taken from `kept` where they are there, and put into it; fill it with `sensitivities` to show
    progress.

    Measured costs are the rise of the loss, of the KL divergence or of the outputs' squared error, relative to the
    outputs' squares, and what the task's first score loses; predicted ones ½ Σ F·(ŵ − w)² and Σ (ŵ − w)².

    Raises:
        QuantError: for an unknown cost, one that the task does not know, and for no candidates.
    """
    chosen, specs, layers = COSTS[as_choice(cost, COSTS, "cost")], _candidates(candidates), _searched(network)
    of = chosen(network, {} if kept is None else kept)
    return np.array([[of(layer, spec) for spec in specs] for layer in layers])


def mixed_plan(
    network: Network,
    candidates: Sequence[QuantizerSpec],
    budget_bytes: float,
    cost: str = "divergence",
    kept: Kept | None = None,
    alike: Iterable[Iterable[str]] = (),
) -> MixedPlan:
    """Return the plan of least summed cost whose weights take at most `budget_bytes`, exactly (`allocate`).

    Sizes are those of `footprint`. A candidate of `QuantizerSpec(FP16)` or `QuantizerSpec(BF16)` lets a layer stay in
    16-bit floats. Costs are of layers quantized alone, on the calibration data; that they add up is an assumption,
    and `predicted` against `measured` says how far it holds. Layers named together in `alike`, such as those of
    `fused_groups`, have one spec.

    Raises:
        QuantError: if no plan fits the budget, for an unknown cost, and for candidates that do not fit a layer.

    Example:
        >>> from quant_engine import FP16, IntFormat, PerChannel
        >>> from quant_engine.network import load
        >>> candidates = [*(QuantizerSpec(IntFormat(bits), PerChannel()) for bits in (2, 4, 8)), QuantizerSpec(FP16)]
        >>> found = mixed_plan(load("fashion-cnn"), candidates, 40_000, cost="predicted loss")
        >>> found.size_bytes <= 40_000, found.choices["conv1"].format.bits
        (True, 16)
    """
    specs, budget = _candidates(candidates), as_budget(budget_bytes)
    sizes = layer_sizes(network, specs)
    costs = layer_costs(network, specs, cost, kept)
    chosen = allocate_alike(network.layers(), costs, sizes, budget, alike)
    places = np.arange(len(chosen))
    choices = _choices(network, (specs[index] for index in chosen))
    measured = effect(network, weight_plan(choices))
    return MixedPlan(choices, int(sizes[places, chosen].sum()), float(costs[places, chosen].sum()), measured)


class SearchStep(NamedTuple):
    """A plan on the way of `greedy_search`: which layer's spec changed to get there (None at first), bytes, effect."""

    changed: str | None
    choices: Mapping[str, QuantizerSpec]
    size_bytes: int
    measured: Effect

    @property
    def plan(self) -> QuantizationPlan:
        """The plan to evaluate, freeze and save."""
        return weight_plan(self.choices)


def greedy_search(
    network: Network, candidates: Sequence[QuantizerSpec], budget_bytes: float = 0, measure: str = "loss"
) -> Iterator[SearchStep]:
    """Yield plans of fewer and fewer bytes, each measured as a whole, until one fits the budget or none is smaller.

    It begins with the largest candidate everywhere. A step gives one layer its next smaller candidate: the layer whose
    step raises the measured value, one of `MEASURES`, the least for the bytes it saves. Measured on the calibration
    data; a heuristic, as steps are never taken back. Every step measures as many plans as there are layers.

    Raises:
        QuantError: for no candidates, those that do not fit a layer, an unknown measure, and no number as budget.
    """
    name, budget = as_choice(measure, MEASURES, "measure"), as_budget(budget_bytes)
    return _steps_down(network, _by_size(network, _candidates(candidates)), budget, name)


def best_steps(steps: Sequence[SearchStep], measure: str = "loss") -> list[SearchStep]:
    """Return the steps of which no other is both as small and measured as well: their Pareto list, by rising bytes.

    Raises:
        QuantError: for an unknown measure.
    """
    of, found = MEASURES[as_choice(measure, MEASURES, "measure")], list[SearchStep]()
    listed = as_list(steps, SearchStep, "steps", "greedy_search() gives them")
    for step in sorted(listed, key=lambda step: (step.size_bytes, of(step.measured))):
        if not found or of(step.measured) < of(found[-1].measured):
            found.append(step)
    return found


def _by_size(network: Network, candidates: Sequence[QuantizerSpec]) -> dict[str, list[tuple[int, QuantizerSpec]]]:
    """Return each layer's candidates with their bytes, the largest first; of equal sizes the first one alone."""
    found = {}
    for name, sizes in zip(_searched(network), layer_sizes(network, candidates), strict=True):
        distinct, first = np.unique(sizes, return_index=True)
        found[name] = [(int(distinct[i]), candidates[first[i]]) for i in reversed(range(len(distinct)))]
    return found


def _steps_down(
    network: Network,
    ladders: Mapping[str, list[tuple[int, QuantizerSpec]]],
    budget_bytes: float,
    measure: str,
) -> Iterator[SearchStep]:
    def step(changed: str | None, rungs: Mapping[str, int]) -> SearchStep:
        chosen = [ladders[name][rung] for name, rung in rungs.items()]
        choices = _choices(network, (spec for _, spec in chosen))
        return SearchStep(changed, choices, sum(size for size, _ in chosen), effect(network, weight_plan(choices)))

    rungs = dict.fromkeys(ladders, 0)
    now, of = step(None, rungs), MEASURES[measure]
    _known(network, measure, now.measured)
    yield now
    while now.size_bytes > budget_bytes:
        before = now
        nexts = [
            step(name, {**rungs, name: rungs[name] + 1}) for name in ladders if rungs[name] + 1 < len(ladders[name])
        ]
        if not nexts:
            return
        now = min(
            nexts,
            key=lambda after: (of(after.measured) - of(before.measured)) / (before.size_bytes - after.size_bytes),
        )
        rungs[str(now.changed)] += 1
        yield now


MEASURES: dict[str, Measure] = {  # each the less, the better
    "loss": lambda found: found.loss,
    "divergence": lambda found: found.divergence,
    "score": lambda found: found.score.value if found.score.better == "lower" else -found.score.value,
    "output error": lambda found: 10 ** (-found.sqnr_db / 10),
}
COSTS: dict[str, Cost] = {
    **{name: _measured(name) for name in ("divergence", "loss", "score", "output error")},
    "predicted loss": _predicted_loss,
    "predicted error": _predicted_error,
}
