"""A tensor's weights in a small picture: how they lie, what range is kept of them, and where the codewords are."""

from __future__ import annotations

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas
from explorer.figures.words import phrase
from explorer.notation import short
from explorer.results import BlockView

HEIGHT = 130


def weights_figure(
    view: BlockView, canvas: Canvas, unit: str = "weight", height: int = HEIGHT, title: str = ""
) -> go.Figure:
    """Draw the histogram, the ends of the range, and a triangle for each codeword; the `title` is the axis's."""
    low, high = elements.sight(view)
    kept = float(view.levels[0]), float(view.levels[-1])
    bars, top, notes = elements.outline(view.distribution, kept, "y", unit)
    triangles = elements.codewords(view, (low, high), "y", -0.1 * top)
    return theme.figure(
        [*bars, triangles],
        height,
        canvas,
        margin={"l": 8, "r": 8, "t": 8, "b": 48 if title else 26},
        xaxis=theme.axis(title, range=[low, high], nticks=5),
        yaxis={**theme.axis("", range=[-0.2 * top, 1.05 * top]), "visible": False},
        shapes=[elements.line(end, "y", theme.QUANTIZED) for end in (view.lo, view.hi)],
        annotations=notes,
    )


def describe_weights(view: BlockView) -> str:
    """Say in words what the figure shows."""
    told = {"min": view.distribution.lo, "max": view.distribution.hi, "lo": view.lo, "hi": view.hi}
    return phrase("weights", "described", **{name: short(value) for name, value in told.items()})
