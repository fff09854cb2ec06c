"""The classes of the teacher whose browser this is, and which of them this session leads."""

from __future__ import annotations

import datetime

import streamlit as st

from explorer.teaching import kept
from explorer.teaching.access_key import teacher_key
from explorer.teaching.classroom import ENDED
from explorer.teaching.courses import Course
from explorer.teaching.routes import COOKIE
from explorer.uploads import streamed

LED = "teaching_class"  # in the session's state: the code of the class that was opened or chosen last
RECENT = datetime.timedelta(hours=12)


def own_classes() -> list[Course]:
    """Return them, the last opened first; none on a server that holds no classes, and for who may hold none."""
    key = teacher_key(st.context.cookies.get(COOKIE, "")) if streamed() else None
    return kept.classes().courses(key) if key is not None else []


def lead(code: str) -> None:
    """Have this session lead a class from now on."""
    st.session_state[LED] = code


def led_class(courses: list[Course]) -> Course | None:
    """Return the class that this session leads: the one it opened or chose, or else the last one opened recently."""
    led = st.session_state.get(LED)
    open_now = (one for one in courses if is_recent(one) and one.room.phase != ENDED)
    return next((one for one in courses if one.code == led), next(open_now, None))


def spaced(code: str) -> str:
    """Return a class's code as it is read out.

    >>> spaced("ACDEFG")
    'ACD EFG'
    """
    return f"{code[:3]} {code[3:]}"


def is_recent(course: Course) -> bool:
    """Say whether a class was opened for the lecture that is held now."""
    return datetime.datetime.now(datetime.UTC) - _opened(course) < RECENT


def date_of(course: Course) -> str:
    """Return the day on which a class was opened, where this server is."""
    return _opened(course).astimezone().date().isoformat()


def _opened(course: Course) -> datetime.datetime:
    return datetime.datetime.fromisoformat(course.created)
