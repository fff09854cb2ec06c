"""The part of a page that shows work in the background."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import streamlit as st

LOOK = 0.4  # seconds between two looks
HELD = "live_held"  # set while a run of the whole page would lose what is being typed
_clocked: ContextVar[bool] = ContextVar("clocked", default=False)


def clocked() -> bool:
    """Say whether what is drawn now belongs to a part that a clock draws, or to what takes its place at rest."""
    return _clocked.get()


def live(draw: Callable[[], object], watched: Callable[[], object]) -> None:
    """Draw a part of the page that draws itself again and again while `watched` is true.

    Whenever `watched` changes, the whole page runs once, and the clock starts or stops with it. So `watched` returns
    whether there is more to come, or all that the rest of the page depends on, empty at the end.
    While the session's state has HELD, it waits.
    """
    seen = watched()
    (_ticking if seen else _resting)(draw, watched, seen)


@st.fragment(run_every=LOOK)
def _ticking(draw: Callable[[], object], watched: Callable[[], object], seen: object) -> None:
    _draw(draw, watched, seen)


@st.fragment  # another function, since the clock of a fragment ends when its place is taken by another one
def _resting(draw: Callable[[], object], watched: Callable[[], object], seen: object) -> None:
    _draw(draw, watched, seen)


def _draw(draw: Callable[[], object], watched: Callable[[], object], seen: object) -> None:
    before = _clocked.set(bool(seen))
    try:
        draw()
    finally:
        _clocked.reset(before)
    if watched() != seen and HELD not in st.session_state:
        st.rerun()
