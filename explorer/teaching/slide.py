"""What the frame does about a slide: the toolbar's actions, and what is said where the slide cannot be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from explorer.language import read_words
from explorer.refusals import refusals_said
from explorer.sentences import inert
from explorer.teaching import adding, playing
from explorer.teaching.builtin import question_of
from explorer.teaching.class_chart import revealed
from explorer.teaching.restrictions import answers_wait
from explorer.teaching.slide_class import reveal, slide_class

LETTERS = "ABCDEFGH"


def actions() -> Mapping[str, Callable[[Any], None]]:
    """Return the toolbar's actions for lectures."""
    return {
        "add": adding.ask,
        "go": playing.go,
        "reveal": reveal,
        "end": lambda _: playing.end(),
    }


def question_panel() -> None:
    """Ask the slide's question above its page; once it is revealed, tell what the engine has found."""
    now = playing.at_hand()
    if now is None or not now[2].question:
        return
    with refusals_said(), st.container(border=True, gap="xxsmall", key="lecture_question"):
        with st.spinner(read_words("teach")["playing"]["working_out"]):
            question = question_of(now[2].question)
        st.markdown(f"**{inert(question.text)}**")
        if question.options:
            options = zip(LETTERS, question.options, strict=False)
            st.markdown("  ·  ".join(f"{letter}: {inert(text)}" for letter, text in options))
        if not answers_wait() and (told := revealed(question)):
            st.markdown(f":material/check: {inert(told)}")
        slide_class(question)


def lacks_model() -> bool:
    """Say what is missing for the slide at hand, if anything is, and what has kept a lecture from being played."""
    said = read_words("teach")["playing"]
    if why := playing.refused():
        st.warning(said["refused"].format(error=why), icon=":material/co_present:")
    if not (model := playing.lacking()):
        return False
    st.header(said["lacking_title"].format(model=model), anchor=False)
    st.markdown(said["lacking"].format(model=model))
    return True
