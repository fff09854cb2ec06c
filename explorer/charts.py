"""One way to put a figure on a page: its text legible on the theme at hand, described in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from explorer.background import clocked
from explorer.caches import ResultKey
from explorer.figures import theme
from explorer.presenting import enlarged
from explorer.teaching.drawn import note_figure

_probe = st.components.v2.component(
    "quant_explorer_theme",
    html="<i></i>",
    css="i { display: block; color: var(--st-text-color); transition: color 1ms; }",
    js="""export default ({ parentElement, setTriggerValue }) => {
      parentElement.querySelector("i").ontransitionend = () => setTriggerValue("changed", true);
    };""",
)


def follow_theme() -> None:
    """Have the page run again when its theme changes, which figures have the colours of: Streamlit does not.

    Text on primary buttons is of the background's colour: Streamlit's white cannot be read on the dark theme's blue.
    """
    _probe(key="theme", on_changed_change=lambda: None)
    background = st.get_option(f"theme.{_scheme()}.backgroundColor")
    st.html(f"<style>[data-testid=stBaseButton-primary]:enabled p {{ color: {background}; }}</style>")


def ink() -> str:
    """Return the colour of text on the theme at hand."""
    return theme.INK[_scheme()]


def _scheme() -> str:
    return st.context.theme.type or "light"


def canvas(*shown: object) -> theme.Canvas:
    """Return what figures of this page are drawn on now; `shown` tells what they show from all else."""
    return theme.Canvas(str(ResultKey("figure", *shown)), ink())


def show(figure: go.Figure, key: str, alt: str, noted: bool = True) -> None:
    """Draw a figure under a stable key; it is `noted` for the record of a lecture that is played."""
    if noted:
        note_figure(key, figure, alt)
    st.plotly_chart(enlarged(figure), key=key, config=theme.CONFIG, alt=alt)


def pick(figure: go.Figure, key: str, alt: str, on_pick: Callable[[Any], None]) -> None:
    """Draw a figure whose points can be clicked: `on_pick` is given a point's `customdata` (as a callback).

    A figure that stays as it is while its fragment gives way to another keeps asking the one that is gone, and a click
    does nothing: react-plotly takes new handlers only with a new figure or configuration.
    """

    def picked() -> None:
        if points := st.session_state[key].selection.points:
            on_pick(figure.data[points[0]["curve_number"]].customdata[points[0]["point_index"]])

    config = {**theme.CONFIG, "clocked": clocked()}
    st.plotly_chart(enlarged(figure), key=key, config=config, alt=alt, on_select=picked, selection_mode="points")
