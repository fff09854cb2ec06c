"""Scores as dots with their 95 % intervals, a row for each thing that was scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import elements, score_axis, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import shown_score, with_interval
from quant_engine.network import Score

ROW_HEIGHT = 54
AROUND = 58  # pixels
TITLE = -0.28  # rows from a row's dots to the foot of its title
TYPE = 20  # pixels that a line of type takes
APART = 0.11  # of a row, between scores of one row


@dataclass(frozen=True)
class Row:
    """What was scored, once or several times, its colour, and whether it is what the others are held against."""

    title: str
    scores: Sequence[Score]
    color: str = theme.QUANTIZED
    reference: bool = False


def intervals_figure(rows: Sequence[Row], canvas: Canvas) -> go.Figure:
    """Draw the rows from top to bottom; the dashed line goes down from the reference."""
    ends = [score_axis.place(found, end) for row in rows for found in row.scores for end in found.interval]
    pad = 0.04 * (max(ends) - min(ends) or 1.0)
    traces = [_dots(row, number) for number, row in enumerate(rows)]
    return theme.figure(
        traces,
        AROUND + ROW_HEIGHT * len(rows),
        canvas,
        margin={"l": 8, "r": 12, "t": 8, "b": 48},
        xaxis=score_axis.score_axis(
            phrase("intervals", "test_accuracy_axis"),
            [found for row in rows for found in row.scores],
            range=[min(ends) - pad, max(ends) + pad],
            nticks=7,
        ),
        yaxis={**theme.axis("", range=[len(rows) - 0.5, -0.75]), "visible": False},
        shapes=[_level(row, number) for row in rows if row.reference for number in range(len(rows))],
        annotations=[_above(row, number, canvas) for number, row in enumerate(rows)],
    )


def describe_intervals(rows: Sequence[Row]) -> str:
    """Say in words what the figure shows."""
    said = (f"{row.title} {', '.join(with_interval(found) for found in row.scores)}" for row in rows)
    return phrase("intervals", "described", listed="; ".join(said))


def _above(row: Row, number: int, canvas: Canvas) -> LayoutPart:
    ordered = sorted(row.scores, key=lambda found: found.value)
    least, most = shown_score(ordered[0]), shown_score(ordered[-1])
    said = least if least == most else f"{least} to {most}"
    place = {"xref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return elements.note(f"<b>{row.title}</b>: {said}", 0, number + TITLE, canvas.ink, **place)


def _level(row: Row, number: int) -> LayoutPart:
    """Return the part of the reference's line that passes another row: beside its dots, not through its title."""
    ends = {"yref": "y", "y0": number + TITLE, "y1": number + 1 + TITLE - TYPE / ROW_HEIGHT}
    return elements.line(score_axis.place(row.scores[0]), "y", theme.ORIGINAL, "dash", 1) | ends


def _dots(row: Row, number: int) -> Trace:
    """Return the scores of a row, one below the other."""
    middle = (len(row.scores) - 1) / 2
    return {
        "type": "scatter",
        "name": row.title,
        "x": [score_axis.place(found) for found in row.scores],
        "y": [number + APART * (place - middle) for place in range(len(row.scores))],
        "mode": "markers",
        "marker": {"color": row.color, "size": 10 if len(row.scores) == 1 else 6, "symbol": "diamond"},
        "error_x": {
            **score_axis.error_bars(row.scores),
            "color": row.color,
            "thickness": 2,
            "width": 3,
        },
        "customdata": [with_interval(found) for found in row.scores],
        "hovertemplate": f"{row.title}: %{{customdata}}<extra></extra>",
    }
