"""One method of compensation on its way: what it is doing, and what accuracy its plans have reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from explorer.lessons.framework.model import goodness
from quant_engine import IntFormat, MinMSE, PerChannel, PerTensor, QuantizationPlan, QuantizerSpec
from quant_engine.granularity import Granularity
from quant_engine.methods import Setting, compensate
from quant_engine.network import Network, Score
from quant_engine.steps import scaled

SCORING = 0.25  # most time for scoring plans on the way, in units of the method's own
GRANULARITIES: dict[str, Granularity] = {"channel": PerChannel(), "layer": PerTensor()}
NEAREST, CLIPPED = "nearest", "clipped"


@dataclass(frozen=True, eq=False)
class Lap:
    """A method after `done` of `total` steps and `seconds` of its own work.

    `accuracy` is that of its plan on the test data, where that was measured; the last lap has its `plan`.
    `scoring` says that the method is through and its plan is being measured.
    """

    done: int
    total: int
    doing: str
    seconds: float
    loss: float | None = None
    accuracy: Score | None = None
    plan: QuantizationPlan | None = None
    scoring: bool = False


def setting_of(bits: int, activation_bits: int | None, granularity: str, seed: int = 0) -> Setting:
    """Return the setting that all methods of a race share: symmetric weights, activations from 0 bits None in floats.

    Ranges are those of the least squared error, for whichever method leaves the choice to the setting.
    """
    weight = QuantizerSpec(IntFormat(bits), GRANULARITIES[granularity], clipping=MinMSE())
    if activation_bits is None:
        return Setting(weight, None, seed)
    form = IntFormat(activation_bits, signed=False)
    return Setting(weight, QuantizerSpec(form, symmetric=False, clipping=MinMSE()), seed)


def laps(
    network: Network, method: str, setting: Setting, clock: Callable[[], float] = time.monotonic
) -> Generator[Lap, None, None]:
    """Run a method, and score its plans on the test data: the last one always, others as far as time allows.

    Nothing is chosen by these scores. To stop, close the generator.
    """
    own = scoring = 0.0
    last, scored = None, None
    with closing(_generator(network, method, setting)) as stages:
        while True:
            begun = clock()
            stage = next(stages, None)
            own += clock() - begun
            if stage is None:
                break
            lap = Lap(stage.done, stage.total, stage.doing, own, stage.loss)
            if stage.plan is not None:
                last, scored = replace(lap, plan=stage.plan), None
                if scoring <= SCORING * own:
                    scored, taken = _score(network, stage.plan, clock)
                    scoring += taken
                    lap = replace(lap, accuracy=scored)
            yield lap
    assert last is not None, f"{method} came to no plan"
    if scored is None:
        yield replace(last, plan=None, seconds=own, scoring=True)
        assert last.plan is not None
        scored, _ = _score(network, last.plan, clock)
    yield replace(last, seconds=own, accuracy=scored)


def _generator(network: Network, method: str, setting: Setting) -> Generator[Any, None, None]:
    yield from compensate(network, method, setting)


def _score(network: Network, plan: QuantizationPlan, clock: Callable[[], float]) -> tuple[Score, float]:
    begun = clock()
    return network.evaluate(plan), clock() - begun


@dataclass(frozen=True, eq=False)
class Baselines:
    """What every method is measured against: floating point, and rounding to nearest in whole and in clipped ranges."""

    plain: Score
    nearest: Lap
    clipped: Lap

    @property
    def lost(self) -> float:
        """What plain rounding loses."""
        return goodness(self.plain) - goodness(accuracy_of(self.nearest))

    def regained(self, accuracy: Score) -> float | None:
        """Return the share of what plain rounding loses that another accuracy wins back; None where nothing is lost."""
        return (goodness(accuracy) - goodness(accuracy_of(self.nearest))) / self.lost if self.lost > 0 else None


def baselines(network: Network, setting: Setting) -> Generator[float, None, Baselines]:
    """Yield about how much is done, and return the baselines of a setting."""
    plain = network.evaluate()
    yield 1 / 5
    nearest = yield from scaled(_baseline(network, NEAREST, setting), 1 / 5, 2 / 5)
    yield 3 / 5
    clipped = yield from scaled(_baseline(network, CLIPPED, setting), 3 / 5, 2 / 5)
    return Baselines(plain, nearest, clipped)


def _baseline(network: Network, method: str, setting: Setting) -> Generator[float, None, Lap]:
    begun = time.monotonic()
    *_, last = compensate(network, method, setting)
    seconds = time.monotonic() - begun
    yield 1 / 2
    return Lap(last.done, last.total, last.doing, seconds, last.loss, network.evaluate(last.plan), last.plan)


def accuracy_of(lap: Lap) -> Score:
    """Return the accuracy of a lap that has one."""
    assert lap.accuracy is not None
    return lap.accuracy
