"""What a plan does to the network's accuracy, in a lesson: the page does not wait for it."""

from __future__ import annotations

import time

import streamlit as st

from explorer import compute, model_scores, notation
from explorer.background import live
from explorer.lessons.framework.layout import numbers
from explorer.lessons.framework.prose import words
from explorer.refusals import refusals_said
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
            st.caption(words()["accuracy_running"].format(seconds=notation.fixed(time.monotonic() - started, 1)))
            return
        try:
            results = task.result()
        except QuantError as error:
            st.warning(words()["accuracy_refused"].format(error=error), icon=":material/block:")
            return
        with numbers():
            for label, result in zip(LABELS, results, strict=True):
                _metric(label, result)
        total = results[0].n
        said = words()["accuracy_note"]
        st.caption(said.format(n=notation.count(total), unit=unit, one=notation.share(1 / total)))

    live(draw, lambda: task.active)


def _metric(label: str, result: Score) -> None:
    low, high = (notation.accuracy(end) for end in result.interval)
    st.metric(words()[label], notation.accuracy(result.value), f"{low} – {high}", delta_color="off", delta_arrow="off")
