"""Mounting the bits on a page, and what they tell the page."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("codes.js", "text.js", "editor.js")

Commit = Callable[[str, str], None]  # is given the name of the format and the number, as text


def script() -> str:
    """Return the component's JavaScript, all files as one module."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)


_component = st.components.v2.component(
    "quant_explorer_bits",
    html=(HERE / "bits.html").read_text(encoding="utf-8"),
    css=(HERE / "bits.css").read_text(encoding="utf-8"),
    js=script(),
)


def bits_editor(
    key: str,
    formats: Sequence[Mapping[str, Any]],
    chosen: str,
    number: str,
    on_commit: Commit,
    *,
    words: Mapping[str, str],
) -> None:
    """Draw the bits of a number in the chosen one of `formats` (see `described`), and the number in all of them.

    The browser encodes and decodes by itself; `on_commit` is called (as a callback, before the page runs) once a click
    or a typed number has stood for a moment. `words` are what it says, by name.
    """
    answered = f"{key}_answered"

    def committed() -> None:
        if (commit := st.session_state[key].get("commit")) is not None:
            st.session_state[answered] = commit["id"]
            on_commit(commit["format"], commit["number"])

    _component(
        key=key,
        data={
            "formats": list(formats),
            "format": chosen,
            "number": number,
            "answered": st.session_state.get(answered),
            "words": dict(words),
        },
        on_commit_change=committed,
    )
