"""A slide's question put to the class that is open: it is asked, voted on and revealed where the slide stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from explorer import controls
from explorer.language import read_words
from explorer.sentences import verbatim
from explorer.teaching import kept
from explorer.teaching.answers import Course
from explorer.teaching.class_chart import class_chart
from explorer.teaching.fields import ANSWERS, SHOWN
from explorer.teaching.own_classes import own_classes
from explorer.teaching.questions import Question
from quant_engine import QuantError

LOOK = 1  # seconds between two looks at who has answered


def slide_class(question: Question) -> None:
    """Draw what leads the last opened class of this teacher that has the slide's question; without one, nothing."""
    found = next(((course, place) for course in own_classes() if (place := _place(course, question)) >= 0), None)
    if found is None:
        return
    (course, place), said = found, read_words("classroom")
    asked = course.room.position == place and course.room.actions and course.room.phase != "lobby"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="slide_class"):
        if not asked:
            st.button(
                said["ask"].format(code=course.code),
                key="slide_class_ask",
                icon=":material/how_to_vote:",
                on_click=_act,
                args=(course.code, place, course.revision),
            )
            return
        for action in course.room.actions:
            if action != "next":
                args = (course.code, action, course.revision)
                st.button(said["actions"][action], key=f"slide_class_{action}", on_click=_act, args=args)
        _count(course.code, course.revision, said)
    if course.room.is_spread_shown:
        class_chart(course, kept.classes().votes(course.code, place), "slide_class_chart")


@st.fragment(run_every=LOOK)
def _count(code: str, revision: int, said: Mapping[str, Any]) -> None:
    """Say how many have answered, from sums alone."""
    course = kept.classes().course(code)
    if course is None or course.revision != revision:
        st.rerun()
    votes, joined = kept.classes().votes(code, course.room.position), kept.classes().students(code)
    answered = len(votes.get(course.room.round or max(votes, default=1), ()))
    st.markdown(said["on_slide"].format(code=code, answered=answered, joined=joined), width="content")


def _place(course: Course, question: Question) -> int:
    """Return which of a class's questions this is, -1 for none."""
    texts = [one.text for one in course.room.questions]
    return texts.index(question.text) if question.text in texts else -1


def _act(code: str, action: str | int, revision: int) -> None:
    """Take the class a step on (a callback); what phones are told, the slide tells, too."""
    try:
        kept.act(code, action, revision)
    except QuantError as error:
        st.toast(verbatim(error), icon=":material/block:")
        return
    if action == "reveal":
        controls.assign({ANSWERS.key: SHOWN})
