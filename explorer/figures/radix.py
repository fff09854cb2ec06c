"""What the place of the radix point costs: overflow on one side, resolution on the other."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short
from quant_engine import ErrorReport

HEIGHT = 300


def radix_figure(found: Mapping[str, ErrorReport], chosen: str, canvas: Canvas) -> go.Figure:
    """Draw both parts of the error against the place of the point; the chosen one is marked, the best named."""
    names = list(found)
    rounding = [report.rounding_mse for report in found.values()]
    clipping = [report.clipping_mse for report in found.values()]
    total = [report.mse for report in found.values()]
    best = min(names, key=lambda name: found[name].mse)
    marks = {
        "type": "scatter",
        "name": "now",
        "x": [chosen],
        "y": [found[chosen].mse or None],
        "mode": "markers",
        "marker": {"symbol": "circle-open", "size": 18, "color": theme.QUANTIZED, "line": {"width": 3}},
        "hoverinfo": "skip",
    }
    return theme.figure(
        [
            _line("resolution (rounding)", names, rounding, theme.ERROR, "solid"),
            _line("overflow (clipping)", names, clipping, theme.ORIGINAL, "dash"),
            {**_line("both", names, total, theme.QUANTIZED, "solid"), "mode": "markers"},
            marks,
        ],
        HEIGHT,
        canvas,
        margin={**theme.MARGIN, "l": 74, "b": 48, "t": 34},
        xaxis=theme.axis(phrase("radix", "point_axis"), type="category", range=[-0.5, len(names) - 0.5]),
        yaxis=elements.error_axis("mean squared error", (*total, *rounding, *clipping)),
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        shapes=[elements.line(names.index(best), "y", theme.QUANTIZED, "dot", 1)],
    )


def describe_radix(found: Mapping[str, ErrorReport], chosen: str) -> str:
    """Say in words what the figure shows."""
    best = min(found, key=lambda name: found[name].mse)
    return phrase(
        "radix",
        "described",
        first=next(iter(found)),
        last=list(found)[-1],
        chosen=chosen,
        chosen_mse=short(found[chosen].mse),
        best_mse=short(found[best].mse),
        best=best,
    )


def _line(name: str, x: list[str], y: list[float], color: str, dash: str) -> Trace:
    return {
        "type": "scatter",
        "name": name,
        "x": x,
        "y": [value or None for value in y],  # a logarithmic axis has no 0
        "mode": "lines+markers",
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 7},
        "hovertemplate": "%{x}: %{y:.3g}<extra>" + name + "</extra>",
    }
