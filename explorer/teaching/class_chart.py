"""How a class has answered, as it may be seen by all in the room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from explorer import charts
from explorer.figures.class_answers import class_answers_figure, describe_class_answers, truth_text
from explorer.language import language, plain_words, read_words
from explorer.teaching import kept
from explorer.teaching.courses import Course
from explorer.teaching.questions import Question
from explorer.teaching.spread import MIN_VOTES, spreads_of


def class_chart(course: Course, votes: Mapping[int, Sequence[float]], key: str) -> None:
    """Draw the question's options or tensor, votes and truth once they are shown, and say where votes are too few."""
    room, question = course.room, course.room.question.worded(language())
    shown = spreads_of(question, votes) if room.is_spread_shown else {}
    if room.is_spread_shown:
        for turn in [turn for turn in votes if turn not in shown]:
            st.caption(read_words("classroom")["few_in"][turn - 1].format(n=len(votes[turn])))
    canvas = charts.canvas(course.code, room.position, room.phase, *(spread.counts for spread in shown.values()))
    figure = class_answers_figure(question, shown, room.is_revealed, canvas)
    alt = describe_class_answers(question, shown, room.is_revealed)
    charts.show(figure, key, alt, noted=False)  # a record makes its own of the votes


def revealed(question: Question) -> str:
    """Return what is said when the truth is shown; a teacher's own question does not say its truth by itself."""
    truth = truth_text(question)
    own = str(plain_words("classroom")["correct"]).format(value=truth) if question.is_own and truth else ""
    return f"{own} {question.reveal}".strip()


def lacks_votes(course: Course, action: str) -> bool:
    """Say whether an action would show so few votes that they would tell who has answered what."""
    return action == "spread" and len(kept.classes().votes(course.code, course.room.position).get(1, ())) < MIN_VOTES


def few_votes() -> str:
    """Say why votes are not shown."""
    return str(read_words("classroom")["few"].format(n=MIN_VOTES))
