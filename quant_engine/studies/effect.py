"""What a plan does to a network's outputs: its score, its loss, and how far the outputs moved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import Outputs
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.tasks import Batch, Comparison, LogitsTask, Result, Score, Task, cross_entropy


class Effect(NamedTuple):
    """How a network does under a plan, with outputs z (floating point) and ẑ (under the plan).

    `score` is the task's first. `loss` is the mean cross entropy, −1/n Σ log q[class]; `divergence` the mean KL
    divergence Σ p log(p/q) in nats of the plan's probabilities q from the floating-point ones p. They are NaN where the
    task knows no classes, or no logits. `sqnr_db` is 10·log10(Σ z²/Σ (z − ẑ)²), infinite where nothing moved; of the
    logits, or of all real outputs where the task knows none.
    """

    score: Score
    loss: float
    divergence: float
    sqnr_db: float


def effect(network: Network, plan: QuantizationPlan | None = None, split: str = "calibration") -> Effect:
    """Return score and loss under a plan, and how far the outputs moved from floating point.

    Raises:
        QuantError: as `Network.evaluate`.

    Example:
        >>> from quant_engine.network import load
        >>> print(effect(load("fashion-cnn")).score)
        accuracy 0.9375 (95 %: 0.9131 to 0.9554, n = 512)
    """
    task = network.given_task
    change = _Change(task)
    score = next(iter(task.scores(change.watched(network.results(plan, split))).values()))
    return Effect(score, change.loss, change.divergence, change.sqnr_db)


def divergences(network: Network, plan: QuantizationPlan | None, split: str = "calibration") -> Float64Array:
    """Return KL(p‖q) of each row of logits, Σ p·log(p/q) in nats, (rows,): p in floating point, q under a plan.

    Their mean is an effect's `divergence`; row by row, two plans can be compared on the same data.

    Raises:
        QuantError: as `Network.evaluate`, and for a task that does not know which outputs are logits.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> plan = QuantizationPlan({"fc2": LayerPlan(QuantizerSpec(IntFormat(4)))})
        >>> found = divergences(load("fashion-cnn"), plan)
        >>> found.shape, bool((found > -1e-12).all())
        ((512,), True)
    """
    task, moved = network.given_task, Comparison()
    if not isinstance(task, LogitsTask):
        raise QuantError(f"a task of {type(task).__name__} knows no logits, so outputs have no KL divergence")
    for batch, outputs, plain in network.results(plan, split):
        before, after = (task.logits(batch, given).values for given in (plain, outputs))
        moved.add(before, after)
    return moved.divergences


class _Change:
    """Gathers loss and change of the outputs of batches on their way to the task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._losses: list[Float64Array] = []
        self._moved = Comparison()
        self._signal = self._noise = 0.0

    def watched(self, results: Iterator[Result]) -> Iterator[Result]:
        """Yield results, compared with floating point only if the task's first score needs that."""
        for batch, outputs, plain in results:
            assert plain is not None
            self._add(batch, plain, outputs)
            yield Result(batch, outputs, plain if self._task.compares else None)

    def _add(self, batch: Batch, plain: Outputs, outputs: Outputs) -> None:
        if not isinstance(self._task, LogitsTask):
            self._add_squares(_real(plain), _real(outputs))
            return
        before, after = (self._task.logits(batch, given) for given in (plain, outputs))
        self._moved.add(before.values, after.values)
        self._add_squares([before.values], [after.values])
        if after.classes is not None:
            self._losses.append(cross_entropy(after.values, after.classes))

    def _add_squares(self, plain: list[NDArray[Any]], outputs: list[NDArray[Any]]) -> None:
        for z, changed in zip(plain, outputs, strict=True):
            self._signal += float(np.square(z, dtype=np.float64).sum())
            self._noise += float(np.square(z - changed.astype(np.float64)).sum())

    @property
    def loss(self) -> float:
        return float(np.concatenate(self._losses).mean()) if self._losses else math.nan

    @property
    def divergence(self) -> float:
        return math.nan if self._moved.empty else float(self._moved.divergences.mean())

    @property
    def sqnr_db(self) -> float:
        with np.errstate(divide="ignore"):
            return float(10 * np.log10(self._signal / self._noise)) if self._noise else math.inf


def _real(outputs: Outputs) -> list[NDArray[Any]]:
    arrays = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    return [array for array in arrays if array.dtype.kind == "f"]
