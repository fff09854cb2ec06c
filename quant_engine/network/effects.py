"""What a plan does to a network's outputs: accuracy, loss, and how far the outputs moved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import Float32Array
from quant_engine.tasks import Accuracy, log_softmax


class Effect(NamedTuple):
    """How a network does under a plan, over n images with logits z (floating point) and ẑ (under the plan).

    `loss` is the mean cross entropy, −1/n Σ log q[label]; `divergence` the mean KL divergence Σ p log(p/q) in nats of
    the plan's probabilities q from the floating-point ones p; `sqnr_db` is 10·log10(Σ z²/Σ (z − ẑ)²), infinite where
    nothing moved.
    """

    accuracy: Accuracy
    loss: float
    divergence: float
    sqnr_db: float


def effect(plain: Float32Array, logits: Float32Array, labels: NDArray[np.int64]) -> Effect:
    """Return the effect of a plan with these logits, where floating point has `plain`; both (n, classes)."""
    q = log_softmax(logits)
    signal, noise = (np.square(part, dtype=np.float64).sum() for part in (plain, plain - logits.astype(np.float64)))
    with np.errstate(divide="ignore"):
        sqnr_db = float(10 * np.log10(signal / noise)) if noise else np.inf
    return Effect(
        Accuracy(int((logits.argmax(axis=1) == labels).sum()), len(labels)),
        float(-q[np.arange(len(labels)), labels].mean()),
        divergence(plain, logits),
        sqnr_db,
    )


def divergence(plain: Float32Array, logits: Float32Array) -> float:
    """Return the mean KL divergence in nats, Σ p log(p/q), of logits (n, classes) from those in floating point."""
    p, q = log_softmax(plain), log_softmax(logits)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())
