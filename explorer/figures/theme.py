"""Colours, dashes and layout that mean the same on every page, in light and in dark.

Okabe–Ito: blue is the original, vermillion the quantized, purple the error; clipped parts are hatched. Every colour
here has a contrast of 3:1 or more with both backgrounds.

A figure is built from plain dicts in one go: adding traces one by one costs ten times as much.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas  # noqa: F401  or plotly may find it half imported by a table in another session's thread
import plotly.graph_objects as go

from explorer.language import language, number_marks

ORIGINAL = "#0072B2"
QUANTIZED = "#D55E00"
ERROR = "#A3589B"
NEUTRAL = "#7B8794"
FAINT = "rgba(123, 135, 148, 0.45)"
CLIPPED_FILL = "rgba(0, 114, 178, 0.25)"
ERROR_FILL = "rgba(163, 88, 155, 0.25)"
HATCH = "/"
IDENTITY_DASH = "dot"

FOREIGN = re.compile(r"<(?!/?(?:b|br|sup|sub|extra)>)")  # begins no tag of our own; Plotly knows links, too
FONT_SIZE = 14
MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}

CONFIG: dict[str, Any] = {"displayModeBar": False}  # drag zooms, a double click shows all again

Trace = dict[str, Any]
LayoutPart = dict[str, Any]


INK = {"light": "#3B4754", "dark": "#C5CDD8"}  # of text: 9:1 and 11:1 on the backgrounds


@dataclass(frozen=True)
class Canvas:
    """What a figure is drawn on: `revision` names what is shown, so that zoom outlives a change of anything else."""

    revision: str
    ink: str = INK["light"]


def axis(title: str, **options: Any) -> LayoutPart:
    """Return an axis with a line and outside ticks, no grid; figures fix their margins, since finding them is slow."""
    plain = {"showline": True, "linewidth": 1, "zeroline": False, "showgrid": False, "ticks": "outside"}
    return {**plain, "title": {"text": title, "standoff": 6}, **options}


def lettering(canvas: Canvas) -> LayoutPart:
    """Return the type of ticks, titles, legends and colour bars: Streamlit's own theme would make it smaller."""
    return {"size": FONT_SIZE, "color": canvas.ink}


def figure(traces: Sequence[Trace], height: int, canvas: Canvas, **layout: Any) -> go.Figure:
    """Return a figure with the common layout."""
    common = {
        "height": height,
        "margin": MARGIN,
        "font": lettering(canvas),
        "uirevision": canvas.revision,
        "showlegend": False,
        "hovermode": "closest",
        "separators": number_marks(language()),
    }
    for name, options in layout.items():
        if name[1:5] == "axis":
            title = {**options["title"], "font": lettering(canvas)}
            ink = {"tickfont": lettering(canvas), "linecolor": NEUTRAL, "tickcolor": NEUTRAL}
            layout[name] = {**options, **ink, "title": title}
        elif name == "legend":
            layout[name] = {**options, "font": lettering(canvas)}
    return go.Figure(untagged({"data": list(traces), "layout": {**common, **layout}}))


def untagged(part: Any) -> Any:
    """Return what a figure is made of with tags in names shown as text: Plotly reads some HTML.

    >>> untagged({"text": ["<b>fc</b>", "<a href='//evil.example'>fc", "x < 0"]})
    {'text': ['<b>fc</b>', "&lt;a href='//evil.example'>fc", 'x &lt; 0']}
    """
    if isinstance(part, str):
        return FOREIGN.sub("&lt;", part) if "<" in part else part
    if isinstance(part, dict):
        return {name: untagged(held) for name, held in part.items()}
    if isinstance(part, list | tuple):
        return [untagged(held) for held in part]
    return part
