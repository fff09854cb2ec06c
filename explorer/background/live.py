"""The part of a page that shows work in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType

Watched = Callable[[], object]
LOOK = 0.4  # seconds between two looks
LINGER = 0.25  # seconds that a look may take, so that the end of work is seen at once; from 0.5 on it shows
GLANCE = 0.02  # seconds between two times that it asks meanwhile
HELD = "live_held"  # set while a run of the whole page would lose what is being typed
_clocked: ContextVar[bool] = ContextVar("clocked", default=False)
_placed: ContextVar[bool] = ContextVar("placed", default=False)  # by the page, not by the clock
_look: ContextVar[_Look] = ContextVar("look")


@dataclass
class _Look:
    """Parts that the clock draws in one run: which, since when, and what those watch, and saw, that are drawn."""

    parts: list[str]
    begun: float
    drawn: list[tuple[Watched, object]] = field(default_factory=list)


def clocked() -> bool:
    """Say whether what is drawn now belongs to a part that a clock draws, or to what takes its place at rest."""
    return _clocked.get()


def live(draw: Callable[[], object], watched: Watched) -> None:
    """Draw a part of the page that draws itself again and again while `watched` is true.

    Whenever `watched` changes, the whole page runs once, and the clock starts or stops with it. So `watched` returns
    whether there is more to come, or all that the rest of the page depends on, empty at the end.
    While the session's state has HELD, it waits. What `draw` raises, the page meets.
    """
    seen, raised = watched(), list[Exception]()
    before = _placed.set(True)
    try:
        (_ticking if seen else _resting)(draw, watched, seen, raised)
    finally:
        _placed.reset(before)
    if raised:
        raise raised[0]


@st.fragment(run_every=LOOK)
def _ticking(draw: Callable[[], object], watched: Watched, seen: object, raised: list[Exception]) -> None:
    _draw(draw, watched, seen, raised)


@st.fragment  # another function, since the clock of a fragment ends when its place is taken by another one
def _resting(draw: Callable[[], object], watched: Watched, seen: object, raised: list[Exception]) -> None:
    _draw(draw, watched, seen, raised)


def _draw(draw: Callable[[], object], watched: Watched, seen: object, raised: list[Exception]) -> None:
    look, before, failed = _looked(), _clocked.set(bool(seen)), bool(raised)
    try:
        draw()
        raised.clear()
    except Exception as error:  # Streamlit would show a part's own as a fault, whatever the page makes of such
        raised[:] = [error]
    finally:
        _clocked.reset(before)
    if raised and look is None:
        return
    changed = bool(raised) != failed or watched() != seen
    if look is not None and seen and not changed:
        look.drawn.append((watched, seen))
        changed = _ends(look)
    if changed and HELD not in st.session_state:
        st.rerun()


def _looked() -> _Look | None:
    """Return the look that a part is drawn in, None where the page draws it."""
    run, look = get_script_run_ctx(), _look.get(None)
    if run is None or not run.fragment_ids_this_run or _placed.get():
        return None
    if look is None or look.parts is not run.fragment_ids_this_run:
        _look.set(look := _Look(run.fragment_ids_this_run, time.monotonic()))
    return look


def _ends(look: _Look) -> bool:
    """Say whether something ends during a look: its last part stays a while, and asks for all that it has drawn."""
    run = get_script_run_ctx()
    if run is not None and len(look.drawn) == len(look.parts):
        while time.monotonic() < look.begun + LINGER and not is_wanted(run.script_requests):
            if any(watched() != seen for watched, seen in look.drawn):
                return True
            time.sleep(GLANCE)
    return False


def is_wanted(requests: object) -> bool:
    """Say whether a session asks for another run: Streamlit does not end a part that runs for one that has to.

    It has no public word for that; where its own one is gone, a look does not stay.
    """
    return getattr(requests, "_state", None) is not ScriptRequestType.CONTINUE
