"""Work in the background that a part of the page watches: its progress, a button to stop it, and what it has found."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import streamlit as st

from explorer import compute
from explorer.jobs import SupersededError
from explorer.lessons.prose import words
from explorer.slices import Sliced
from quant_engine import QuantError

TICK = 0.5  # seconds between two looks
OWNER_KEY = "watching_owner"


def owner(name: str) -> str:
    """Return who asks for a kind of work in this browser session."""
    return f"{st.session_state.setdefault(OWNER_KEY, uuid.uuid4().hex)}|{name}"


def start(name: str, key: str) -> None:
    """Ask for work (a callback); `name` says of which kind, `key` which."""
    st.session_state[f"{name}_running"] = key


def stop(name: str) -> None:
    """Ask for it no longer (a callback)."""
    st.session_state[f"{name}_running"] = ""


def asked(name: str) -> str | None:
    """Return which work of a kind goes on: None if none was ever asked for, empty if it was stopped."""
    found: str | None = st.session_state.get(f"{name}_running")
    return found


def watch(name: str, key: str, work: Callable[[], Sliced], label: str, draw: Callable[[Sliced], None]) -> None:
    """Draw what some work has found, in a part of the page that reruns by itself while the work goes on."""
    sliced: Sliced = compute.kept(f"sliced|{name}|{key}", work)
    ticking = asked(name) == key and not sliced.finished
    st.fragment(_watched, run_every=TICK if ticking else None)(name, key, sliced, label, draw, ticking)


def _watched(name: str, key: str, sliced: Sliced, label: str, draw: Callable[[Sliced], None], ticking: bool) -> None:
    going = asked(name) == key and not sliced.finished
    if going:
        future = compute.submit(owner(name), f"{name}|{key}|{sliced.done}", sliced.advance)
        fault = future.exception() if future.done() else None
        if fault is not None and not isinstance(fault, SupersededError):
            stop(name)
            if not isinstance(fault, QuantError):
                raise fault
            st.error(str(fault), icon=":material/error:")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(sliced.share, label.format(done=sliced.done, total=sliced.total))
            st.button(words()["study_stop"], key=f"{name}_stop", icon=":material/stop:", on_click=stop, args=(name,))
    draw(sliced)
    if ticking != (asked(name) == key and not sliced.finished):
        st.rerun()  # the clock of this part starts and stops with the page


def come_back(future: Future[Any]) -> None:
    """Run the page again when some work is done: a part of it, which shows nothing, looks every now and then."""
    ticking = not future.done()
    st.fragment(_looked, run_every=TICK if ticking else None)(future, ticking)


def _looked(future: Future[Any], ticking: bool) -> None:
    if ticking and future.done():
        st.rerun()


def await_all(name: str, work: dict[str, Callable[[], Any]], draw: Callable[[dict[str, Any], bool], None]) -> None:
    """Draw the answers that there are, in a part of the page that reruns by itself until all are there.

    `work` is by key, which names everything that an answer depends on; `draw` is given the answers by key, and whether
    some are awaited.
    """
    waiting = not all(found.done() for found in _submitted(name, work).values())
    st.fragment(_awaited, run_every=TICK if waiting else None)(name, work, draw, waiting)


def _submitted(name: str, work: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    return {
        key: compute.submit(f"{owner(name)}|{number}", f"{name}|{key}", way)
        for number, (key, way) in enumerate(work.items())
    }


def _awaited(
    name: str, work: dict[str, Callable[[], Any]], draw: Callable[[dict[str, Any], bool], None], ticking: bool
) -> None:
    futures = _submitted(name, work)
    done = {key: found for key, found in futures.items() if found.done() and not _superseded(found)}
    waiting = len(done) < len(futures)
    draw({key: found.result() for key, found in done.items()}, waiting)
    if ticking != waiting:
        st.rerun()


def _superseded(future: Any) -> bool:
    return isinstance(future.exception(), SupersededError)
