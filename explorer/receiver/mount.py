"""Mounting the place where files are dropped."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import streamlit as st

from explorer.uploads import Inbox

HERE = pathlib.Path(__file__).resolve().parent
_component = st.components.v2.component(
    "quant_explorer_receiver",
    html=(HERE / "receiver.html").read_text(encoding="utf-8"),
    css=(HERE / "receiver.css").read_text(encoding="utf-8"),
    js=(HERE / "receiver.js").read_text(encoding="utf-8"),
)


def receiver(inbox: Inbox, words: Mapping[str, str]) -> str | None:
    """Draw the place, and return the number of a batch of files in the run in which it has arrived."""
    found = _component(
        key="receiver",
        data={"token": inbox.token, "room": inbox.max_bytes - inbox.size_bytes, "words": dict(words)},
        on_arrived_change=lambda: None,
    )
    return None if found.arrived is None else str(found.arrived)
