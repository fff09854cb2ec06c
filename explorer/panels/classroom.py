"""A class: opened with a set of questions, followed while students answer, and taken from vote to vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from explorer import controls
from explorer.dialogs import close, dialog
from explorer.language import language, read_words
from explorer.panels.classroom_opening import ALONE, address, opening, show
from explorer.presenting import presenting
from explorer.refusals import refusals_said
from explorer.sentences import inert, verbatim
from explorer.teaching import kept
from explorer.teaching.access_key import teacher_key
from explorer.teaching.class_chart import class_chart, few_votes, lacks_votes, revealed
from explorer.teaching.courses import Course
from explorer.teaching.fields import COURSE
from explorer.teaching.own_classes import lead, spaced
from explorer.teaching.qr import qr_svg
from explorer.teaching.question_form import write_question
from explorer.teaching.routes import COOKIE
from explorer.teaching.table import csv_of
from explorer.uploads import streamed
from quant_engine import QuantError

LOOK = 1  # seconds between two looks at who has answered
ASKING = "classroom_asking"  # in the session's state: whether a question is to be written
ICONS = {
    "begin": "play_arrow",
    "close": "lock",
    "open": "lock_open",
    "spread": "bar_chart",
    "again": "replay",
    "reveal": "visibility",
    "next": "skip_next",
    "finish": "flag",
    "resume": "undo",
}
KEYS = {  # as in lectures: A for the answer; N is the note there
    **{"begin": "Q", "next": "Q", "finish": "Q", "resume": "Q"},
    **{"close": "L", "open": "O", "spread": "S", "again": "V", "reveal": "A"},
}


def classroom_panel() -> None:
    """Draw the class at hand, or what opens one."""
    said = read_words("classroom")
    if not streamed():
        st.title(said["title"])
        st.info(said["without_routes"], icon=":material/terminal:")
        return
    key = teacher_key(st.context.cookies.get(COOKIE, ""))
    if key is None:
        st.title(said["title"])
        st.info(said["without_key"], icon=":material/key:")
        return
    with refusals_said():
        course = _shown(key)
        if course is None:
            opening(key, said)
        else:
            _class(course, said)
            if ASKING in st.session_state:
                dialog(said["new_title"], ASKING, lambda: _new_question(course, said))


def _shown(key: str) -> Course | None:
    """Return the class on display, if it still is there and this teacher's."""
    code = controls.unshown(COURSE)
    found = next((course for course in kept.classes().courses(key) if course.code == code), None)
    if found is not None:
        lead(found.code)
    return found


def _class(course: Course, said: Mapping[str, Any]) -> None:
    """Draw a class: what can be done, the question, who has answered, and how one joins."""
    _actions(course, said)
    if course.room.phase == "ended":
        st.title(said["ended"])
        st.markdown(said["ended_text"])
    else:
        _followed(course.code, course.revision)


def _actions(course: Course, said: Mapping[str, Any]) -> None:
    """Draw the buttons of a class in one row; each has a key."""
    with st.container(horizontal=True, vertical_alignment="center", key="classroom_actions"):
        for number, action in enumerate(course.room.actions):
            called = "finish" if action == "next" and course.room.is_last else action
            why = few_votes() if lacks_votes(course, action) else None
            st.button(
                said["actions"][called],
                key=f"classroom_{action}",
                icon=f":material/{ICONS[called]}:",
                type="primary" if number == len(course.room.actions) - 1 or action == "spread" else "secondary",
                shortcut=KEYS[action],
                help=why,
                disabled=why is not None,
                on_click=_act,
                args=(course.code, action, course.revision),
            )
        st.button(
            said["new"], key="classroom_new", icon=":material/add_comment:", help=said["new_help"], on_click=_ask_new
        )
        if presenting() and course.room.phase != "ended":
            return
        questions = [one.worded(language()) for one in course.room.questions]
        table = csv_of(questions, kept.classes().record_of(course.code), said["csv"])
        name = said["file"].format(code=course.code)
        st.download_button(
            said["download"],
            table.encode("utf-8-sig"),
            name,
            "text/csv",
            key="classroom_csv",
            on_click="ignore",
            icon=":material/download:",
        )
        with st.popover(said["end"], key="classroom_end"):
            st.markdown(said["end_text"])
            st.button(said["end_now"], key="classroom_end_now", type="primary", on_click=_end, args=(course.code,))
        st.button(said["back"], key="classroom_back", type="tertiary", on_click=show, args=("",))
    if problem := st.session_state.pop("classroom_problem", None):
        st.warning(said["refused"].format(error=problem))


@st.fragment(run_every=LOOK)
def _followed(code: str, revision: int) -> None:
    """Draw what the class sees, with who has joined and answered, from sums alone."""
    said, course = read_words("classroom"), kept.classes().course(code)
    if course is None or course.revision != revision:
        st.rerun()
    if course.room.phase == "lobby":
        _lobby(course, said)
        return
    left, right = st.columns([0.8, 0.2], gap="medium")
    votes = kept.classes().votes(code, course.room.position)
    with left:
        _question(course, votes, said)
    with right:
        _counts(course, votes, said)
        _ways_in(course, said)


def _lobby(course: Course, said: Mapping[str, Any]) -> None:
    """Draw how one joins, for a projector: address, code, and both as a picture."""
    left, right = st.columns([0.42, 0.58], gap="large", vertical_alignment="center")
    with left:
        _picture(course, said, "stretch")
    with right:
        st.markdown(f"### {said['join_at']}\n## {address().netloc}/join")
        st.markdown(f"### {said['code']}\n# {spaced(course.code)}")
        _counts(course, {}, said)
        if address().hostname in ALONE:
            st.warning(said["not_reached"], icon=":material/wifi_off:")


def _question(course: Course, votes: Mapping[int, Sequence[float]], said: Mapping[str, Any]) -> None:
    """Draw a question, and what the class is shown of the votes."""
    room = course.room
    question, told = room.question.worded(language()), room.is_revealed
    st.caption(said["question_of"].format(title=course.title, n=room.number, total=len(room.questions)))
    drawn = bool(question.options or question.histogram or room.is_spread_shown)
    st.markdown(f"{'###' if drawn else '##'} {inert(question.text)}")
    if drawn:
        class_chart(course, votes, "classroom_chart")
    if told and (text := revealed(question)):
        st.markdown(f"#### {inert(text)}")


def _counts(course: Course, votes: Mapping[int, Sequence[float]], said: Mapping[str, Any]) -> None:
    """Draw how many have joined, and voted."""
    with st.container(horizontal=True, gap="medium", key="hero"):
        st.metric(said["joined"], kept.classes().students(course.code), width="content")
        if course.room.phase != "lobby":
            twice = course.room.phase == "again" or 2 in votes
            st.metric(said["first" if twice else "answered"], len(votes.get(1, ())), width="content")
        if course.room.phase == "again" or 2 in votes:
            st.metric(said["second"], len(votes.get(2, ())), width="content")


def _ways_in(course: Course, said: Mapping[str, Any]) -> None:
    """Draw how one joins late."""
    _picture(course, said, 150)
    st.markdown(f"{said['join_at']} **{address().netloc}/join**  \n{said['code']} **{spaced(course.code)}**")


def _picture(course: Course, said: Mapping[str, Any], width: Any) -> None:
    link = f"{address().scheme}://{address().netloc}/join/{course.code}"
    with st.container(key="classroom_qr"):
        st.image(qr_svg(link), width=width, alt=said["qr_alt"].format(address=link))


def _act(code: str, action: str, revision: int) -> None:
    """Take a class a step on (a callback); another window may have done so before."""
    try:
        kept.act(code, action, revision)
    except QuantError as error:
        st.session_state["classroom_problem"] = str(error)


def _ask_new() -> None:
    """Have the form of a new question opened (a callback)."""
    st.session_state[ASKING] = True


def _new_question(course: Course, said: Mapping[str, Any]) -> None:
    """Draw the form of a question of the teacher's own, and put it to the class at once."""
    st.caption(said["new_text"])
    question = write_question(None, "classroom_new")
    if st.button(said["new_ask"], type="primary", key="classroom_new_ask", icon=":material/how_to_vote:"):
        try:
            kept.ask(course.code, question())
        except QuantError as error:
            st.error(verbatim(error))
            return
        close(ASKING)


def _end(code: str) -> None:
    """Delete a class (a callback)."""
    kept.end(code)
    show("")
    st.toast(read_words("classroom")["deleted"].format(code=spaced(code)), icon=":material/delete:")
