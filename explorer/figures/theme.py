"""Colours, dashes and layout that mean the same on every page, in light and in dark.

Okabe–Ito: blue is the original, vermillion the quantized, purple the error; clipped parts are hatched. Every colour
here has a contrast of 3:1 or more with both backgrounds.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

ORIGINAL = "#0072B2"
QUANTIZED = "#D55E00"
ERROR = "#A3589B"
NEUTRAL = "#7B8794"
FAINT = "rgba(123, 135, 148, 0.45)"
CLIPPED_FILL = "rgba(0, 114, 178, 0.25)"
ERROR_FILL = "rgba(163, 88, 155, 0.25)"
HATCH = "/"
IDENTITY_DASH = "dot"

FONT_SIZE = 13
MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}

CONFIG: dict[str, Any] = {"displayModeBar": False}  # drag zooms, a double click shows all again


def finish(figure: go.Figure, height: int, revision: str) -> go.Figure:
    """Give a figure the common layout; `revision` names what is shown, so that zoom outlives a change of settings."""
    figure.update_layout(
        height=height,
        margin=MARGIN,
        font={"size": FONT_SIZE},
        uirevision=revision,
        showlegend=False,
        hovermode="closest",
        bargap=0,
    )
    figure.update_xaxes(showline=True, linewidth=1, zeroline=False, showgrid=False, ticks="outside", automargin=True)
    figure.update_yaxes(showline=True, linewidth=1, zeroline=False, showgrid=False, automargin=True)
    return figure
