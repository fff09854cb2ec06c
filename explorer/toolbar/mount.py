"""Mounting the toolbar, whose style is the page's: it makes the page large while it is presented."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import streamlit as st

HERE = pathlib.Path(__file__).resolve().parent
_component = st.components.v2.component(
    "quant_explorer_toolbar",
    html=(HERE / "toolbar.html").read_text(encoding="utf-8"),
    css=(HERE / "toolbar.css").read_text(encoding="utf-8"),
    js=(HERE / "toolbar.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


def toolbar(presenting: bool, on_present: Callable[[], None]) -> None:
    """Draw the buttons; `on_present` is called (as a callback) when a hand begins or ends presenting."""
    _component(key="toolbar", data={"presenting": presenting}, on_present_change=on_present)
