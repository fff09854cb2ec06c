"""What a plan does to the network's accuracy, in a lesson: the page does not wait for it."""

from __future__ import annotations

import time

import streamlit as st

from explorer import compute, model_scores, notation
from explorer.background import live
from explorer.lessons.framework.layout import numbers
from explorer.lessons.framework.prose import words
from explorer.lessons.framework.study import time_left
from explorer.refusals import refusals_said
from explorer.sentences import capital
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantError
from quant_engine.network import Score

LABELS = ("accuracy_plain", "accuracy_layer", "accuracy_all")


def accuracy_section(model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None = None) -> None:
    """Show three accuracies as soon as they are there: float32, this layer quantized, all layers quantized.

    `others` is the plan of the other layers, where it is another.
    """
    with refusals_said():
        compute.require_task(model)
        _section(model, layer, plan, others)


def _section(model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None) -> None:
    plain = model_scores.scoring("accuracy in float32", model, None)
    task = model_scores.accuracies("accuracy", model, layer, plan, others)
    unit, started = compute.sample_unit(model), time.monotonic()

    def draw() -> None:
        if not task.ended:
            if plain.state == "done":  # it depends on no setting
                with numbers():
                    _metric(LABELS[0], plain.result())
            waited = notation.fixed(time.monotonic() - started, 1)
            st.caption(words()["accuracy_running"].format(seconds=waited, left=time_left(task)))
            return
        try:
            results = task.result()
        except QuantError as error:
            st.warning(words()["accuracy_refused"].format(error=error), icon=":material/block:")
            return
        with numbers():
            for label, result in zip(LABELS, results, strict=True):
                _metric(label, result)
        st.caption(_note(results[0], unit))

    live(draw, lambda: task.active)


def _metric(label: str, result: Score) -> None:
    said = notation.shown_score(result), notation.shown_interval(result)
    st.metric(words()[label], *said, delta_color="off", delta_arrow="off")


def _note(plain: Score, unit: str) -> str:
    """Say what is scored, and what one sample changes or which values are better."""
    said = {"n": notation.count(plain.n), "unit": unit, "one": notation.share(1 / plain.n)}
    if notation.is_share(plain):
        return words()["accuracy_note"].format_map(said)
    return words()[f"score_note_{plain.better}"].format(score=capital(plain.name), **said)
