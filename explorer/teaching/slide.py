"""What the frame does about a slide: the toolbar's actions, and what is said where the slide cannot be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from explorer.language import read_words
from explorer.teaching import adding, playing


def actions() -> Mapping[str, Callable[[Any], None]]:
    """Return the toolbar's actions for lectures."""
    return {
        "add": adding.ask,
        "go": playing.go,
        "reveal": lambda _: playing.reveal(),
        "end": lambda _: playing.end(),
    }


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
