"""How much a plan harms: by the loss, or by the noise of the outputs where the task knows no classes."""

from __future__ import annotations

import math

import numpy as np

from explorer import compute
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.mixed import plans
from explorer.sources import ModelKey
from explorer.tensors import LARGE
from quant_engine import QuantError
from quant_engine.network import Score
from quant_engine.studies import Effect, Trial
from quant_engine.tasks import Agreement, LogitsTask


def knows_loss(model: ModelKey) -> bool:
    """Say whether the model's task knows the classes that a loss needs."""
    task: object = compute.network(model).task
    return isinstance(task, LogitsTask) and not isinstance(task, Agreement)


def validate_measure(model: ModelKey, measure: str) -> None:
    """Refuse to measure what the model's task does not know.

    Raises:
        QuantError: for KL without logits, and the loss without classes.
    """
    known = {"KL": isinstance(compute.network(model).task, LogitsTask), "loss": knows_loss(model)}
    if not known.get(measure, True):
        raise QuantError(read_prose("mixed").laboratory[f"no_{measure}"].format(model=compute.name(model)))


def harm(found: Effect, plain: Effect) -> float:
    """Return the rise of the loss; without a loss Σ (z − ẑ)²/Σ z² of the outputs, 0 where nothing moved."""
    return 10 ** (-found.sqnr_db / 10) if math.isnan(found.loss) else found.loss - plain.loss


def harm_name(model: ModelKey) -> str:
    """Return what rises, in the middle of a sentence."""
    return read_prose("mixed").laboratory["name_loss" if knows_loss(model) else "name_noise"]


def is_quick(model: ModelKey) -> bool:
    """Say whether a page can wait until every layer of a model is measured."""
    return sum(info.parameters for info in compute.network(model).layers().values()) < LARGE


def are_known(model: ModelKey, shared: str, at: int) -> bool:
    """Say whether it is measured what each layer's weight does alone at some bits."""
    found, spec = plans.findings(model, shared), plans.candidates(shared)[plans.WIDTHS.index(at)]
    layers = compute.network(model).layers()
    return () in found.plans and all(Trial(layer, spec).key in found.trials for layer in layers)


def counts(score: Score) -> bool:
    """Say whether a score is the share of samples that are right, and not a mean or a ratio."""
    return score.samples is not None and bool(np.isin(score.samples, (0.0, 1.0)).all())


def better_by(one: Score, other: Score) -> float:
    """Return by how much a score is better than another one of the same name."""
    return (one.value - other.value) * (1 if one.better == "higher" else -1)
