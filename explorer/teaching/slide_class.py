"""A slide's question put to the class that this session leads: asked, voted on and revealed where the slide stands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from explorer import controls
from explorer.language import read_words
from explorer.sentences import verbatim
from explorer.teaching import kept, playing
from explorer.teaching.class_chart import class_chart, few_votes, lacks_votes
from explorer.teaching.courses import Course
from explorer.teaching.fields import ANSWERS, SHOWN
from explorer.teaching.own_classes import date_of, is_recent, lead, led_class, own_classes, spaced
from explorer.teaching.questions import Question
from quant_engine import QuantError

LOOK = 1  # seconds between two looks at who has answered
CHOICE = "slide_class_choice"  # key of the menu of classes
TOLD = "slide_class_told"  # in the session's state: the reveal to the class that this slide has taken over


def follow_class() -> None:
    """Show the answers of the slide at hand once its class is told, wherever that was pressed; and then leave them."""
    course = _asked_now()
    if course is None or not course.room.is_revealed:
        return
    seen = (st.session_state[playing.TIMES], course.code, course.revision)
    if st.session_state.get(TOLD) != seen:
        st.session_state[TOLD] = seen
        controls.assign({ANSWERS.key: SHOWN})


def bar() -> dict[str, Any] | None:
    """Return what a lecture's bar says: of the slide at hand, and of the class."""
    said = playing.bar()
    if said is None:
        return None
    course = _led()
    return {**said, "class": spaced(course.code) if course else ""}


def reveal(answers_now: str) -> None:
    """Show the answers, in the room and to the class that was asked, or hide them in the room (a callback)."""
    playing.reveal(answers_now)
    if answers_now == SHOWN and (course := _asked_now()):
        _told(lambda: kept.reveal(course.code))


def slide_class(question: Question) -> None:
    """Draw what leads the class of this session on the slide's question; without a class, nothing."""
    courses = own_classes()
    if not courses:
        return
    course, said = led_class(courses), read_words("classroom")
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="slide_class"):
        if course is None or len(courses) > 1:
            _choose(courses, course, said)
        if course is None:
            return
        if not course.room.has_asked(question.name):
            label = said["ask"].format(code=spaced(course.code))
            asked = (course.code, question, course.revision)
            st.button(label, key="slide_class_ask", icon=":material/how_to_vote:", on_click=_ask, args=asked)
            return
        for action in course.room.actions:
            if action != "next":
                args = (course.code, action, course.revision)
                why = few_votes() if lacks_votes(course, action) else None
                st.button(
                    said["actions"][action],
                    key=f"slide_class_{action}",
                    help=why,
                    disabled=why is not None,
                    on_click=_act,
                    args=args,
                )
        _count(course.code, course.revision, said)
    if course.room.is_spread_shown or question.histogram is not None:  # it may be of another tensor than the page's
        class_chart(course, kept.classes().votes(course.code, course.room.position), "slide_class_chart")


def _led() -> Course | None:
    """Return the class that this session leads; where classes cannot be read, the question's panel says why."""
    with contextlib.suppress(QuantError):
        return led_class(own_classes())
    return None


def _asked_now() -> Course | None:
    """Return the class that this session leads, if the question of the slide at hand was put to it last."""
    now = playing.at_hand()
    course = _led() if now and now[2].asks else None
    return course if now and course and course.room.has_asked(now[2].asks) else None


def _choose(courses: Sequence[Course], led: Course | None, said: Mapping[str, Any]) -> None:
    """Draw the menu of the teacher's classes; old ones have their date."""
    labels = {
        one.code: said["one_of" if is_recent(one) else "one_of_old"].format(
            code=spaced(one.code), title=one.title, date=date_of(one)
        )
        for one in courses
    }
    st.session_state[CHOICE] = led.code if led else None
    st.selectbox(
        said["choose"],
        list(labels),
        format_func=lambda code: labels.get(code, code),
        key=CHOICE,
        on_change=lambda: lead(st.session_state[CHOICE]),
        placeholder=said["choose"],
        label_visibility="collapsed",
        width=260,
    )


@st.fragment(run_every=LOOK)
def _count(code: str, revision: int, said: Mapping[str, Any]) -> None:
    """Say how many have answered, from sums alone."""
    course = kept.classes().course(code)
    if course is None or course.revision != revision:
        st.rerun()
    votes, joined = kept.classes().votes(code, course.room.position), kept.classes().students(code)
    answered = len(votes.get(course.room.round or max(votes, default=1), ()))
    st.markdown(said["on_slide"].format(code=spaced(code), answered=answered, joined=joined), width="content")


def _ask(code: str, question: Question, revision: int) -> None:
    """Open the vote on the slide's question (a callback)."""
    _told(lambda: kept.ask(code, question, revision))


def _act(code: str, action: str, revision: int) -> None:
    """Take the class a step on (a callback); what phones are told, the slide tells, too."""
    _told(lambda: kept.act(code, action, revision))


def _told(act: Callable[[], object]) -> None:
    """Do something with the class, or say why that is not possible."""
    try:
        act()
    except QuantError as error:
        st.toast(verbatim(error), icon=":material/block:")
