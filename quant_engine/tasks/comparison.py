"""How far outputs under a plan are from those in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array
from quant_engine.kernels import softmax
from quant_engine.kernels.parallel import over_ranges
from quant_engine.tasks.score import Score, mean, share_of, sqnr

LOSS, DIVERGENCE = "loss", "KL divergence"  # the names of their scores
SUM_TOLERANCE = 1e-3  # of probabilities


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
        before, after = as_rows(plain, outputs)
        divergences, signal, noise = (np.empty(len(before), np.float64) for _ in range(3))
        same = np.empty(len(before), np.bool_)
        over_ranges(
            len(before),
            lambda start, stop: softmax.divergences(before, after, start, stop, divergences, signal, noise, same),
            before.size,
        )
        self._divergences.append(divergences)
        self._signal.append(signal)
        self._noise.append(noise)
        self._same.append(same)

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
    (rows,) = as_rows(logits)
    found = np.empty(len(rows), np.float64)
    over_ranges(len(rows), lambda start, stop: softmax.log_sums(rows, start, stop, found), rows.size)
    found -= rows[np.arange(len(rows)), targets]
    return found


def log_softmax(logits: NDArray[np.floating]) -> Float64Array:
    """Return log softmax along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    found: Float64Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def as_logits(outputs: Any) -> Any:
    """Return outputs (…, classes) as logits: of probabilities, as a softmax at a model's end gives, their log.

    Arrays, or torch's tensors with their gradients. Probabilities are not negative, and sum to 1 in every vector.

    Example:
        >>> as_logits(np.array([[0.5, 0.5], [1, 0]], np.float32)).round(2).tolist()
        [[-0.6899999976158142, -0.6899999976158142], [0.0, -87.33999633789062]]
    """
    if outputs.min() >= 0 and abs(outputs.sum(-1) - 1).max() <= SUM_TOLERANCE:
        positive = outputs.clip(float(np.finfo(np.float32).tiny))
        return np.log(positive, out=positive) if isinstance(positive, np.ndarray) else positive.log()
    return outputs


def vectors(outputs: Any) -> Any:
    """Return outputs (…, classes) as (vectors, classes).

    Raises:
        QuantError: for a single axis.
    """
    if outputs.ndim < 2:
        raise QuantError(f"outputs have shape {outputs.shape}; their last axis must be classes, of 2 axes or more")
    return outputs.reshape(-1, outputs.shape[-1])


def as_rows(*logits: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    """Return logits (rows, classes) as the kernels take them: all in float32, or all in float64 otherwise."""
    dtype = np.float32 if all(one.dtype == np.float32 for one in logits) else np.float64
    return [np.ascontiguousarray(one, dtype) for one in logits]
