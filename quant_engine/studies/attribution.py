"""Which layers do the damage: each quantized alone, all the others in floating point.

The float outputs are computed once, and a changed layer costs only what lies behind it, because what the layers before
it give is kept (`execution.prefix`). What a layer does alone says nothing about leaving it out of a broken whole, which
is another question: there, mending one layer may even make it worse.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from quant_engine.checks import as_instance, as_list
from quant_engine.errors import QuantError
from quant_engine.execution import LayerChange, layer_changes
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.models import layer_of
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizerSpec
from quant_engine.tasks import Score
from quant_engine.tasks.comparison import DIVERGENCE, LOSS
from quant_engine.tasks.next_token import LOG_RATIO, MEAN_DIVERGENCE
from quant_engine.tasks.score import difference, mean, ratio

DRAWS = 5
TOGETHER = ""  # no layer's name

Scores = Mapping[str, Score]
AttributionKey = tuple[str, str, str, int | None]  # split, layer, its plan, draw of noise
Kept = MutableMapping[AttributionKey, Scores]


@dataclass(frozen=True)
class Damage:
    """What a plan does to what a task measures, beside floating point on the same samples.

    Attributes:
        score: the task's first score under the plan.
        change: how much that has changed, sample by sample.
        loss: the rise of the cross entropy in nats; None where the task knows no classes.
        divergence: KL(float ‖ plan) in nats; None where the task knows no probabilities.
    """

    score: Score
    change: Score
    loss: Score | None
    divergence: Score | None

    @property
    def measure(self) -> Score:
        """What layers are compared by, more is worse: KL divergence, else the loss, else what the score has lost."""
        found = self.divergence or self.loss
        return found if found is not None else _lost(self.change)


@dataclass(frozen=True)
class EqualNoise:
    """What draws of noise do in the place of a layer's error, by the same measure."""

    draws: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        return float(np.mean(self.draws))

    @property
    def spread(self) -> float:
        """Standard deviation over the draws."""
        return float(np.std(self.draws, ddof=1))


@dataclass(frozen=True)
class Additivity:
    """The sum of what layers do alone, what they do together, and its ratio to the sum, with 95 % intervals.

    `ratio` is None where the sum does not differ from 0, or the samples of a score are not known.
    """

    total: Score | None
    together: Score
    ratio: Score | None


@dataclass(frozen=True)
class Attribution:
    """The damage of a plan, layer by layer.

    Attributes:
        plain: all scores in floating point, by name.
        alone: what each layer does that alone is quantized; layers that share a weight are one, named after it.
        together: what the whole plan does.
        noise: what noise of the same size does in the place of the weights' error, where that was asked for.
    """

    plain: Scores
    alone: Mapping[str, Damage]
    together: Damage
    noise: Mapping[str, EqualNoise]

    @property
    def additivity(self) -> Additivity:
        """Whether the damage of the layers adds up."""
        return additivity({layer: one.measure for layer, one in self.alone.items()}, self.together.measure)


class Attributed(NamedTuple):
    """One measurement: of a layer alone, of noise in its place (its `draw`), or of the whole plan, layer ''."""

    layer: str
    draw: int | None
    damage: Damage
    done: int
    total: int


def attribute(
    network: Network,
    plan: QuantizationPlan,
    split: str | None = None,
    noise: Iterable[str] = (),
    kept: Kept | None = None,
) -> Generator[Attributed | Attribution, None, None]:
    """Measure each layer of a plan alone, in the plan's order, then all together; the last item is the attribution.

    The split is by default that of calibration, or the first there is: test data stay unseen where there are others.
    For the layers named in `noise`, five draws of independent Gaussian noise with the norm of the weight's error in
    each block that shares a scale are measured as well: an error that does no more harm than they do is cured by finer
    steps alone. One measurement is made when the next is asked for. All are put into `kept`, a mapping for this one
    network, and taken from it where they are there, so that a caller can stop between two and go on later.

    Raises:
        QuantError: as `Network.freeze`, for a network without a task, and names in `noise` that the plan does not have.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> plan = QuantizationPlan.of(network.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(3)))})
        >>> *steps, found = attribute(network, plan)
        >>> max(found.alone, key=lambda layer: found.alone[layer].measure.value), len(steps)
        ('conv1', 6)
    """
    study = _Study(network, plan, split, {} if kept is None else kept)
    noisy = as_list(noise, str, "noise", "give names of layers")
    if unknown := [name for name in noisy if name not in study.layers]:
        raise QuantError(f"noise names {', '.join(unknown)}; the plan's weights are those of {', '.join(study.layers)}")
    total = len(study.layers) + 1 + DRAWS * len(noisy)
    alone: dict[str, Damage] = {}
    drawn: dict[str, EqualNoise] = {}
    for layer in study.layers:
        alone[layer] = study.alone(layer)
        yield Attributed(layer, None, alone[layer], len(alone), total)
    together = study.together()
    yield Attributed(TOGETHER, None, together, len(alone) + 1, total)
    for layer in noisy:
        draws: list[float] = []
        for draw in range(DRAWS):
            damage = study.noisy(layer, draw)
            draws.append(damage.measure.value)
            yield Attributed(layer, draw, damage, len(alone) + 1 + DRAWS * len(drawn) + len(draws), total)
        drawn[layer] = EqualNoise(tuple(draws))
    yield Attribution(study.plain, alone, together, drawn)


def additivity(alone: Mapping[str, Score], together: Score) -> Additivity:
    """Compare the sum of what layers do alone with what they do together, sample by sample."""
    parts = [score.samples for score in alone.values()]
    known = [part for part in parts if part is not None]
    if together.samples is None or not parts or len(known) < len(parts):
        return Additivity(None, together, None)
    summed: Float64Array = np.sum(known, axis=0)
    total = mean("sum", summed, together.unit)
    found = ratio("additivity", together.samples, summed) if total.interval[0] > 0 else None
    return Additivity(total, together, found)


def equal_noise(error: Float32Array, spec: QuantizerSpec, rng: np.random.Generator) -> Float32Array:
    """Return independent Gaussian noise with the norm of an error in each block that shares a scale under a spec.

    Example:
        >>> from quant_engine import IntFormat, PerChannel
        >>> error = np.array([[3, 4], [0, 0]], np.float32)
        >>> noise = equal_noise(error, QuantizerSpec(IntFormat(4), PerChannel(0)), np.random.default_rng(0))
        >>> np.linalg.norm(noise, axis=1).round(5).tolist()
        [5.0, 0.0]
    """
    grid = spec.granularity.blocks(error.shape)
    noise = rng.standard_normal(error.size)
    wanted, drawn = (
        np.add.reduceat(np.square(part, dtype=np.float64), grid.offsets[:-1]) for part in (grid.flatten(error), noise)
    )
    noise *= np.repeat(np.sqrt(wanted / drawn), np.diff(grid.offsets))
    return grid.restore(noise.astype(np.float32))


class _Study:
    """Measures parts of one frozen plan, each once."""

    def __init__(self, network: Network, plan: QuantizationPlan, split: str | None, kept: Kept) -> None:
        self._network, self._task = as_instance(network, Network, "network", "load() gives one"), network.given_task
        as_instance(plan, QuantizationPlan, "plan", "give QuantizationPlan({layer: LayerPlan(…)})")
        self._split = split or ("calibration" if "calibration" in self._task.splits else min(self._task.splits))
        self._kept = kept
        self._frozen = network.freeze(plan)
        self.layers: dict[str, list[str]] = {}
        for name in plan.layers:
            self.layers.setdefault(network.layers()[name].tied_to or name, []).append(name)
        self.plain = self._scores("", "", None, None)

    def alone(self, layer: str) -> Damage:
        part = self._part(layer)
        return self._damage(layer, part, None, self._changes(part))

    def together(self) -> Damage:
        if len(self.layers) == 1:
            return self.alone(*self.layers)
        return self._damage(TOGETHER, self._frozen, None, self._changes(self._frozen))

    def noisy(self, layer: str, draw: int) -> Damage:
        part = self._part(layer)
        changes = {name: self._with_noise(name, change, draw) for name, change in self._changes(part).items()}
        return self._damage(layer, part, draw, changes)

    def _part(self, layer: str) -> QuantizationPlan:
        return QuantizationPlan({name: self._frozen[name] for name in self.layers[layer]})

    def _changes(self, part: QuantizationPlan) -> dict[str, LayerChange]:
        return layer_changes(self._network.model, part)

    def _with_noise(self, name: str, change: LayerChange, draw: int) -> LayerChange:
        """Return a change with noise in the place of the weight's error; a weight that layers share has one noise."""
        planned = self._frozen[name].weight
        if change.weight is None or planned is None:
            return change
        spec = planned if isinstance(planned, QuantizerSpec) else planned.spec
        info = layer_of(self._network.model, name)
        weight = self._network.weight(name).reshape(info.matrix_shape)
        rng = np.random.default_rng([draw, *(info.tied_to or name).encode()])
        noisy = weight + equal_noise(change.weight.reshape(info.matrix_shape) - weight, spec, rng)
        return replace(change, key=f"{change.key}|noise {draw}", weight=noisy.reshape(info.shape))

    def _damage(
        self, layer: str, part: QuantizationPlan, draw: int | None, changes: Mapping[str, LayerChange]
    ) -> Damage:
        found = self._scores(layer, part.key, draw, changes)
        name, score = next(iter(found.items()))
        loss = difference(found[LOSS], self.plain[LOSS]) if LOSS in found else found.get(LOG_RATIO)
        return Damage(
            score,
            difference(score, self.plain[name]),
            loss,
            found.get(DIVERGENCE) or found.get(MEAN_DIVERGENCE),
        )

    def _scores(self, layer: str, key: str, draw: int | None, changes: Mapping[str, LayerChange] | None) -> Scores:
        place = self._split, layer, key, draw
        if place not in self._kept:
            results = self._network.changed_results(changes, self._split)
            self._kept[place] = self._task.scores(results)
        return self._kept[place]


def _lost(change: Score) -> Score:
    """Return a change of a score with the sign that makes more worse."""
    if change.better == "lower":
        return change
    low, high = change.interval
    samples = None if change.samples is None else -change.samples
    return Score(change.name, -change.value, change.n, (-high, -low), change.unit, "lower", samples)
