"""How a laboratory is laid out: the figure that the words speak of, one number under it, and others quietly."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.lessons.framework.prose import words


def figures_of(share: float = 0.8) -> tuple[DeltaGenerator, DeltaGenerator]:
    """Return a wide place for figures and a narrow one beside it; on a phone they follow each other."""
    figure, beside = st.columns([share, 1.0 - share], gap="medium")
    return figure, beside


def more(slug: str) -> DeltaGenerator:
    """Return the place for controls that are seldom changed, and by no preset: at the end of the row of controls."""
    return st.popover(words()["more"], key=f"{slug}_more")


def numbers() -> DeltaGenerator:
    """Return a row for numbers."""
    return st.container(horizontal=True, gap="medium")


def hero(label: str, value: str, **others: str) -> None:
    """Show the number that a figure is about, and others on a line after it."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        st.metric(label, value, width="content")
        st.caption(" · ".join(f"{name.replace('_', ' ')} {text}" for name, text in others.items()))
