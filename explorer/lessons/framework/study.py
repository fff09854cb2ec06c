"""Many results that a lesson finds one after the other, with their progress and a button to stop or to continue."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import streamlit as st

from explorer import compute
from explorer.background import Kind, Task, live
from explorer.caches import ResultKey
from explorer.lessons.framework.prose import words
from explorer.notation import duration
from explorer.sentences import verbatim
from quant_engine import QuantError


@dataclass(frozen=True)
class Study:
    """What is to be found: its key, whose question is the place on the page, its generator, and how many items."""

    key: ResultKey
    steps: Callable[[], Generator[Any, None, None]]
    total: int

    @property
    def place(self) -> str:
        """Where the page shows it."""
        return self.key.question


def start(study: Study) -> None:
    """Begin a study, or go on with it (a callback)."""
    compute.session().leave(study.place)  # what has failed is tried again
    _ask(study)


def stop(study: Study) -> None:
    """Stop a study where it is (a callback)."""
    compute.session().leave(study.place)
    st.session_state[study.place] = study.key, False


def asked(place: str) -> ResultKey | None:
    """Return the key of the study that was last asked for in a place of this session's pages."""
    return _state(place)[0]


def stopped(place: str) -> bool:
    """Return whether that study was stopped."""
    key, going = _state(place)
    return key is not None and not going


def active(key: ResultKey) -> bool:
    """Return whether a study goes on that this session asked for."""
    task = compute.session().find(key)
    return _state(key.question) == (key, True) and task is not None and task.active


def ended(study: Study, seconds: float) -> bool:
    """Return whether a study that was asked for ends within some seconds.

    Raises:
        Exception: what it fails with.
    """
    task = compute.session().find(study.key)
    if task is None or (stopped(study.place) and not task.ended):
        return False
    try:
        task.result(seconds)
    except TimeoutError:
        return False
    return True


def go_on(study: Study) -> Task | None:
    """Return the task of a study, which begins unless it was stopped, and takes the place of another one."""
    if asked(study.place) != study.key:
        start(study)
    elif not stopped(study.place):
        _ask(study)
    return compute.session().find(study.key)


def progress(study: Study, label: str) -> None:
    """Draw how far a study is, with a button that stops it, or one to go on."""
    task = compute.session().find(study.key)
    if task is not None and active(study.key):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(task.share, label.format(done=len(task.items), total=study.total, left=time_left(task)))
            _button("study_stop", "stop", stop, study)
    elif task is None or task.state != "done":
        _button("continue", "play_arrow", start, study)


def show(study: Study, label: str, draw: Callable[[Task | None], None]) -> None:
    """Draw what there is of a study, as it grows; it begins unless it was stopped."""
    if not stopped(study.place):
        _ask(study)
    live(lambda: _draw(study, label, draw), lambda: active(study.key))


def offer(study: Study, button: str, label: str, draw: Callable[[Task | None], None]) -> None:
    """Show a button that begins a study; once it was pressed, draw what there is of it, as it grows.

    The label says how far it is: with {done} of {total}, and about how many seconds are {left}.
    """
    if asked(study.place) == study.key:
        show(study, label, draw)
        return
    compute.session().leave(study.place)
    key = f"{study.place}_begin"
    st.button(button, key=key, icon=":material/play_arrow:", on_click=start, args=(study,))


def _draw(study: Study, label: str, draw: Callable[[Task | None], None]) -> None:
    task = compute.session().find(study.key)
    if task is not None and task.error is not None:
        if not isinstance(task.error, QuantError):
            raise task.error
        st.error(verbatim(task.error), icon=":material/error:")
    progress(study, label)
    draw(task)


def time_left(task: Task) -> str:
    """Return about how long a study goes on, by what it has taken so far."""
    return duration(task.seconds * (1 / task.share - 1)) if task.share else "…"


def _button(word: str, icon: str, action: Callable[[Study], None], study: Study) -> None:
    key = f"{study.place}_{action.__name__}"
    st.button(words()[word], key=key, icon=f":material/{icon}:", on_click=action, args=(study,))


def _ask(study: Study) -> None:
    st.session_state[study.place] = study.key, True
    compute.session().ask(study.place, study.key, study.steps, Kind.STUDY, study.total, refusable=True)


def _state(place: str) -> tuple[ResultKey | None, bool]:
    found: tuple[ResultKey | None, bool] = st.session_state.get(place, (None, False))
    return found
