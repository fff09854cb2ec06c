"""Mounting the toolbar, whose style is the page's: it makes the page large while it is presented."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from explorer.language import languages, read_words

HERE = pathlib.Path(__file__).resolve().parent
_component = st.components.v2.component(
    "quant_explorer_toolbar",
    html=(HERE / "toolbar.html").read_text(encoding="utf-8"),
    css=(HERE / "toolbar.css").read_text(encoding="utf-8"),
    js="\n".join((HERE / name).read_text(encoding="utf-8") for name in ("lecture.js", "toolbar.js")),
    isolate_styles=False,
)


KEY = "toolbar"


def toolbar(
    presenting: bool,
    language: str,
    lecture: Mapping[str, Any] | None,
    actions: Mapping[str, Callable[[Any], None]],
) -> None:
    """Draw the buttons, and a lecture's bar while one is played.

    A hand has one of the actions called (as a callback) with what it chose: a language, a slide, the page's address.
    """
    called: dict[str, Any] = {f"on_{name}_change": functools.partial(_act, name, act) for name, act in actions.items()}
    _component(
        key=KEY,
        data={
            "presenting": presenting,
            "language": language,
            "languages": dict(languages()),
            "lecture": lecture,
            "words": read_words("frame")["toolbar"],
        },
        **called,
    )


def _act(name: str, action: Callable[[Any], None]) -> None:
    if KEY in st.session_state:  # while another page is opened, what was pressed on the one before is gone
        action(getattr(st.session_state[KEY], name))
