"""What each way of calibrating minimises, all on one scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.clipping import SYMBOLS, Pick
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short

HEIGHT = 290
SMALLEST = 1e-6  # of the greatest value: what counts as least if that is 0
TICKS = (1, 2, 5, 10, 20)
TICK_NAMES = [f"×{tick}" for tick in TICKS]
DASHES = ("solid", "dash", "dot", "dashdot")
COLORS = (theme.QUANTIZED, theme.ORIGINAL, theme.ERROR, theme.NEUTRAL)

Curves = Mapping[str, NDArray[np.float64]]


def objectives_figure(
    clips: NDArray[np.float64], curves: Curves, picks: Mapping[str, Pick], canvas: Canvas
) -> go.Figure:
    """Draw every curve in multiples of its least value, and where each method's pick lies."""
    traces: list[Trace] = []
    for number, (name, values) in enumerate(curves.items()):
        min_value = max(float(np.nanmin(values)), SMALLEST * float(np.nanmax(values))) or 1.0
        color = COLORS[number % len(COLORS)]
        traces.append(
            {
                "type": "scatter",
                "name": name,
                "x": clips,
                "y": np.maximum(values / min_value, 1.0),
                "mode": "lines",
                "line": {"color": color, "dash": DASHES[number % len(DASHES)], "width": 2},
                "customdata": values,
                "hovertemplate": f"β = %{{x:.4g}}: %{{customdata:.4g}}<extra>{name}</extra>",
            }
        )
        traces.append(
            {
                "type": "scatter",
                "x": [picks[name].clip],
                "y": [1.0],
                "mode": "markers",
                "marker": {"symbol": SYMBOLS[number], "size": 11, "color": color},
                "hovertemplate": f"{name} picks β = %{{x:.4g}}<extra></extra>",
                "showlegend": False,
            }
        )
    reach = max(float(clips[-1]), *(picks[name].clip for name in curves))
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 8, "t": 8, "b": 84},
        xaxis=theme.axis("clipping value β", range=[0, 1.02 * reach]),
        yaxis=theme.axis("times its least", type="log", tickvals=TICKS, ticktext=TICK_NAMES, range=[-0.06, 1.4]),
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.3, "yanchor": "top"},
    )


def describe_objectives(curves: Curves, picks: Mapping[str, Pick]) -> str:
    """Say in words what the figure shows."""
    said = "; ".join(f"{name} is least at β = {short(picks[name].clip)}" for name in curves)
    return phrase("objectives", "described", said=said)
