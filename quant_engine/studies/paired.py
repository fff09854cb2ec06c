"""Two plans, or two networks, on the same samples: which of them one gets right and the other wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, as_integer
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.tasks import LogitsTask, Result, Score, Task
from quant_engine.tasks.score import difference


@dataclass(frozen=True)
class Flip:
    """A sample that one gets right and the other wrong.

    Attributes:
        sample: its place in the split: of a row of logits, or of what the first score counts.
        right: the class that is right; None where the task knows no classes.
        predicted: the classes predicted before and after.
        margins: before and after, the logit of the right class less the largest other one; NaN without logits.
    """

    sample: int
    right: int | None = None
    predicted: tuple[int, int] | None = None
    margins: tuple[float, float] = (math.nan, math.nan)

    @property
    def moved(self) -> float:
        """How far the margin has moved."""
        return self.margins[1] - self.margins[0]


@dataclass(frozen=True, eq=False)
class PairedComparison:
    """What changes from one plan to another, on the same samples.

    Attributes:
        before: all scores of the first, by name.
        after: all scores of the second.
        changes: how much each has changed, after − before, with the interval of paired samples where they are kept.
        fixed: samples that were wrong and are right; those first whose margin has moved most.
        broken: samples that were right and are wrong, in the same order.
        p_value: of McNemar's exact test; None where no sample is right or wrong.
    """

    before: Mapping[str, Score]
    after: Mapping[str, Score]
    changes: Mapping[str, Score]
    fixed: tuple[Flip, ...] = ()
    broken: tuple[Flip, ...] = ()
    p_value: float | None = None


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947): min(1, 2·P(B ≤ min(fixed, broken))).

    B is binomial with fixed + broken trials of probability ½: what chance alone would do to samples that differ.

    Raises:
        QuantError: for negative counts.

    Example:
        >>> mcnemar(0, 0), mcnemar(10, 0), round(mcnemar(8, 3), 4)
        (1.0, 0.001953125, 0.2266)
    """
    one, other = as_integer(fixed, "fixed", 0), as_integer(broken, "broken", 0)
    n, least = one + other, min(one, other)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def compare_paired(
    network: Network,
    before: QuantizationPlan | None,
    after: QuantizationPlan | None,
    split: str = "test",
    other: Network | None = None,
) -> PairedComparison:
    """Return what changes from a plan to another, None for floating point; with `other`, from a network to another.

    Both run on the same samples. Right and wrong are of each row of logits where the task knows the classes that are
    right, and else what its first score counts.

    Raises:
        QuantError: as `Network.evaluate`, and for an `other` that is measured on other data.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> plan = QuantizationPlan({"conv3": LayerPlan(QuantizerSpec(IntFormat(3)))})
        >>> found = compare_paired(network, None, plan, "calibration")
        >>> len(found.fixed) - len(found.broken) == found.after["accuracy"].correct - found.before["accuracy"].correct
        True
    """
    first = as_instance(network, Network, "network", "load() gives one")
    second = first if other is None else as_instance(other, Network, "other", "load() gives one")
    task = first.given_task
    if second.given_task.key != task.key:
        raise QuantError(f"{first.name} and {second.name} are measured on different data; open both with the same data")
    sides = [_Side(task), _Side(task)]
    before_scores, after_scores = (
        task.scores(side.watched(one.results(plan, split, task.compares)))
        for side, one, plan in zip(sides, (first, second), (before, after), strict=True)
    )
    changes = {name: difference(score, before_scores[name]) for name, score in after_scores.items()}
    hits = _hits(sides, before_scores, after_scores)
    if hits is None:
        return PairedComparison(before_scores, after_scores, changes)
    was, now = hits
    fixed, broken = (_flips(sides, np.flatnonzero(places)) for places in (~was & now, was & ~now))
    return PairedComparison(before_scores, after_scores, changes, fixed, broken, mcnemar(len(fixed), len(broken)))


@dataclass
class _Side:
    """Gathers what one predicts, and by how much, from batches on their way to the task."""

    task: Task
    rows: list[tuple[NDArray[np.int64], NDArray[np.int64], Float64Array]] = field(default_factory=list)

    def watched(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            if isinstance(self.task, LogitsTask):
                logits = self.task.logits(result.batch, result.outputs)
                if logits.classes is not None:
                    self.rows.append(_margins(logits.values, logits.classes))
            yield result

    @property
    def found(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Float64Array]:
        """Classes that are right, those predicted, and margins, all (rows,)."""
        right, predicted, margins = (np.concatenate(parts) for parts in zip(*self.rows, strict=True))
        return right, predicted, margins


def _margins(
    logits: NDArray[np.floating], classes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Float64Array]:
    """Return classes, predictions and margins of rows of logits."""
    rows = np.arange(len(classes))
    own = logits[rows, classes].astype(np.float64)
    others = logits.copy()
    others[rows, classes] = -np.inf
    return classes, logits.argmax(axis=1), own - others.max(axis=1)


def _hits(
    sides: list[_Side], before: Mapping[str, Score], after: Mapping[str, Score]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return which samples are right before and after, None where nothing is right or wrong."""
    if all(side.rows for side in sides):
        (right, was, _), (_, now, _) = (side.found for side in sides)
        return was == right, now == right
    samples = [next(iter(scores.values())).samples for scores in (before, after)]
    if any(one is None or not np.isin(one, (0, 1)).all() for one in samples):
        return None
    was_right, now_right = (np.asarray(one) > 0 for one in samples)
    return was_right, now_right


def _flips(sides: list[_Side], places: NDArray[np.int64]) -> tuple[Flip, ...]:
    """Return the flips at some places, those first whose margin has moved most."""
    if not all(side.rows for side in sides):
        return tuple(Flip(int(place)) for place in places)
    (right, was, margin), (_, now, moved) = (side.found for side in sides)
    found = [
        Flip(int(at), int(right[at]), (int(was[at]), int(now[at])), (float(margin[at]), float(moved[at])))
        for at in places
    ]
    return tuple(sorted(found, key=lambda flip: -abs(flip.moved)))
