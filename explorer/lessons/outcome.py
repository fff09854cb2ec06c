"""What a plan does to the network's accuracy, in a lesson: the page does not wait for it."""

from __future__ import annotations

import time
import uuid

import streamlit as st

from explorer import compute, notation
from explorer.jobs import SupersededError
from explorer.lessons.parts import numbers
from explorer.lessons.prose import words
from explorer.refusals import refusals_said
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantError
from quant_engine.network import Score

OWNER_KEY = "lesson_accuracy_owner"
LOOK = 0.3  # seconds
LABELS = ("accuracy_plain", "accuracy_layer", "accuracy_all")


def accuracy_section(model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None = None) -> None:
    """Show three accuracies once the background worker has them: float32, this layer so, every layer so.

    `others` is the plan of the other layers, where it is another.
    """
    with refusals_said():
        compute.require_task(model)
        _section(model, layer, plan, others)


def _section(model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None) -> None:
    owner = st.session_state.setdefault(OWNER_KEY, uuid.uuid4().hex)
    asked = model, layer, plan, others
    ticking = not compute.accuracies(owner, *asked).done()
    st.fragment(_body, run_every=LOOK if ticking else None)(owner, asked, time.monotonic(), ticking)


def _metric(label: str, result: Score) -> None:
    low, high = (notation.accuracy(end) for end in result.interval)
    st.metric(words()[label], notation.accuracy(result.value), f"{low} – {high}", delta_color="off", delta_arrow="off")


def _body(owner: str, asked: tuple[ModelKey, str, LayerPlan, LayerPlan | None], started: float, ticking: bool) -> None:
    plain = compute.everywhere(f"{owner}|plain", asked[0], None)
    future = compute.accuracies(owner, *asked)
    if not future.done():
        if plain.done() and plain.exception() is None:  # it depends on no setting
            with numbers():
                _metric(LABELS[0], plain.result())
        st.caption(words()["accuracy_running"].format(seconds=f"{time.monotonic() - started:.1f}"))
        return
    try:
        results = future.result()
    except SupersededError:
        return  # another of this session's settings is being evaluated, and draws itself
    except QuantError as error:
        st.warning(words()["accuracy_refused"].format(error=error), icon=":material/block:")
        return
    with numbers():
        for label, result in zip(LABELS, results, strict=True):
            _metric(label, result)
    total = results[0].n
    st.caption(
        words()["accuracy_note"].format(
            n=notation.count(total), unit=compute.sample_unit(asked[0]), one=notation.share(1 / total)
        )
    )
    if ticking:
        st.rerun()  # the clock of this part stops with the page
