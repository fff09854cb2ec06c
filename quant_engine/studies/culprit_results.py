"""What the search for the layers that a lost score is to blame on measures and finds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

from quant_engine.studies.damage import Damage
from quant_engine.tasks import Score
from quant_engine.tasks.score import Z_95

Phase = Literal["alone", "forward", "blame", "mend"]
Verdict = Literal["nothing", "layer", "set", "gradual"]


class CulpritStep(NamedTuple):
    """One measurement: `layers` are quantized, `layer` is the one it is about; `total` is an estimate."""

    phase: Phase
    layer: str
    layers: tuple[str, ...]
    damage: Damage
    done: int
    total: int


@dataclass(frozen=True)
class Fall:
    """A step forward at which the score fell.

    Attributes:
        layer: the layer that was quantized.
        lost: how much of the score that step lost, with the interval of paired samples.
        alone: how much it loses by itself.
        together_with: the layers without which most of the fall does not happen; none where it falls by itself.
    """

    layer: str
    lost: Score
    alone: Score
    together_with: tuple[str, ...]


@dataclass(frozen=True)
class Mend:
    """What a plan does with some layers spared.

    Attributes:
        layers: the layers that are spared, most to blame first.
        in_float: what the plan does with them in floating point.
        in_eight_bits: with them in 8 bits; None where the plan gives them as many or more.
        mended: whether in floating point the score is within its interval of that of the whole model.
    """

    layers: tuple[str, ...]
    in_float: Damage
    in_eight_bits: Damage | None

    @property
    def mended(self) -> bool:
        """Whether the score with the layers in floating point is within the interval of the whole model's."""
        return not is_lost(self.in_float.lost)

    @property
    def mended_in_eight_bits(self) -> bool:
        """Whether 8 bits bring it as far."""
        return self.in_eight_bits is not None and not is_lost(self.in_eight_bits.lost)


@dataclass(frozen=True)
class Culprits:
    """What a plan's damage is to blame on.

    Attributes:
        order: the layers, the least damaging first; those that share a weight are one, named after it.
        alone: what each does by itself, where it was measured.
        curve: what the first 1, 2, … layers of the order do together; the last is the whole plan.
        falls: the steps of the curve at which the score fell, the deepest first.
        mend: what sparing the blamed layers brings; None where nothing is lost.
    """

    order: tuple[str, ...]
    alone: dict[str, Damage]
    curve: tuple[Damage, ...]
    falls: tuple[Fall, ...]
    mend: Mend | None

    @property
    def verdict(self) -> Verdict:
        """What the deepest fall is to blame on, a layer or a set; or that nothing is lost, or all of it gradually."""
        if self.mend is None:
            return "nothing"
        if not self.falls:
            return "gradual"
        return "set" if self.falls[0].together_with else "layer"


def is_lost(found: Score, looks: int = 1) -> bool:
    """Return whether a loss is more than its interval explains, widened for several looks (Bonferroni).

    >>> from quant_engine.tasks.score import Score
    >>> found = Score("accuracy", 0.02, 500, (0.001, 0.039))
    >>> is_lost(found), is_lost(found, looks=10)
    (True, False)
    """
    wider = NormalDist().inv_cdf(1 - 0.025 / looks) / Z_95
    return found.value - wider * (found.value - found.interval[0]) > 0
