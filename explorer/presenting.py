"""Whether the page is shown large, for a class to read from its seats, and what that does to sizes in pixels."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from explorer.fields import Choice

PRESENT = Choice("present", {"0": False, "1": True}, default="0")
SCALE = 1.45  # makes type of 14 pixels one of 20; `toolbar.css` has it too
PIXELS = ("size", "height", "linewidth", "standoff", "thickness", "ypad")


def presenting() -> bool:
    """Say whether the page is shown large; the frame keeps the address in step."""
    return PRESENT.meaning(st.session_state.get(PRESENT.key, PRESENT.default))


def scaled(pixels: int) -> int:
    """Return a width as it is shown."""
    return round(SCALE * pixels) if presenting() else pixels


def enlarged(figure: go.Figure) -> go.Figure:
    """Return a figure with type, lines, markers and margins of the size in which they are shown."""
    return go.Figure(_enlarged(figure.to_dict())) if presenting() else figure


def _enlarged(part: Any, name: str = "") -> Any:
    if isinstance(part, list | tuple):
        return [_enlarged(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: SCALE * value
        if isinstance(value, int | float) and (key in PIXELS or name == "margin" or (name, key) == ("line", "width"))
        else _enlarged(value, key)
        for key, value in part.items()
    }
