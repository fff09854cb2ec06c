"""What the slides of a lecture have drawn in this session, for its handout and its record."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import streamlit as st

DRAWN, AT = "lecture_drawn", "lecture_drawing"  # figures by slide and key; the slide that is drawn now
LAST = "lecture_last"  # the lecture they are of
MAX_BYTES = 48 << 20  # of all figures of one session

Figures = Mapping[int, Mapping[str, tuple[str, str]]]  # of each slide: JSON and description by the figure's key


def turn_to(name: str, number: int) -> None:
    """Take what is drawn from now on as a slide's; another lecture begins anew."""
    state = st.session_state
    if state.get(LAST) != name:
        state[LAST], state[DRAWN] = name, {}
    state[AT] = number
    state[DRAWN].pop(number, None)


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
    figures: dict[int, dict[str, tuple[str, str]]] = st.session_state[DRAWN]
    text = figure.to_json(engine="json")
    taken = sum(len(data) for slide in figures.values() for data, _ in slide.values())
    if taken + len(text) <= MAX_BYTES:
        figures.setdefault(number, {})[key] = text, alt


def last() -> tuple[str, Figures] | None:
    """Return the name of the lecture that was played last in this session, and what it drew."""
    name = st.session_state.get(LAST)
    return None if name is None else (str(name), st.session_state[DRAWN])
