"""Accuracy of the whole network: in floating point, with this layer quantized, with every layer quantized so."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer import compute, notation
from explorer.jobs import SupersededError
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantError
from quant_engine.network import Score

LABELS = ("Float32", "This layer so", "Every layer so")
OWNER_KEY, PLAIN = "accuracy_owner", "plain"
METRIC_WIDTH = 130
LOOK = 0.05  # seconds after which a newer setting may interrupt
SIGN_OF_LIFE = 0.3  # seconds
PENDING = "…"


def accuracy_panel(
    place: DeltaGenerator, model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None
) -> None:
    """Fill `place` once the background worker has the answer; until then say that it runs.

    Float32 depends on no setting: it stays while the others are measured anew. The container's key names the setting it
    answers, so that a test can tell a new answer from the one before.
    """
    try:
        compute.require_task(model)
    except QuantError as error:
        place.caption(f"{error}.")
        return
    owner = st.session_state.setdefault(OWNER_KEY, uuid.uuid4().hex)
    plain, unit = compute.everywhere(f"{owner}|{PLAIN}", model, None), compute.sample_unit(model)
    future = compute.accuracies(owner, model, layer, plan, others)
    try:
        _await(
            plain,
            future,
            unit,
            lambda: place.container(key="awaiting_accuracy", horizontal=True, gap="medium", width="content"),
        )
        results = future.result()
    except SupersededError:
        return  # a newer setting of this session is being evaluated, and draws itself
    except QuantError as error:
        place.warning(f"Not every layer can be quantized so: {error}")
        return
    key = f"accuracy_{hashlib.sha256(f'{model}{layer}{plan}{others}'.encode()).hexdigest()[:12]}"
    with place.container(key=key, horizontal=True, gap="medium", width="content"):
        for label, result in zip(LABELS, results, strict=True):
            _metric(label, result, unit)


def _metric(label: str, result: Score, unit: str) -> None:
    low, high = result.interval
    _draw(
        label,
        notation.accuracy(result.value),
        f"{notation.accuracy(low)} – {notation.accuracy(high)}",
        f"{result.name.capitalize()} on {notation.count(result.n)} test {unit}s, with the 95 % interval; one {unit} is "
        f"{notation.short(100 / result.n)} points.",
    )


def _draw_plain(place: DeltaGenerator, plain: Future[Any], unit: str) -> bool:
    """Draw the accuracy in floating point if it is known, and return whether it is."""
    known = plain.done() and plain.exception() is None
    with place:
        if known:
            _metric(LABELS[0], plain.result(), unit)
        else:
            _draw(LABELS[0], PENDING, "running")
    return known


def _draw(label: str, value: str, note: str, explanation: str | None = None) -> None:
    st.metric(label, value, note, delta_color="off", delta_arrow="off", width=METRIC_WIDTH, help=explanation)


def _await(plain: Future[Any], future: Future[Any], unit: str, row: Callable[[], DeltaGenerator]) -> None:
    """Wait, with the time taken in the place of a number, so that nothing else on the page moves."""
    if future.done():
        return
    started, shown = time.monotonic(), -SIGN_OF_LIFE
    with row():
        first = st.empty()
        known = _draw_plain(first, plain, unit)
        _draw(LABELS[1], PENDING, "running")
        clock = st.empty()
    while not future.done():
        if not known and plain.done():
            known = _draw_plain(first, plain, unit)
        waited = time.monotonic() - started
        if waited - shown >= SIGN_OF_LIFE:
            shown = waited
            with clock:
                _draw(LABELS[-1], PENDING, f"running {waited:.1f} s")
        with contextlib.suppress(TimeoutError):
            future.exception(timeout=LOOK)
        st.session_state.get(OWNER_KEY)  # where Streamlit stops this run if a newer setting has come
