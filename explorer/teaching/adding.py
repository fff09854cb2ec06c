"""Add to lecture: the page at hand, as its address says it, becomes a slide of the lecture that is being made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer import controls, frame
from explorer.dialogs import close, dialog
from explorer.fields import Field, Text
from explorer.language import read_words
from explorer.lessons import LESSONS
from explorer.page_table import PLAYGROUND, entry_of
from explorer.sentences import verbatim
from explorer.state import PlaygroundState
from explorer.teaching import shelf
from explorer.teaching.fields import HIDE, LOCK
from explorer.teaching.lecture import MAX_NOTE, MAX_TITLE, Slide, slide_of
from explorer.teaching.question_form import Made, choose_question
from explorer.teaching.restrictions import answers_wait
from quant_engine import QuantError

ASKED = "lecture_add"  # the address that is to become a slide, and the part of the page that is in sight
ASKING = ("Predict", "Check")  # steps of lessons
MAX_MINUTES = 240


def ask(shown: Mapping[str, str]) -> None:
    """Have the dialog opened at the end of this run (a callback)."""
    st.session_state[ASKED] = shown


def add_panel() -> None:
    """Open the dialog if it was asked for, and keep it open over the runs of the page under it."""
    asked = st.session_state.get(ASKED)
    if asked is None:
        return
    try:
        slide = asked if isinstance(asked, Slide) else _proposed(str(asked["address"]), str(asked["part"]))
    except QuantError as error:
        del st.session_state[ASKED]
        st.toast(verbatim(error), icon=":material/block:")
        return
    st.session_state[ASKED] = slide
    said = read_words("teach")["add"]
    dialog(said["title"], ASKED, lambda: _dialog(slide, said))


def fields_of(page: str) -> Sequence[Field[Any]]:
    """Return the settings of a page that have controls."""
    model = frame.model_field()
    subject = () if page in frame.HOMES else (model, frame.tensor_field(controls.current(model)))
    if page == PLAYGROUND.removesuffix(".py"):
        state = controls.now(PlaygroundState)
        own: Sequence[Field[Any]] = [field for field in PlaygroundState.fields().values() if field.shown(state)]
    else:
        lesson = LESSONS.get(page.removeprefix("lesson_"))
        own = lesson.all_fields if lesson else ()
    return [field for field in (*subject, *own) if not isinstance(field, Text)]


def slide_form(slide: Slide, key: str, said: Mapping[str, str]) -> tuple[Slide, Made]:
    """Draw the form of a slide, and return the slide with what is chosen, and what makes its question."""
    slide = choose_title(slide, key, said)
    question = choose_question(slide.question, key)
    return choose_rest(choose_controls(slide, key, said), key, said), question


def choose_controls(slide: Slide, key: str, said: Mapping[str, str]) -> Slide:
    """Draw the choices of the controls that a slide hides or locks, and return the slide with them."""
    labels = {field.key: field.label for field in fields_of(slide.page)}
    options = [*dict.fromkeys((*labels, *slide.hidden, *slide.locked))]
    hidden, locked = (
        side.multiselect(
            said[name],
            options,
            getattr(slide, name),
            format_func=lambda one: labels.get(one, one),
            key=f"{key}_{name}",
            help=said[f"{name}_help"],
        )
        for side, name in zip(st.columns(2), ("hidden", "locked"), strict=True)
    )
    return replace(slide, hidden=tuple(hidden), locked=tuple(locked))


def choose_rest(slide: Slide, key: str, said: Mapping[str, str]) -> Slide:
    """Draw the choices of answers, time and note, and return the slide with them."""
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"{key}_row"):
        hides = st.toggle(said["answers"], slide.answers_hidden, key=f"{key}_answers", help=said["answers_help"])
        minutes = st.number_input(
            said["minutes"], 0.0, float(MAX_MINUTES), slide.seconds / 60, 0.5, "%.1f", key=f"{key}_minutes", width=150
        )
    note = st.text_area(said["note"], slide.note, key=f"{key}_note", max_chars=MAX_NOTE, help=said["note_help"])
    return replace(slide, answers_hidden=hides, seconds=round(60 * minutes), note=note)


def choose_title(slide: Slide, key: str, said: Mapping[str, str]) -> Slide:
    """Draw the slide's title, and return the slide with it."""
    return replace(slide, title=st.text_input(said["name"], slide.title, key=f"{key}_title", max_chars=MAX_TITLE))


def _dialog(slide: Slide, said: Mapping[str, str]) -> None:
    key = "lecture_new"
    slide, question = slide_form(slide, key, said)
    if st.button(said["do"], type="primary", key=f"{key}_do", icon=":material/playlist_add:"):
        try:
            made = replace(slide, question=question())
            lecture = shelf.draft().with_slide(Slide.read(made.record(), shelf.known()))
            shelf.save_draft(lecture)
        except QuantError as error:
            st.error(verbatim(error))
            return
        st.toast(said["done"].format(n=len(lecture.slides)), icon=":material/playlist_add_check:")
        close(ASKED)


def _proposed(address: str, part: str) -> Slide:
    """Return the slide of an address, with the model and tensor on display also where they are the usual ones."""
    slide = slide_of(address, "", shelf.known(), part)
    entry = entry_of(slide.page)
    title = LESSONS[slide.page.removeprefix("lesson_")].prose.title if entry.lesson else entry.title
    subject = {key: str(st.session_state[key]) for key in _subject(slide.page) if key in st.session_state}
    return replace(
        slide,
        title=" · ".join((title, *subject.values()))[:MAX_TITLE],
        link={**subject, **slide.link},
        hidden=controls.current(HIDE),
        locked=controls.current(LOCK),
        answers_hidden=answers_wait() or _asks(slide.page),
    )


def _asks(page: str) -> bool:
    """Say whether a page is a lesson's at a step that asks something, before the result is shown."""
    lesson = LESSONS.get(page.removeprefix("lesson_"))
    return lesson is not None and controls.current(lesson.beat) in ASKING


def _subject(page: str) -> tuple[str, ...]:
    """Return the keys of what a page shows; the opening page always shows the same."""
    return () if page in frame.HOMES else (frame.MODEL_KEY, frame.TENSOR_KEY)
