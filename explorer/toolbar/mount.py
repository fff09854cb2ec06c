"""Mounting the toolbar, whose style is the page's: it makes the page large while it is presented."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import streamlit as st

from explorer.language import languages, read_words

HERE = pathlib.Path(__file__).resolve().parent
_component = st.components.v2.component(
    "quant_explorer_toolbar",
    html=(HERE / "toolbar.html").read_text(encoding="utf-8"),
    css=(HERE / "toolbar.css").read_text(encoding="utf-8"),
    js=(HERE / "toolbar.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


KEY = "toolbar"


def toolbar(
    presenting: bool, language: str, on_present: Callable[[], None], on_language: Callable[[str], None]
) -> None:
    """Draw the buttons; a hand that presents or chooses a language has one of the other two called (as a callback)."""
    _component(
        key=KEY,
        data={
            "presenting": presenting,
            "language": language,
            "languages": dict(languages()),
            "words": read_words("frame")["toolbar"],
        },
        on_present_change=on_present,
        on_language_change=lambda: on_language(st.session_state[KEY].language),
    )
