"""What the slides of a lecture have drawn in this session, for its handout and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st

from explorer.figures import theme
from explorer.teaching.lecture import Lecture
from explorer.teaching.restrictions import answers_wait

DRAWN, WAITING = "lecture_drawn", "lecture_waiting"  # figures by slide and key, as shown last; the same before answers
AT = "lecture_drawing"  # the slide that is drawn now
LAST = "lecture_last"  # the lecture they are of
MAX_BYTES = 48 << 20  # of all figures of one session

Figures = Mapping[int, Mapping[str, tuple[str, str]]]  # of each slide: JSON and description by the figure's key


@dataclass(frozen=True)
class Played:
    """What the slides of a lecture have drawn, as they were shown last, and last while their answers were hidden."""

    name: str
    figures: Figures
    waiting: Figures

    def before_answers(self, lecture: Lecture) -> Figures:
        """Return the figures without those that tell answers which wait."""
        kept = (
            (number, self.waiting if slide.hides else self.figures) for number, slide in enumerate(lecture.slides, 1)
        )
        return {number: figures[number] for number, figures in kept if number in figures}


def turn_to(name: str, number: int) -> None:
    """Take what is drawn from now on as a slide's; another lecture begins anew."""
    state = st.session_state
    if state.get(LAST) != name:
        state[LAST], state[DRAWN], state[WAITING] = name, {}, {}
    state[AT] = number
    for kept in (DRAWN, WAITING):
        state[kept].pop(number, None)


def close() -> None:
    """Take what is drawn from now on as no slide's."""
    st.session_state.pop(AT, None)


def is_drawing() -> bool:
    """Say whether what is drawn now is a slide's."""
    return AT in st.session_state


def note_figure(key: str, figure: go.Figure, alt: str) -> None:
    """Keep a figure as the slide at hand shows it last."""
    number = st.session_state.get(AT)
    if number is None:
        return
    state = st.session_state
    text = figure.to_json(engine="json").replace(theme.INK["dark"], theme.INK["light"])  # for pages that are white
    taken = sum(len(data) for kept in (DRAWN, WAITING) for slide in state[kept].values() for data, _ in slide.values())
    if taken + len(text) <= MAX_BYTES:
        for kept in (DRAWN, WAITING) if answers_wait() else (DRAWN,):
            state[kept].setdefault(number, {})[key] = text, alt


def last() -> Played | None:
    """Return what the lecture that was played last in this session has drawn."""
    state = st.session_state
    return Played(str(state[LAST]), state[DRAWN], state[WAITING]) if LAST in state else None
