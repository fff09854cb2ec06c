"""The classes of the teacher whose browser this is."""

from __future__ import annotations

import streamlit as st

from explorer.teaching import kept
from explorer.teaching.access_key import teacher_key
from explorer.teaching.answers import Course
from explorer.teaching.routes import COOKIE
from explorer.uploads import streamed


def own_classes() -> list[Course]:
    """Return them, the last opened first; none on a server that holds no classes, and for who may hold none."""
    key = teacher_key(st.context.cookies.get(COOKIE, "")) if streamed() else None
    return kept.classes().courses(key) if key is not None else []
