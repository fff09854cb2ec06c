"""Accuracy of the whole network: in floating point, with this layer quantized, with all layers quantized."""

from __future__ import annotations

import contextlib
import hashlib
import time

import streamlit as st

from explorer import compute, model_scores, notation
from explorer.background import Task, live
from explorer.language import read_words
from explorer.presenting import presenting
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantError
from quant_engine.network import Score

LABELS = ("accuracy_all", "accuracy_plain", "accuracy_layer")  # among the words that lessons share
METRIC_WIDTH = 140
PENDING = "…"


def accuracy_panel(model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None) -> None:
    """Draw the three numbers, the most important first, in the same places while they are awaited.

    Float32 depends on no setting: it stays while the others are measured anew. The container's key names the setting it
    answers, so that a test can tell a new answer from the one before.
    """
    try:
        compute.require_task(model)
    except QuantError as error:
        st.caption(f"{verbatim(error)}.")
        return
    float32 = model_scores.scoring("accuracy in float32", model, None)
    task = model_scores.accuracies("accuracy", model, layer, plan, others)
    digest = hashlib.sha256(str(task.key).encode()).hexdigest()[:12]
    unit, started = compute.sample_unit(model), time.monotonic()

    def draw() -> None:
        if task.error is not None:
            _refuse(task)
            return
        with st.container(
            key=f"accuracy_{digest}" if task.ended else "awaiting_accuracy",
            horizontal=True,
            gap="medium",
            width="content",
        ):
            if task.ended:
                plain, own, every = task.result()
                for label, result in zip(LABELS, (every, plain, own), strict=True):
                    _metric(label, result, unit)
            else:
                _pending(float32, time.monotonic() - started, unit)

    live(draw, lambda: task.active)


def _refuse(task: Task) -> None:
    """Say why there is no accuracy; whatever is no refusal is raised."""
    try:
        task.result()
    except QuantError as error:
        st.warning(read_words("shared")["accuracy_refused"].format(error=error))


def _metric(label: str, result: Score, unit: str) -> None:
    _draw(
        label,
        notation.shown_score(result),
        notation.shown_interval(result),
        read_words("panels")["accuracy"]["help" if notation.is_share(result) else f"help_{result.better}"].format(
            score=result.name.capitalize(),
            n=notation.count(result.n),
            unit=unit,
            one=notation.short(100 / result.n),
        ),
    )


def _pending(plain: Task, waited: float, unit: str) -> None:
    """Draw the accuracy in floating point if it is known, and how long the others have been awaited."""
    said = read_words("frame")["waiting"]
    _draw(LABELS[0], PENDING, said["running_for"].format(seconds=notation.fixed(waited, 1)))
    if plain.state == "done":
        _metric(LABELS[1], plain.result(), unit)
    else:
        _draw(LABELS[1], PENDING, said["running"])
    _draw(LABELS[2], PENDING, said["running"])


def _draw(label: str, value: str, note: str, explanation: str | None = None) -> None:
    """Draw a number; the first is the one that counts: it is larger, and explained."""
    hero = label == LABELS[0]
    with st.container(key="hero", width="content") if hero else contextlib.nullcontext():
        help_text = explanation if hero else None
        st.metric(
            read_words("shared")[label],
            value,
            note,
            delta_color="off",
            delta_arrow="off",
            width="content" if presenting() else METRIC_WIDTH,
            help=help_text,
        )
