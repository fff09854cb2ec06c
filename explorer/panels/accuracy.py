"""Accuracy of the whole network: in floating point, with this tensor quantized, with every layer quantized so."""

from __future__ import annotations

import hashlib
import time
import uuid
from concurrent.futures import Future
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer import compute, notation
from explorer.jobs import SupersededError
from quant_engine import LayerPlan, QuantError

LABELS = ("Float32", "This layer so", "Every layer so")
OWNER_KEY = "accuracy_owner"
QUICK = 0.15  # seconds in which a result is awaited without a sign
METRIC_WIDTH = 130
LOOK = 0.1  # seconds between signs of life; each lets a newer setting interrupt


def accuracy_panel(place: DeltaGenerator, model: str, layer: str, plan: LayerPlan) -> None:
    """Fill `place` once the background worker has the answer; until then say that it runs.

    The container's key names the setting it answers, so that a test can tell a new answer from the one before.
    """
    owner = st.session_state.setdefault(OWNER_KEY, uuid.uuid4().hex)
    future = compute.accuracies(owner, model, layer, plan)
    try:
        _await(future, place)
        results = future.result()
    except SupersededError:
        place.caption("A newer setting is being evaluated.")
        return
    except QuantError as error:
        place.warning(f"Not every layer can be quantized so: {error}")
        return
    total = results[0].total
    with place.container(
        key=f"accuracy_{hashlib.sha256(f'{model}{layer}{plan}'.encode()).hexdigest()[:12]}",
        horizontal=True,
        gap="medium",
        width="content",
    ):
        for label, result in zip(LABELS, results, strict=True):
            low, high = result.interval
            st.metric(
                label,
                notation.accuracy(result.value),
                f"{notation.accuracy(low)} – {notation.accuracy(high)}",
                delta_color="off",
                delta_arrow="off",
                width=METRIC_WIDTH,
                help=f"Accuracy: {notation.count(result.correct)} of {notation.count(total)} test images "
                f"right, with the 95 % interval; one image is {notation.short(100 / total)} points.",
            )


def _await(future: Future[Any], place: DeltaGenerator) -> None:
    """Wait, showing the time taken."""
    started, wait = time.monotonic(), QUICK
    while not future.done():
        try:
            future.exception(timeout=wait)
        except TimeoutError:
            place.caption(
                f":material/hourglass_top: Running the network on the test images… {time.monotonic() - started:.1f} s"
            )
        wait = LOOK
