"""The tuner's numbers: the held-out score in floating point, with all layers alike, and of the plan; and its size."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from explorer import compute, notation
from explorer.background import Task, live
from explorer.language import read_words
from explorer.presenting import presenting
from explorer.sources import ModelKey
from explorer.tuner_results import Size, engine_plan, scoring, size, split_of
from explorer.tuner_tried import remember
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import QuantError, QuantizationPlan
from quant_engine.models import TensorModel
from quant_engine.network import Score

LAST = "tuner_last"  # in the session's state: the scores that were shown, which stay until there are others
WIDTH = 132  # pixels
PENDING = "…"


@dataclass(frozen=True)
class _Number:
    name: str
    task: Task


def numbers_panel(model: ModelKey, plan: TunedPlan, engine: QuantizationPlan) -> None:
    """Draw the scores as they come, and the size."""
    said, stored = read_words("tuner"), size(model, engine)
    if compute.network(model).task is None:
        reason = "no_graph" if isinstance(compute.network(model).model, TensorModel) else "no_task"
        with st.container(horizontal=True, gap="small", key="tuner_numbers"):
            _size(stored)
        st.caption(said[reason].format(model=compute.name(model)))
        return
    split, alike = split_of(model), engine_plan(model, alike_of(plan))
    numbers = [
        _Number("plain", scoring("tuner float", model, None, split)),
        _Number("alike", scoring("tuner alike", model, alike, split)),
        _Number("yours", scoring("tuner yours", model, engine, split)),
    ]
    samples, since = compute.samples(model, split), time.monotonic()

    def active() -> bool:
        return any(number.task.active for number in numbers)

    def draw() -> None:
        pending = active()
        key = "tuner_awaiting" if pending else f"tuner_numbers_{_digest(engine)}"
        with st.container(horizontal=True, gap="small", key=key):
            for number in numbers:
                _score(model, number, split, plan, lambda: time.monotonic() - since)
            _size(stored)
        st.caption(said["measured_on"].format(samples=samples, score=_named(numbers, said["score"])))

    live(draw, active)


def alike_of(plan: TunedPlan) -> TunedPlan:
    """Return the plan of all layers alike."""
    return TunedPlan(plan.base)


def _digest(engine: QuantizationPlan) -> str:
    return hashlib.sha256(engine.key.encode()).hexdigest()[:12]


def _named(numbers: list[_Number], otherwise: str) -> str:
    """Return what the score is called, once one is known."""
    known = [number.task.result() for number in numbers if number.task.state == "done"]
    return str(known[0].name).capitalize() if known else otherwise


def _score(model: ModelKey, number: _Number, split: str, plan: TunedPlan, waited: Callable[[], float]) -> None:
    """Draw one score; the one before stays, marked, until it is known."""
    said, held = read_words("tuner"), st.session_state.setdefault(LAST, {})
    label = said[number.name]
    place = model, split, number.name
    if number.task.error is not None:
        if not isinstance(number.task.error, QuantError):
            raise number.task.error
        _draw(number.name, label, "–", said["not_scored"], str(number.task.error))
        return
    if number.task.ended:
        held[place] = number.task.result()
        if number.name != "plain":
            remember(model, alike_of(plan) if number.name == "alike" else plan, held[place])
    before: Score | None = held.get(place)
    value = PENDING if before is None else notation.shown_score(before)
    if number.task.ended and before is not None:
        told = {"n": notation.count(before.n), "setting": plan.base.description}
        _draw(number.name, label, value, notation.shown_interval(before), said[f"{number.name}_help"].format(**told))
        return
    note = said["measuring"].format(seconds=notation.fixed(waited(), 1))
    _draw(number.name, label, value if before is None else f"{value} {PENDING}", note)


def _size(stored: Size) -> None:
    said = read_words("tuner")
    bits = said["bits_a_weight"].format(bits=notation.short(stored.bits_a_weight))
    _draw("size", said["size"], notation.sizes(stored.plain_bytes, stored.size_bytes), bits, said["size_help"])


def _draw(name: str, label: str, value: str, note: str, explanation: str | None = None) -> None:
    with st.container(key="hero", width="content") if name == "yours" else contextlib.nullcontext():
        st.metric(
            label,
            value,
            note,
            delta_color="off",
            delta_arrow="off",
            width="content" if presenting() or name == "size" else WIDTH,
            help=explanation,
        )
