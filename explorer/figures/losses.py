"""What several formats of equal width lose on one tensor, under two ways to find the range."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short

ROW_HEIGHT = 28
SYMBOLS = ("circle-open", "circle", "diamond")  # by way to find the range

Losses = Mapping[str, Mapping[str, float]]  # mean squared error by way to find the range, then by format


def losses_figure(found: Losses, canvas: Canvas) -> go.Figure:
    """Draw a row for each format, with a mark for each way to find its range; further left is better."""
    names = list(next(iter(found.values())))[::-1]
    return theme.figure(
        [_joined(found, names), *(_marks(way, errors, i) for i, (way, errors) in enumerate(found.items()))],
        ROW_HEIGHT * len(names) + 100,
        canvas,
        margin={"l": 118, "r": 16, "t": 34, "b": 48},
        xaxis=elements.error_axis("mean squared error", (e for errors in found.values() for e in errors.values())),
        yaxis=theme.axis("", type="category", categoryarray=names, range=[-0.5, len(names) - 0.5]),
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    )


def describe_losses(found: Losses) -> str:
    """Say in words what the figure shows."""
    said = (
        f"under {way}: " + ", ".join(f"{name} {short(error)}" for name, error in errors.items())
        for way, errors in found.items()
    )
    return phrase("losses", "mean_squared_error") + "; ".join(said) + "."


def _joined(found: Losses, names: list[str]) -> Trace:
    """Return a line through each format's marks."""
    x: list[float | None] = []
    y: list[str | None] = []
    for name in names:
        errors = [errors[name] or None for errors in found.values()]
        x += [*errors, None]
        y += [name] * len(errors) + [None]
    line = {"color": theme.NEUTRAL, "width": 2}
    return {"type": "scatter", "x": x, "y": y, "mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}


def _marks(way: str, errors: Mapping[str, float], number: int) -> Trace:
    return {
        "type": "scatter",
        "name": way,
        "x": [error or None for error in errors.values()],
        "y": list(errors),
        "mode": "markers",
        "marker": {
            "symbol": SYMBOLS[number],
            "size": 13,
            "color": theme.QUANTIZED,
            "line": {"width": 2, "color": theme.QUANTIZED},
        },
        "hovertemplate": f"%{{y}}: %{{x:.4g}}<extra>{way}</extra>",
    }
