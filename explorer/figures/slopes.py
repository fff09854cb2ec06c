"""How two measures rank the same things: two columns of ranks, joined by lines that cross where they disagree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import short

ROW_HEIGHT = 26
AROUND = 60  # pixels above and below the rows
CHARACTER = 8  # pixels
LONGEST = 14  # characters of a name


@dataclass(frozen=True)
class Column:
    """What is ranked by, and the value of each thing by its name; the greatest comes first."""

    title: str
    values: Mapping[str, float]

    @property
    def ranks(self) -> dict[str, int]:
        """Return each thing's place, from 1."""
        ordered = sorted(self.values, key=lambda name: -self.values[name])
        return {name: place for place, name in enumerate(ordered, 1)}


def slope_figure(left: Column, right: Column, marked: Collection[str], canvas: Canvas) -> go.Figure:
    """Draw a line for each name from its place at the left to that at the right; `marked` ones stand out."""
    ends = left.ranks, right.ranks
    traces = [
        _line(name, [ranks[name] for ranks in ends], [left, right], name in marked, canvas)
        for name in sorted(ends[0], key=lambda name: name in marked)
    ]
    side = 12 + CHARACTER * max(len(text) for trace in traces for text in trace["text"])
    return theme.figure(
        traces,
        AROUND + ROW_HEIGHT * len(traces),
        canvas,
        margin={"l": side, "r": side, "t": 30, "b": 8},
        xaxis={**theme.axis("", range=[-0.02, 1.02]), "visible": False},
        yaxis={**theme.axis("", range=[len(traces) + 0.6, 0.4]), "visible": False},
        annotations=[_title(left, 0, "right", canvas), _title(right, 1, "left", canvas)],
    )


def describe_slopes(left: Column, right: Column) -> str:
    """Say in words what the figure shows."""
    said = (f"by {one.title}: {', '.join(one.ranks)}" for one in (left, right))
    return phrase("slopes", "described", listed="; ".join(said))


def _title(column: Column, x: int, side: str, canvas: Canvas) -> LayoutPart:
    place = {"xanchor": side, "yref": "paper", "yanchor": "bottom"}
    return elements.note(f"<b>{column.title}</b>", x, 1.0, canvas.ink, **place)


def _line(name: str, ranks: Sequence[int], columns: Sequence[Column], marked: bool, canvas: Canvas) -> Trace:
    color = theme.QUANTIZED if marked else theme.NEUTRAL
    shown = name if len(name) <= LONGEST else f"…{name[-LONGEST:]}"
    values = [short(column.values[name]) for column in columns]
    return {
        "type": "scatter",
        "name": name,
        "x": [0, 1],
        "y": list(ranks),
        "mode": "lines+markers+text",
        "line": {"color": color, "width": 3 if marked else 1.5},
        "marker": {"color": color, "size": 9, "symbol": "diamond" if marked else "circle"},
        "text": [f"{shown} {values[0]} ", f" {values[1]} {shown}"],
        "textposition": ["middle left", "middle right"],
        "textfont": {"color": canvas.ink},
        "cliponaxis": False,
        "customdata": values,
        "hovertemplate": f"{name}: place %{{y}}, %{{customdata}}<extra></extra>",
    }
