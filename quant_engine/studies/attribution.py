"""Which layers do the damage: each quantized alone, all the others in floating point.

The float outputs are computed once, and a changed layer costs only what lies behind it, because what the layers before
it give is kept (`execution.prefix`). What a layer does alone says nothing about leaving it out of a broken whole, which
is another question: there, mending one layer may even make it worse.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from quant_engine.checks import as_list
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.studies.damage import TOGETHER, Damage, Kept, PlanParts, Scores
from quant_engine.tasks import Score
from quant_engine.tasks.score import mean, ratio

DRAWS = 5


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
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> plan = QuantizationPlan.of(network.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(3)))})
        >>> *steps, found = attribute(network, plan)
        >>> max(found.alone, key=lambda layer: found.alone[layer].measure.value), len(steps)
        ('conv1', 6)
    """
    study = PlanParts(network, plan, split, kept)
    noisy = as_list(noise, str, "noise", "give names of layers")
    if unknown := [name for name in noisy if name not in study.layers]:
        raise QuantError(f"noise names {', '.join(unknown)}; the plan's weights are those of {', '.join(study.layers)}")
    total = len(study.layers) + 1 + DRAWS * len(noisy)
    alone: dict[str, Damage] = {}
    drawn: dict[str, EqualNoise] = {}
    for layer in study.layers:
        alone[layer] = study.damage([layer])
        yield Attributed(layer, None, alone[layer], len(alone), total)
    together = study.damage(study.layers)
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
