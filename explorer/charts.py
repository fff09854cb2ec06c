"""One way to put a figure on a page: its text legible on the theme at hand, described in words."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go
import streamlit as st

from explorer.figures import theme

TEXT = {"light": "#3B4754", "dark": "#C5CDD8"}  # 9:1 and 11:1 on their backgrounds
LINE = theme.NEUTRAL


def show(figure: go.Figure, key: str, alt: str, on_click: Callable[[], None] | None = None) -> None:
    """Draw a figure under a stable key; `on_click` is called when a point is clicked."""
    tone = st.context.theme.type or "light"
    lines = {"linecolor": LINE, "tickcolor": LINE, "tickfont": {"color": TEXT[tone]}}
    axes = {name: {**lines, "title": {"font": {"color": TEXT[tone]}}} for name in figure.layout if name[1:5] == "axis"}
    figure.update_layout(font_color=TEXT[tone], **axes)
    if on_click is None:
        st.plotly_chart(figure, key=key, config=theme.CONFIG, alt=alt)
    else:
        st.plotly_chart(figure, key=key, config=theme.CONFIG, alt=alt, on_select=on_click, selection_mode="points")
