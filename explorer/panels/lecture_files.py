"""What stays of a lecture: its handout, and its record with what a class has answered."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from explorer.figures.theme import Canvas
from explorer.language import language, read_words
from explorer.refusals import refusals_said
from explorer.teaching import drawn, kept, shelf
from explorer.teaching.builtin import is_known, question_of
from explorer.teaching.courses import Course
from explorer.teaching.lecture import Lecture
from explorer.teaching.own_classes import own_classes
from explorer.teaching.questions import Question
from explorer.teaching.record import Asked, handout_html, record_html


def lecture_files_panel(lecture: Lecture) -> None:
    """Offer both for the lecture that was played last in this session, the handout also for the one being made."""
    said: Mapping[str, str] = read_words("teach")["record"]
    figures: drawn.Figures = {}
    open_figures: drawn.Figures = {}  # those that tell no answer
    canvas = Canvas("lecture")  # white, whatever the theme
    with refusals_said():
        if (played := drawn.last()) is not None:
            lecture, figures = shelf.find(played.name), played.figures
            open_figures = played.before_answers(lecture)
        if not lecture.slides:
            return
        st.markdown(f"**{said['title']}**")
        title = lecture.title or read_words("teach")["title"]
        played_words = said["of"].format(title=title, n=len(figures), total=len(lecture.slides))
        st.caption(played_words if figures else said["play_first"])
        name = file_name(lecture.title)
        st.download_button(
            said["handout"],
            lambda: handout_html(lecture, open_figures, _questions(lecture), canvas),
            f"{name}-handout.html",
            "text/html",
            key="teach_handout",
            icon=":material/print:",
            on_click="ignore",
        )
        record, courses = st.container(), own_classes()
        course = (
            st.selectbox(
                said["class"],
                courses,
                index=None,
                format_func=lambda one: f"{one.title} · {one.code}",
                key="teach_class",
                placeholder=said["no_class"],
            )
            if courses
            else None
        )
        record.download_button(
            said["record"],
            lambda: record_of(lecture, figures, course, canvas),
            f"{name}-record.html",
            "text/html",
            key="teach_record",
            icon=":material/movie:",
            on_click="ignore",
        )


def file_name(title: str) -> str:
    """Return a lecture's title as the name of a file.

    >>> file_name("Why clip? ML 101")
    'Why clip_ ML 101'
    """
    return "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in title).strip()[:80] or "lecture"


def record_of(lecture: Lecture, figures: drawn.Figures, course: Course | None, canvas: Canvas) -> str:
    """Return the record of a lecture, with what a class has answered if there was one."""
    questions, given = _questions(lecture), _given(course)
    asked = {name: given.get(name, Asked(question, {})) for name, question in questions.items()}
    others = [one for name, one in given.items() if name not in questions]
    return record_html(lecture, figures, asked, others, canvas)


def _questions(lecture: Lecture) -> dict[str, Question]:
    return {slide.asks: question_of(slide.question) for slide in lecture.slides if is_known(slide.question)}


def _given(course: Course | None) -> Mapping[str, Asked]:
    """Return what a class was asked, with its votes, by the question's name."""
    if course is None:
        return {}
    votes, spoken = kept.classes().votes, language()
    return {
        one.name or one.text: Asked(one.worded(spoken), votes(course.code, place))
        for place, one in enumerate(course.room.questions)
    }
