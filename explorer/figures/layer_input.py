"""What a layer receives, in a small picture: the histogram, with the range of least error over its ends."""

from __future__ import annotations

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas
from explorer.figures.words import phrase
from explorer.notation import short
from quant_engine import Distribution

HEIGHT = 120


def layer_input_figure(shown: Distribution, kept: tuple[float, float], canvas: Canvas) -> go.Figure:
    """Draw the histogram, hatched outside the range of least error, whose ends are lines."""
    bars, top, notes = elements.outline(shown, kept, "y", "activation")
    return theme.figure(
        bars,
        HEIGHT,
        canvas,
        margin={"l": 8, "r": 8, "t": 8, "b": 26},
        xaxis=theme.axis("", range=[*elements.span(shown, *kept)], nticks=5),
        yaxis={**theme.axis("", range=[0, 1.05 * top]), "visible": False},
        shapes=[elements.line(end, "y", theme.QUANTIZED) for end in kept],
        annotations=notes,
    )


def describe_layer_input(shown: Distribution, kept: tuple[float, float]) -> str:
    """Say in words what the figure shows."""
    told = {"min": shown.lo, "max": shown.hi, "lo": kept[0], "hi": kept[1]}
    return phrase("layer_input", "described", **{name: short(value) for name, value in told.items()})
