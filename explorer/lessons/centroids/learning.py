"""Lloyd's iteration on a lesson's tensor: its starts, every step of it, and the least error there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.lessons.centroids.codebooks import CLIPPED
from explorer.lessons.framework.scene import Placed, Scene
from explorer.tensors import Subject
from quant_engine import fit
from quant_engine.distribution import LloydStep, linear_start, lloyd_steps, plus_plus_start, quantile_start

MAX_STEPS = 5000
MAX_CENTROIDS = 32
LARGEST = 3.0e38
BETWEEN = "_"  # centroids in an address
BY_HAND, RANDOM = "by hand", "k-means++"

Array = NDArray[np.float64]

STARTS: dict[str, Callable[[Subject, int, int], Array]] = {
    "min–max": lambda subject, k, seed: linear_start(subject.statistics.lo, subject.statistics.hi, k),
    "clipped": lambda subject, k, seed: _clipped_start(subject, k),
    "quantiles": lambda subject, k, seed: quantile_start(subject.values, k),
    RANDOM: lambda subject, k, seed: plus_plus_start(subject.values, k, np.random.default_rng(seed)),
}
OPENING = Placed("min–max", 0, 0, (), 9)


@dataclass(frozen=True, eq=False)
class Run:
    """Lloyd's iteration from a start to its end."""

    steps: tuple[LloydStep, ...]

    @property
    def last(self) -> int:
        """The number of the last step."""
        return len(self.steps) - 1

    @property
    def end(self) -> LloydStep:
        """Where it stops."""
        return self.steps[-1]


def run_of(scene: Scene) -> Run:
    """Return every step from the scene's start."""
    subject, placed, k = scene.subject, scene.placed or OPENING, levels_of(scene)

    def learned() -> Run:
        steps = lloyd_steps(subject.statistics, start_of(subject, k, placed))
        return Run(tuple(itertools.islice(steps, MAX_STEPS + 1)))

    start = (placed.hand,) if usable_hand(placed, k) else (placed.start, placed.seed)
    return compute.kept(ResultKey("lloyd", subject.key, k, *start), learned)


def optimum_of(scene: Scene) -> LloydStep:
    """Return the codebook with the least error of all, and what it does."""
    shown, k = scene.subject.statistics, levels_of(scene)
    key = ResultKey("optimum", scene.subject.key, k)
    return compute.kept(key, lambda: next(lloyd_steps(shown, shown.lloyd_max(k))))


def start_of(subject: Subject, k: int, placed: Placed) -> Array:
    """Return where Lloyd's iteration starts; a hand that has placed no k centroids leaves them evenly spread."""
    if usable_hand(placed, k):
        return np.array(placed.hand)
    return STARTS.get(placed.start, STARTS[OPENING.start])(subject, k, placed.seed)


def usable_hand(placed: Placed, k: int) -> bool:
    """Say whether the start is by hand, for k centroids."""
    return placed.start == BY_HAND and len(placed.hand) == k


def levels_of(scene: Scene) -> int:
    """Return how many levels a code of the scene's width can name."""
    return 1 << int(scene.spec.format.bits)


def now(scene: Scene) -> LloydStep:
    """Return the step on display."""
    run = run_of(scene)
    return run.steps[min((scene.placed or OPENING).steps, run.last)]


def means_of(subject: Subject, thresholds: Array) -> Array:
    """Return the mean of every bucket, NaN where it is empty."""
    below = np.concatenate([np.zeros((1, 3)), subject.statistics.sums_below(np.nextafter(thresholds, np.inf))])
    count, total, _ = np.diff(below, axis=0).T
    means: Array = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return means


def read_hand(text: str) -> tuple[float, ...]:
    """Read centroids from an address.

    >>> read_hand("-0.5_0.25"), read_hand("")
    ((-0.5, 0.25), ())

    Raises:
        ValueError: for text that is no ascending numbers.
    """
    found = tuple(float(part) for part in text.split(BETWEEN)) if text else ()
    if len(found) > MAX_CENTROIDS or not all(abs(one) <= LARGEST for one in found) or list(found) != sorted(found):
        raise ValueError(text)
    return found


def write_hand(centroids: tuple[float, ...]) -> str:
    """Write centroids for an address, six figures each.

    >>> write_hand((-0.5, 0.25))
    '-0.5_0.25'
    """
    return BETWEEN.join(f"{centroid:.6g}" for centroid in centroids)


def _clipped_start(subject: Subject, k: int) -> Array:
    """Return the levels of integers with the least-error range."""
    spec = CLIPPED.spec((k - 1).bit_length())
    return fit(subject.values, spec).levels().astype(np.float64)
