"""The tensor of a lesson, for which a large model runs first: how far that is, about how long it takes, and a stop."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer import compute, tensors
from explorer.background import Task, shares
from explorer.caches import ResultKey
from explorer.lessons.framework import study
from explorer.lessons.framework.prose import words
from explorer.lessons.framework.study import Study
from explorer.sources import ModelKey
from explorer.tensors import Subject

PLACE = "lesson tensor"
UNSAID = 0.3  # seconds in which nothing is said


def read_subject(source: str, model: ModelKey, layer: str, outlier: int) -> Subject | None:
    """Return a tensor, or None while a large model runs for it, which is drawn.

    Raises:
        QuantError: as the run does.
    """
    awaited = partial(tensors.is_awaited, source, model, layer)
    if not awaited():
        compute.session().leave(PLACE)
    else:
        steps = partial(tensors.subject_steps, source, model, layer)
        one = Study(ResultKey(PLACE, source, model, layer), lambda: shares(steps()), 1)
        if study.asked(PLACE) != one.key:
            study.start(one)
        if study.ended(one, UNSAID):
            compute.session().forget(one.key)  # what it has kept is there, or has made room and is read anew
        if awaited():
            study.show(one, words()["running"], _say_stopped)
            return None
    with st.spinner(words()["reading"]):
        return tensors.subject(source, model, layer, outlier)


def _say_stopped(task: Task | None) -> None:
    if study.stopped(PLACE):
        st.caption(words()["stopped"])
