"""What parts of a plan do to what a task measures, each measured once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from quant_engine.checks import as_instance
from quant_engine.execution import LayerChange, layer_changes
from quant_engine.inputs import Float32Array
from quant_engine.models import layer_of
from quant_engine.network import Network
from quant_engine.network.freezing import PLAN_REMEDY
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizerSpec
from quant_engine.tasks import Score
from quant_engine.tasks.comparison import DIVERGENCE, LOSS
from quant_engine.tasks.next_token import LOG_RATIO, MEAN_DIVERGENCE
from quant_engine.tasks.score import difference

TOGETHER = ""  # no layer's name

Scores = Mapping[str, Score]
AttributionKey = tuple[str, str, str, int | None]  # split, layer, its plan, draw of noise
Kept = MutableMapping[AttributionKey, Scores]
Changes = Mapping[str, LayerChange]


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
        return found if found is not None else self.lost

    @property
    def lost(self) -> Score:
        """How much of the score is lost: its change with the sign that makes more worse."""
        return lost(self.change)


class PlanParts:
    """Measures parts of one plan, all other layers in floating point; layers that share a weight are one part.

    Attributes:
        layers: the names of each part's layers, by the one that holds their weight.
    """

    def __init__(self, network: Network, plan: QuantizationPlan, split: str | None, kept: Kept | None) -> None:
        """Freeze the plan; the split is by default that of calibration, or the first there is."""
        self._network, self._task = as_instance(network, Network, "network", "load() gives one"), network.given_task
        as_instance(plan, QuantizationPlan, "plan", PLAN_REMEDY)
        self._split = split or ("calibration" if "calibration" in self._task.splits else min(self._task.splits))
        self._kept: Kept = {} if kept is None else kept
        self._frozen = network.freeze(plan)
        self.layers: dict[str, list[str]] = {}
        for name in plan.layers:
            self.layers.setdefault(network.layers()[name].tied_to or name, []).append(name)

    @cached_property
    def plain(self) -> Scores:
        """All scores in floating point, by name."""
        return self._scores("", "", None, None)

    def damage(self, parts: Iterable[str], changes: Changes | None = None) -> Damage:
        """Return what some parts do together; `changes` are theirs, for a caller who has them already."""
        names = [*parts]
        plan = self._part(names)
        label = names[0] if len(names) == 1 else TOGETHER
        return self._damage(label, plan, None, self.changes(names) if changes is None else changes)

    def noisy(self, part: str, draw: int) -> Damage:
        """Return what a draw of noise does in the place of a part's error."""
        changes = {name: self._with_noise(name, change, draw) for name, change in self.changes([part]).items()}
        return self._damage(part, self._part([part]), draw, changes)

    def changes(self, parts: Iterable[str]) -> dict[str, LayerChange]:
        """Return what the plan changes in some parts, by layer."""
        return layer_changes(self._network.model, self._part(parts))

    def _part(self, parts: Iterable[str]) -> QuantizationPlan:
        return QuantizationPlan({name: self._frozen[name] for part in parts for name in self.layers[part]})

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

    def _damage(self, layer: str, part: QuantizationPlan, draw: int | None, changes: Changes) -> Damage:
        found = self._scores(layer, part.key, draw, changes)
        name, score = next(iter(found.items()))
        loss = difference(found[LOSS], self.plain[LOSS]) if LOSS in found else found.get(LOG_RATIO)
        return Damage(
            score,
            difference(score, self.plain[name]),
            loss,
            found.get(DIVERGENCE) or found.get(MEAN_DIVERGENCE),
        )

    def _scores(self, layer: str, key: str, draw: int | None, changes: Changes | None) -> Scores:
        place = self._split, layer, key, draw
        if place not in self._kept:
            alone = None if layer == TOGETHER else [name for part in self.layers.values() for name in part]
            results = self._network.changed_results(changes, self._split, following=alone)
            self._kept[place] = self._task.scores(results)
        return self._kept[place]


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


def lost(change: Score) -> Score:
    """Return a change of a score with the sign that makes more worse."""
    if change.better == "lower":
        return change
    low, high = change.interval
    samples = None if change.samples is None else -change.samples
    return Score(change.name, -change.value, change.n, (-high, -low), change.unit, "lower", samples)
