"""Playing a lecture: a slide is its page with its state, and nothing that was changed on one is found on another."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from explorer import controls, frame
from explorer.language import KEY as LANGUAGE_KEY
from explorer.language import language
from explorer.lessons import LESSONS
from explorer.lessons.framework import answers, progress
from explorer.own_files import models
from explorer.page_table import TEACH, pages_folder
from explorer.presenting import PRESENT
from explorer.teaching import drawn, shelf
from explorer.teaching.fields import ANSWERS, APART, COURSE, FIELDS, HIDDEN, HIDE, LECTURE, LOCK, SHOWN, SLIDE
from explorer.teaching.lecture import Lecture, Slide
from explorer.teaching.restrictions import answers_wait
from quant_engine import QuantError

GO, END = "lecture_go", "lecture_end"  # what the next run is to do
ENTERED, TIMES = "lecture_entered", "lecture_times"  # name and number of the slide at hand; how many were entered
ARRIVED = "lecture_arrived"  # whether its page was opened: from there others may be
BEFORE = "lecture_progress"  # what had been done in lessons before the lecture
REFUSED = "lecture_refused"
FROM = "lecture_from"  # whether the page Lectures began it, to which its end leads back
SPARED = (LANGUAGE_KEY, COURSE.key)


def follow(page: str) -> None:
    """Show the slide that a key or, to begin with, the address asks for, on its own page.

    `page` is the one that this run is about: a request of the page before may come in while another is opened.
    """
    state = st.session_state
    if state.pop(END, False):
        _leave()
        if state.pop(FROM, False):
            st.switch_page(pages_folder() / TEACH, query_params={})  # by default it refuses where controls are bound
        return
    name, number = _asked()
    if name:
        try:
            lecture = shelf.find(name)
            _require_slide(lecture)
            to = min(max(state.pop(GO, _gone_back(page, lecture) or number), 1), len(lecture.slides))
            if to and state.get(ENTERED) != (name, to):
                _enter(name, to, lecture.slides[to - 1])
            if to and not state.get(ARRIVED):
                _arrive(page, name, to, lecture.slides[to - 1])
        except QuantError as error:
            _leave()
            state[REFUSED] = str(error)
    for field in FIELDS:
        controls.unshown(field)


def _require_slide(lecture: Lecture) -> None:
    """Leave the slide at hand where a lecture that is still being made has it no longer; refuse one without any."""
    if not lecture.slides:
        raise QuantError(f"the lecture {lecture.title!r} has no slides any more")
    if (entered := st.session_state.get(ENTERED)) is not None and entered[1] > len(lecture.slides):
        st.session_state[ENTERED] = None


def at_hand() -> tuple[str, Lecture, Slide] | None:
    """Return the name of the lecture that is played, the lecture, and its slide."""
    entered = st.session_state.get(ENTERED)
    if entered is None:
        return None
    name, number = entered
    lecture = shelf.find(name)
    return name, lecture, lecture.slides[number - 1]


def bar() -> dict[str, Any] | None:
    """Return what the bar says of the slide at hand."""
    if (now := at_hand()) is None:
        return None
    name, lecture, slide = now
    return {
        "key": f"{name} {st.session_state[TIMES]}",
        "title": lecture.title,
        "slides": [each.title for each in lecture.slides],
        "at": st.session_state[ENTERED][1],
        "part": slide.part,
        "seconds": slide.seconds,
        "note": slide.note,
        "hides": slide.hides,
        "hidden": answers_wait(),
    }


def play(name: str, number: int) -> None:
    """Begin a lecture at a slide (a callback)."""
    st.session_state[ENTERED] = None
    st.session_state[LECTURE.key] = name
    st.session_state[GO], st.session_state[FROM] = number, True


def go(number: int) -> None:
    """Show another slide (a callback).

    A run that opens a page ends before Streamlit forgets what was pressed, and tells it again with the next press.
    """
    entered = st.session_state.get(ENTERED)
    if entered is not None and entered[1] != number:
        st.session_state[GO] = int(number)


def end() -> None:
    """End the lecture on the page at hand (a callback)."""
    st.session_state[END] = True


def reveal(answers_now: str) -> None:
    """Show the answers, or hide them again (a callback, which one press may call twice)."""
    if ANSWERS.accepts(answers_now):
        controls.assign({ANSWERS.key: answers_now})


def refused() -> str:
    """Return why a lecture is not played, once."""
    return str(st.session_state.pop(REFUSED, ""))


def lacking() -> str:
    """Return the name of the model that the slide at hand is about, where this server has it not."""
    now = at_hand()
    model = now[2].link.get(frame.MODEL_KEY, "") if now else ""
    return model if model not in models().names() else ""


def _restrictions(name: str, number: int, slide: Slide) -> dict[str, str]:
    """Return what the address says of a slide beside the state of its page."""
    link = {
        LECTURE.key: name,
        SLIDE.key: str(number),
        PRESENT.key: PRESENT.held(True),
        HIDE.key: APART.join(slide.hidden),
        LOCK.key: APART.join(slide.locked),
        ANSWERS.key: HIDDEN if slide.hides else SHOWN,
    }
    return {key: text for key, text in link.items() if text}


def _asked() -> tuple[str, int]:
    """Return the lecture and slide at hand; where none is, those of the address."""
    state, link = st.session_state, st.query_params
    if state.get(ENTERED) is not None:
        entered: tuple[str, int] = state[ENTERED]
        return entered
    name, number = state.get(LECTURE.key) or link.get(LECTURE.key, ""), link.get(SLIDE.key, "1")
    return name if LECTURE.accepts(name) else "", int(number) if SLIDE.accepts(number) else 1


def _gone_back(page: str, lecture: Lecture) -> int:
    """Return the slide to which the browser's own buttons have led: the address then is of another page; 0 for none."""
    entered, text = st.session_state.get(ENTERED), st.query_params.get(SLIDE.key, "")
    if entered is None or not st.session_state.get(ARRIVED) or not SLIDE.accepts(text):
        return 0
    there = 0 < int(text) <= len(lecture.slides) and lecture.slides[int(text) - 1].page == page
    return int(text) if there and page != lecture.slides[entered[1] - 1].page else 0


def _enter(name: str, number: int, slide: Slide) -> None:
    """Set all that a slide sets, and put all else back: controls follow the session's state."""
    state = st.session_state
    state.setdefault(LANGUAGE_KEY, language())  # that of the address, which the slide's takes the place of
    if BEFORE not in state:
        state[BEFORE] = json.dumps(progress.progress())
    _forget()
    drawn.turn_to(name, number)
    state[ENTERED], state[TIMES], state[ARRIVED] = (name, number), state.get(TIMES, 0) + 1, False
    link = {**slide.link, **_restrictions(name, number, slide)}
    for field in frame.link_fields(link.get(frame.MODEL_KEY)):
        state.pop(controls.written_key(field), None)
        text = link.get(field.key)
        if text is not None and field.accepts(text):
            state[field.key] = field.parse(text)
        elif field.key in state and field.key not in SPARED:
            state[field.key] = field.default


def _arrive(page: str, name: str, number: int, slide: Slide) -> None:
    """Open the slide's page, unless this is it, with the slide's address.

    Controls that the page before has drawn take the address along, and Streamlit lets nothing else change it; those of
    a page that was not shown yet do not.
    """
    link = {**slide.link, **_restrictions(name, number, slide)}
    if page == slide.page and st.query_params.get(SLIDE.key) == str(number):
        st.session_state[ARRIVED] = True
        return
    free = {key: text for key, text in link.items() if _sets_address(key, text)}
    st.switch_page(pages_folder() / f"{slide.page}.py", query_params=free)


def _sets_address(key: str, text: str) -> bool:
    """Set a parameter of the address, and say whether that was possible."""
    with contextlib.suppress(StreamlitAPIException):  # of a control that is drawn
        st.query_params[key] = text
        return True
    return False


def _leave() -> None:
    """Be as before the lecture, on the page at hand."""
    state = st.session_state
    if state.pop(ENTERED, None) is not None:
        _forget()
        progress.restore(state.pop(BEFORE, "{}"))
        drawn.close()
    state.pop(GO, None)
    for field in (*FIELDS, PRESENT):
        state[field.key] = field.default
        controls.unshown(field)


def _forget() -> None:
    """Forget what has been predicted, answered and done in lessons: each slide begins anew."""
    for lesson in LESSONS.values():
        answers.forget(lesson)
        st.session_state[f"{lesson.slug}_visited"] = True  # no story in the place of the slide's tensor
