"""A stored range over the values that it stands for."""

from __future__ import annotations

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas
from explorer.figures.words import phrase
from explorer.notation import count, share, short
from quant_engine.studies import RangeUse

HEIGHT = 260


def stored_range_figure(use: RangeUse, canvas: Canvas) -> go.Figure:
    """Draw the histogram, hatched outside of the range, and the range's ends."""
    low, high = use.stored.low, use.stored.high
    traces, top, notes = elements.outline(use.values, (low, high), "y", "value")
    ends = min(use.values.lo, low), max(use.values.hi, high)
    pad = 0.04 * (ends[1] - ends[0] or 1.0)
    middle = (ends[0] + ends[1]) / 2
    inwards = {"xanchor": "right", "xshift": -8}  # a note on a high bin at the right end would leave the figure
    notes = [{**note, **(inwards if note["x"] > middle else {})} for note in notes]
    place = {"yref": "paper", "yanchor": "bottom"}
    marks = [
        elements.note(f"{name} {short(end)}", end, 1, canvas.ink, xanchor=side, **place)
        for name, end, side in (("α", low, "left"), ("β", high, "right"))
    ]
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 64, "r": 16, "t": 28, "b": 48},
        xaxis=theme.axis(phrase("stored_range", "axis"), range=[ends[0] - pad, ends[1] + pad]),
        yaxis=theme.axis(phrase("stored_range", "bins"), range=[0, 1.05 * top], nticks=4),
        shapes=[elements.line(end, "y", theme.QUANTIZED) for end in (low, high)],
        annotations=[*notes, *marks],
    )


def describe_stored_range(use: RangeUse) -> str:
    """Say in words what the figure shows."""
    return phrase(
        "stored_range",
        "described",
        n=count(use.values.size),
        tensor=use.stored.tensor,
        low=short(use.values.lo),
        high=short(use.values.hi),
        alpha=short(use.stored.low),
        beta=short(use.stored.high),
        outside=share(use.outside_share),
    )
