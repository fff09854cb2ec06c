"""Accuracy of the whole network: in floating point, with this layer quantized, with every layer so."""

from __future__ import annotations

import hashlib
import time

import streamlit as st

from explorer import compute, notation
from explorer.background import Task, live
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantError
from quant_engine.network import Score

LABELS = ("Float32", "This layer so", "Every layer so")
METRIC_WIDTH = 130
PENDING = "…"


def accuracy_panel(model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None) -> None:
    """Draw the three numbers, in the same places while they are awaited.

    Float32 depends on no setting: it stays while the others are measured anew. The container's key names the setting it
    answers, so that a test can tell a new answer from the one before.
    """
    try:
        compute.require_task(model)
    except QuantError as error:
        st.caption(f"{error}.")
        return
    plain = compute.scoring("accuracy in float32", model, None)
    task = compute.accuracies("accuracy", model, layer, plan, others)
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
                for label, result in zip(LABELS, task.result(), strict=True):
                    _metric(label, result, unit)
            else:
                _pending(plain, time.monotonic() - started, unit)

    live(draw, lambda: task.active)


def _refuse(task: Task) -> None:
    """Say why there is no accuracy; whatever is no refusal is raised."""
    try:
        task.result()
    except QuantError as error:
        st.warning(f"Not every layer can be quantized so: {error}")


def _metric(label: str, result: Score, unit: str) -> None:
    low, high = result.interval
    _draw(
        label,
        notation.accuracy(result.value),
        f"{notation.accuracy(low)} – {notation.accuracy(high)}",
        f"{result.name.capitalize()} on {notation.count(result.n)} test {unit}s, with the 95 % interval; one {unit} is "
        f"{notation.short(100 / result.n)} points.",
    )


def _pending(plain: Task, waited: float, unit: str) -> None:
    """Draw the accuracy in floating point if it is known, and how long the others have been awaited."""
    if plain.state == "done":
        _metric(LABELS[0], plain.result(), unit)
    else:
        _draw(LABELS[0], PENDING, "running")
    _draw(LABELS[1], PENDING, "running")
    _draw(LABELS[2], PENDING, f"running {waited:.1f} s")


def _draw(label: str, value: str, note: str, explanation: str | None = None) -> None:
    st.metric(label, value, note, delta_color="off", delta_arrow="off", width=METRIC_WIDTH, help=explanation)
