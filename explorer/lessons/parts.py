"""How a laboratory is laid out: its figure, and the numbers beside it."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def figures_of(share: float = 0.8) -> tuple[DeltaGenerator, DeltaGenerator]:
    """Return a wide place for figures and a narrow one beside it; on a phone they follow each other."""
    figure, beside = st.columns([share, 1.0 - share], gap="medium")
    return figure, beside


def numbers() -> DeltaGenerator:
    """Return a row for numbers."""
    return st.container(horizontal=True, gap="medium")
