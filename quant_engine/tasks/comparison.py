"""How far outputs under a plan are from those in floating point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array
from quant_engine.tasks.score import Score, mean, share_of, sqnr

LOSS, DIVERGENCE = "loss", "KL divergence"  # the names of their scores
SUM_TOLERANCE = 1e-3  # of probabilities
CHUNK_VALUES = 1 << 22  # held in float64 at once


class Comparison:
    """Gathers how outputs changed, vector by vector, without keeping them.

    These are KL(p‖q) = Σ p·(log p − log q) of the softmax, whether the largest value is the same one, and the squares
    of the outputs and of their change.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._divergences: list[Float64Array] = []
        self._signal: list[Float64Array] = []
        self._noise: list[Float64Array] = []
        self._same: list[NDArray[np.bool_]] = []

    def add(self, plain: NDArray[np.floating], outputs: NDArray[np.floating]) -> None:
        """Take outputs (vectors, classes) in floating point and under the plan.

        Raises:
            QuantError: for unequal shapes.
        """
        if plain.shape != outputs.shape:
            raise QuantError(f"outputs have shape {outputs.shape}, in floating point {plain.shape}; they must be alike")
        for rows in chunks(outputs):
            z, changed = plain[rows].astype(np.float64), outputs[rows].astype(np.float64)
            p, q = log_softmax(z), log_softmax(changed)
            self._divergences.append((np.exp(p) * (p - q)).sum(axis=1))
            self._signal.append(np.square(z).sum(axis=1))
            self._noise.append(np.square(z - changed).sum(axis=1))
            self._same.append(z.argmax(axis=1) == changed.argmax(axis=1))

    @property
    def empty(self) -> bool:
        """Whether nothing was compared."""
        return not self._divergences

    @property
    def divergences(self) -> Float64Array:
        """KL(floating point ‖ plan) of each vector, in nats."""
        return np.concatenate(self._divergences)

    def same_top(self, name: str) -> Score:
        """Return the share of vectors whose largest value is floating point's."""
        return share_of(name, np.concatenate(self._same))

    def scores(self) -> dict[str, Score]:
        """Return top-1 agreement, KL divergence and SQNR, or nothing if nothing was compared."""
        if self.empty:
            return {}
        found = [
            self.same_top("top-1 agreement"),
            mean(DIVERGENCE, self.divergences, "nats"),
            sqnr(np.concatenate(self._signal), np.concatenate(self._noise)),
        ]
        return {score.name: score for score in found}


def divergence(plain: NDArray[np.floating], outputs: NDArray[np.floating]) -> float:
    """Return the mean KL divergence in nats of outputs (vectors, classes) from those in floating point."""
    moved = Comparison()
    moved.add(plain, outputs)
    return float(moved.divergences.mean())


def cross_entropy(logits: NDArray[np.floating], targets: NDArray[Any]) -> Float64Array:
    """Return −log q[target] of each row, from logits (rows, classes)."""
    found = np.empty(len(targets), np.float64)
    for rows in chunks(logits):
        log_q = log_softmax(logits[rows])
        found[rows] = -log_q[np.arange(len(log_q)), targets[rows]]
    return found


def log_softmax(logits: NDArray[np.floating]) -> Float64Array:
    """Return log softmax along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    found: Float64Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def as_logits(outputs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return outputs (vectors, classes) as logits: of probabilities, as a softmax at a model's end gives, their log.

    Example:
        >>> as_logits(np.array([[0.5, 0.5], [1, 0]], np.float32)).round(2).tolist()
        [[-0.6899999976158142, -0.6899999976158142], [0.0, -87.33999633789062]]
    """
    if (outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, rtol=0, atol=SUM_TOLERANCE):
        logs: NDArray[np.floating] = np.log(np.maximum(outputs, np.finfo(np.float32).tiny))
        return logs
    return outputs


def vectors(outputs: Any) -> Any:
    """Return outputs (…, classes) as (vectors, classes).

    Raises:
        QuantError: for a single axis.
    """
    if outputs.ndim < 2:
        raise QuantError(f"outputs have shape {outputs.shape}; their last axis must be classes, of 2 axes or more")
    return outputs.reshape(-1, outputs.shape[-1])


def chunks(values: NDArray[np.floating]) -> Iterator[slice]:
    """Yield the rows of (vectors, classes), some at a time."""
    step = max(1, CHUNK_VALUES // max(values.shape[1], 1))
    for start in range(0, len(values), step):
        yield slice(start, start + step)
