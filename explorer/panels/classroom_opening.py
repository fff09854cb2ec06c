"""What opens a class: questions one by one or a lecture's, whose answers the engine works out first; and going on."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from explorer import compute
from explorer.background import Kind, Task, live
from explorer.caches import ResultKey
from explorer.teaching import kept, shelf
from explorer.teaching.answers import MAX_TITLE
from explorer.teaching.builtin import QUESTIONS, is_known, question_of, title_of
from explorer.teaching.fields import COURSE
from explorer.teaching.lecture import Lecture
from explorer.teaching.own_classes import date_of, is_recent, lead, spaced
from explorer.teaching.questions import Question
from explorer.teaching.routes import ADDRESS

MAKING = "classroom_making"  # in the session's state: the class that is being opened
PLACE = "class questions"
TITLE, CHOSEN = "classroom_title", "classroom_questions"  # keys of controls
ALONE = ("localhost", "127.0.0.1", "[::1]")


def opening(key: str, said: Mapping[str, Any]) -> None:
    """Draw what opens a class, and those that can be gone on with."""
    st.title(said["title"])
    st.markdown(said["lead"])
    if address().hostname in ALONE:
        st.warning(said["not_reached"], icon=":material/wifi_off:")
    for course in kept.classes().courses(key):
        place = {"n": course.room.number, "total": len(course.room.questions)}
        words = said["go_on_with" if is_recent(course) else "go_on_with_old"]
        label = words.format(title=course.title, code=spaced(course.code), date=date_of(course), **place)
        st.button(label, key=f"go_on_{course.code}", icon=":material/play_circle:", on_click=show, args=(course.code,))
    st.subheader(said["open_title"], anchor=False)
    st.session_state.setdefault(TITLE, said["set_usual"])
    st.session_state.setdefault(CHOSEN, list(QUESTIONS))
    if lectures := _lectures():
        st.selectbox(
            said["set_of"],
            list(lectures),
            index=None,
            format_func=lambda name: said["set_yours" if name == shelf.DRAFT else "set_example"].format(
                title=lectures[name].title
            ),
            key="classroom_lecture",
            placeholder=said["set_of_none"],
            on_change=_take_over,
        )
    title = st.text_input(said["set_title"], max_chars=MAX_TITLE, key=TITLE)
    known = _known(lectures)
    st.session_state[CHOSEN] = [name for name in st.session_state[CHOSEN] if name in known]
    names = st.multiselect(
        said["set_questions"], list(known), format_func=lambda name: title_of(known[name]), key=CHOSEN
    )
    ready, wanted = bool(names and title.strip()), [known[name] for name in names]
    st.button(
        said["open"], key="classroom_open", type="primary", disabled=not ready, on_click=_make, args=(title, wanted)
    )
    if not names:
        st.caption(said["missing"])
    if making := st.session_state.get(MAKING):
        _made(key, making, said)


def show(code: str) -> None:
    """Have a class on display, or none (a callback): the address keeps it for who reloads the page."""
    st.session_state[COURSE.key] = code
    if code:
        lead(code)


def address() -> Any:
    """Return where phones reach this server: as its command found out, or else as this browser does."""
    return urlsplit(os.environ.get(ADDRESS) or st.context.url or "http://localhost")


def _lectures() -> dict[str, Lecture]:
    """Return the lectures that have questions: those that come with the app, and the one that is being made."""
    found = {**shelf.examples(), shelf.DRAFT: shelf.draft()}
    return {name: lecture for name, lecture in found.items() if lecture.title.strip() and _asked_in(lecture)}


def _asked_in(lecture: Lecture) -> dict[str, str | Question]:
    """Return the questions of a lecture's slides by name, each once."""
    return {slide.asks: slide.question for slide in lecture.slides if is_known(slide.question)}


def _known(lectures: Mapping[str, Lecture]) -> dict[str, str | Question]:
    """Return all questions that can be chosen by name: those that come with the app, and those of lectures."""
    found: dict[str, str | Question] = {name: name for name in QUESTIONS}
    for lecture in lectures.values():
        found |= _asked_in(lecture)
    return found


def _take_over() -> None:
    """Choose the questions of a lecture (a callback)."""
    lecture = _lectures().get(st.session_state["classroom_lecture"])
    if lecture is not None:  # the one that is being made may have been emptied in another window
        st.session_state[TITLE], st.session_state[CHOSEN] = lecture.title[:MAX_TITLE], [*_asked_in(lecture)]


def _made(key: str, wanted: tuple[str, Sequence[str | Question]], said: Mapping[str, Any]) -> None:
    """Have the truths worked out in the background, and open the class when they are."""
    title, given = wanted
    key_of = ResultKey(PLACE, *(one if isinstance(one, str) else one.name for one in given))
    task = compute.session().ask(PLACE, key_of, lambda: _truths(given), Kind.STUDY, len(given))
    live(lambda: _making(task, said), lambda: task.active)
    if task.active:
        return
    del st.session_state[MAKING]
    if task.error is not None:
        raise task.error
    questions = [question_of(one) for one in given]  # from what is kept, in this session's language
    show(kept.classes().open(title.strip(), questions, key))
    st.rerun()


def _truths(given: Sequence[str | Question]) -> Generator[Question, None, None]:
    """Yield the questions one by one, which keeps what the engine works out for them."""
    for one in given:
        yield question_of(one)


def _making(task: Task, said: Mapping[str, Any]) -> None:
    """Say how far the engine is, and offer to stop it."""
    if task.active:
        st.progress(task.share, said["making"].format(done=len(task.items), total=task.total))
        st.button(said["stop"], key="classroom_stop", icon=":material/stop:", on_click=_stop)


def _make(title: str, given: Sequence[str | Question]) -> None:
    """Have a class opened (a callback)."""
    st.session_state[MAKING] = (title, tuple(given))


def _stop() -> None:
    """Open no class now (a callback)."""
    compute.session().leave(PLACE)
    st.session_state.pop(MAKING, None)  # as a second press finds it
