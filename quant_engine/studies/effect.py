"""What a plan does to a network's outputs: accuracy, loss, and how far the outputs moved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.tasks import Accuracy, divergence, log_softmax


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


def effect(network: Network, plan: QuantizationPlan | None = None, split: str = "calibration") -> Effect:
    """Return accuracy and loss under a plan, and how far the outputs moved from floating point.

    Raises:
        QuantError: as `Network.evaluate`.
    """
    labels = network.data(split)[1]
    plain = network.logits(None, split)
    logits = plain if plan is None else network.logits(plan, split)
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
