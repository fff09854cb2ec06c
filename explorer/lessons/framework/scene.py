"""What a laboratory has on display: one tensor under one spec, with the value that is followed through it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.results import BlockView, Outcome, outcome_of, view_of
from explorer.sources import ModelKey
from explorer.tensors import Subject
from quant_engine import Quantizer, QuantizerSpec, fit

if TYPE_CHECKING:
    from explorer.lessons.compensation.shown import Compensated

STOCHASTIC = "stochastic"


@dataclass(frozen=True)
class Held:
    """A number, as text, and the name of the format that holds it; `point` bits of fixed point are behind its point."""

    format: str
    number: str
    point: int


@dataclass(frozen=True)
class Placed:
    """Where centroids stand: how Lloyd's iteration starts, how many steps it has taken, and which bucket is picked out.

    `hand` are the centroids that a hand has placed, ascending, for the start that is called so.
    """

    start: str
    seed: int
    steps: int
    hand: tuple[float, ...]
    bucket: int


@dataclass(frozen=True)
class Mix:
    """Bits for each layer of a network, what shares a scale, and the bits of the uniform plan that sets the budget.

    `layer` is the chosen one, or the one that holds its weight.
    """

    model: ModelKey
    layer: str
    shared: str
    uniform: int
    bits: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Looked:
    """A block of the tensor that is looked into: its number and what is drawn of it.

    `edited` says that blocks have ranges of their own, set by hand.
    """

    block: int
    view: BlockView
    edited: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """A tensor quantized as a whole; `place` says which value is followed, in per cent of the tensor's span.

    `held` is a number whose bits are looked into, `placed` says where centroids stand, `looked` is a block that is
    looked into, `compensated` what is known of methods that win accuracy back, and `mix` how many bits each layer of a
    network has, where a laboratory does so.
    """

    subject: Subject
    spec: QuantizerSpec
    place: int = 50
    held: Held | None = None
    placed: Placed | None = None
    looked: Looked | None = None
    compensated: Compensated | None = None
    mix: Mix | None = None

    @property
    def key(self) -> str:
        """What is on display, for caches and for answers that must not outlive it."""
        compensated = self.compensated and self.compensated.key
        return str(ResultKey("scene", self.subject.key, self.spec, self.place, self.placed, compensated, self.mix))

    @property
    def outcome(self) -> Outcome:
        """What the spec does to the tensor."""
        key = ResultKey("outcome", self.subject.key, self.spec)
        return compute.kept(key, lambda: outcome_of(self.subject.values, fit(self.subject.values, self.spec)))

    @property
    def view(self) -> BlockView:
        """What is drawn."""
        key = ResultKey("view", self.subject.key, self.spec)
        return compute.kept(key, lambda: view_of(self.subject.values, self._drawn, self.subject.statistics))

    @property
    def _drawn(self) -> Quantizer:
        """The quantizer whose buckets are drawn: those of stochastic rounding have no edges, so the nearest ones."""
        found = self.outcome.quantizer
        if self.spec.rounding != STOCHASTIC:
            return found
        return Quantizer(replace(self.spec, rounding="nearest"), found.scale, found.zero_point)

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self.outcome.report.mse

    @property
    def r(self) -> float:
        """The value that is followed, four figures long."""
        low, high = self.subject.statistics.lo, self.subject.statistics.hi
        return float(np.float32(f"{low + (high - low) * self.place / 100:.4g}"))

    @property
    def code(self) -> int:
        """The code of the value that is followed."""
        return int(self.outcome.quantizer.encode(np.array([self.r], np.float32)).codes[0])

    @property
    def r_hat(self) -> float:
        """What comes back for the value that is followed."""
        return self.value_of(self.code)

    def value_of(self, code: int) -> float:
        """Return the value a code stands for, saturated at the ends of the codes."""
        form = self.spec.format
        return float(self.view.levels[min(max(code, form.qmin), form.qmax) - form.qmin])

    def under(self, spec: QuantizerSpec) -> Scene:
        """Return the same tensor and value under another spec."""
        return Scene(self.subject, spec, self.place)

    def sample(self, size: int) -> NDArray[np.float32]:
        """Return values of the tensor at even ranks, the least and the greatest among them."""
        return compute.kept(ResultKey("sample", self.subject.key, size), lambda: self._sample(size))

    def _sample(self, size: int) -> NDArray[np.float32]:
        ordered = np.sort(self.subject.values)
        chosen: NDArray[np.float32] = ordered[np.linspace(0, ordered.size - 1, min(size, ordered.size)).astype(int)]
        return chosen


def nearest_step(ratio: float, steps: dict[str, float]) -> str:
    """Return the name of the step that a ratio is nearest to, on a logarithmic scale.

    >>> nearest_step(4.6, {"same": 1, "double": 2, "four": 4, "sixteen": 16})
    'four'
    """
    if not 0 < ratio < math.inf:
        return max(steps, key=lambda name: steps[name]) if ratio else min(steps, key=lambda name: steps[name])
    return min(steps, key=lambda name: abs(math.log(ratio / steps[name])))
