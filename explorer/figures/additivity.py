"""What layers do alone, stacked, against what they do together."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import short
from quant_engine.network import Score

HEIGHT = 190
ROWS = {"alone": 1.0, "together": 0.0}
BAR = 0.46  # of the distance between rows
BELOW = 0.08  # where intervals lie, clear of the names in the bars
LEGIBLE = "#FFFFFF"  # on the colour of errors, 4.7:1


def additivity_figure(alone: Mapping[str, Score], total: Score, together: Score, canvas: Canvas) -> go.Figure:
    """Draw the layers end to end, and below them all together, each sum with its 95 % interval."""
    stacked, whole = ROWS.values()
    traces, start = [], 0.0
    for number, (layer, found) in enumerate(alone.items()):
        traces.append(_bar(layer, found.value, start, stacked, number % 2, canvas))
        start += found.value
    traces.append({**_bar("all layers", together.value, 0.0, whole, 0, canvas), "text": ""})
    traces[-1]["marker"] = {"color": theme.QUANTIZED}
    traces += [_interval(total, stacked, canvas), _interval(together, whole, canvas)]
    ends = [found.interval[1] for found in (total, together)]
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 8, "r": 16, "t": 26, "b": 48},
        xaxis=theme.axis(phrase("additivity", "kl_axis"), range=[0, 1.03 * max(ends)], nticks=6),
        yaxis={**theme.axis("", range=[-0.4, 1.35]), "visible": False},
        annotations=[_above(name, row, canvas) for name, row in ROWS.items()],
        barmode="overlay",
        uniformtext={"minsize": theme.FONT_SIZE, "mode": "hide"},
    )


def describe_additivity(alone: Mapping[str, Score], total: Score, together: Score) -> str:
    """Say in words what the figure shows."""
    parts = ", ".join(f"{layer} {short(found.value)}" for layer, found in alone.items())
    said = phrase("additivity", "described_parts", parts=parts)
    return phrase("additivity", "described_sum", said=said, total=short(total.value), together=short(together.value))


def _above(name: str, row: float, canvas: Canvas) -> LayoutPart:
    place = {"xref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return elements.note(f"<b>{phrase('additivity', name)}</b>", 0, row + BAR / 2, canvas.ink, **place)


def _bar(name: str, length: float, start: float, row: float, pale: int, canvas: Canvas) -> Trace:
    """Return a bar; neighbours differ in shade, and the name stands inside where there is room."""
    color = theme.ERROR_FILL if pale else theme.ERROR
    return {
        "type": "bar",
        "name": name,
        "orientation": "h",
        "x": [length],
        "base": [start],
        "y": [row],
        "width": BAR,
        "marker": {"color": color, "line": {"color": theme.ERROR, "width": 1}},
        "text": name,
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "insidetextfont": {"color": canvas.ink if pale else LEGIBLE},
        "hovertemplate": f"{name}: %{{x:.4g}} nats<extra></extra>",
    }


def _interval(found: Score, row: float, canvas: Canvas) -> Trace:
    low, high = found.interval
    return {
        "type": "scatter",
        "name": "interval",
        "x": [found.value],
        "y": [row - BAR / 2 - BELOW],
        "mode": "markers",
        "marker": {"symbol": "line-ns", "size": 1, "color": canvas.ink},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - found.value],
            "arrayminus": [found.value - low],
            "width": 5,
            "thickness": 2,
            "color": canvas.ink,
        },
        "hovertemplate": f"{short(found.value)} nats, 95 % interval {short(low)} – {short(high)}<extra></extra>",
    }
