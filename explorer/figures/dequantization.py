"""One value on its way to a code and back, and the error of all values in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.elements import line, note
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import count, short
from explorer.results import BlockView

HEIGHT = 300
ERRORS_HEIGHT = 280
AROUND = 2.4  # steps to each side of the value
ROWS = {"r": 2.0, "code": 1.0, "r̃": 0.0}
BINS = 64


@dataclass(frozen=True)
class Way:
    """A value, its code, what comes back (unless that is asked for), and the levels around."""

    view: BlockView
    r: float
    code: int
    r_hat: float | None


@dataclass(frozen=True)
class Errors:
    """How many values have which error, in steps: shares of all, and the edges of the bins; and their mean."""

    shares: NDArray[np.float64]
    edges: NDArray[np.float64]
    bias: float


def way_figure(way: Way, unit: str, canvas: Canvas) -> go.Figure:
    """Draw three lines: real values, codes, and the values that come back."""
    view, step = way.view, way.view.scale
    centre = min(max(way.r, float(view.levels[0])), float(view.levels[-1]))
    ends = (centre - AROUND * step, centre + AROUND * step)
    ends = (min(ends[0], way.r - 0.2 * step), max(ends[1], way.r + 0.2 * step))
    near = (view.levels >= ends[0]) & (view.levels <= ends[1])
    levels, codes = view.levels[near].astype(float), (np.arange(view.levels.size) + view.first_code)[near]
    return theme.figure(
        [
            _marks(levels, "code", [count(int(code)) for code in codes], "top center", canvas),
            _marks(levels, "r̃", [short(level) for level in levels], "bottom center", canvas),
            _path([way.r, way.r], [2.0, 0.0], theme.NEUTRAL, "dot"),
            *([] if way.r_hat is None else _back(way.r, way.r_hat)),
            _points([way.r], [2.0], theme.ORIGINAL),
        ],
        HEIGHT,
        canvas,
        margin={"l": 46, "r": 8, "t": 24, "b": 44},
        xaxis=theme.axis(f"{unit} r", range=list(ends)),
        yaxis=theme.axis("", tickvals=list(ROWS.values()), ticktext=list(ROWS), range=[-0.55, 2.35], showline=False),
        annotations=[
            note(f"r = {short(way.r, 4)}", way.r, 2.0, theme.ORIGINAL, yanchor="bottom", yshift=6),
            *([] if way.r_hat is None else [_error(way.r, way.r_hat)]),
        ],
    )


def describe_way(way: Way) -> str:
    """Say in words what the figure shows."""
    told = {"r": short(way.r, 4), "code": count(way.code), "scale": short(way.view.scale)}
    said = phrase("dequantization", "described_code", **told)
    if way.r_hat is None:
        return said
    return phrase(
        "dequantization", "described_way", said=said, r_hat=short(way.r_hat, 4), error=short(way.r_hat - way.r)
    )


def errors_figure(found: Errors, canvas: Canvas) -> go.Figure:
    """Draw the distribution of errors in steps, and its mean."""
    top = 100 * float(found.shares.max()) or 1.0
    label = note(f"mean {short(found.bias)} S", found.bias, 1, canvas.ink, yref="paper", yanchor="bottom")
    return theme.figure(
        [
            {
                "type": "bar",
                "x": (found.edges[:-1] + found.edges[1:]) / 2,
                "y": 100 * found.shares,
                "width": 2 / BINS,
                "marker": {"color": theme.ERROR, "line": {"width": 0}},
                "hovertemplate": "%{x:.2f} S: %{y:.2f} %<extra></extra>",
            }
        ],
        ERRORS_HEIGHT,
        canvas,
        margin={"l": 52, "r": 8, "t": 26, "b": 44},
        xaxis=theme.axis("error r̃ − r, in steps S", range=[-1.05, 1.05], dtick=0.5),
        yaxis=theme.axis("% of values", nticks=5, range=[0, 1.1 * top]),
        shapes=[line(found.bias, "y", canvas.ink, "dash"), line(0.0, "y", theme.NEUTRAL, "dot", 1)],
        annotations=[label],
    )


def describe_errors(found: Errors, name: str) -> str:
    """Say in words what the figure shows."""
    inside = found.edges[:-1][found.shares > 0]
    reach = f"from {short(float(inside[0]))} to {short(float(inside[-1]) + 2 / BINS)} S" if inside.size else "beyond S"
    return phrase("dequantization", "described_errors", name=name, reach=reach, bias=short(found.bias))


def as_records(columns: Mapping[str, Sequence[float]]) -> list[dict[str, str]]:
    """Return columns of numbers as the rows of a table."""
    return [dict(zip(columns, map(short, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def _back(r: float, r_hat: float) -> list[Trace]:
    """Return the way of a value to its code and back, and its error."""
    return [
        _path([r, r_hat, r_hat], [2.0, 1.0, 0.0], theme.QUANTIZED, "solid"),
        _path([r, r_hat], [0.0, 0.0], theme.ERROR, "solid", 5),
        _points([r_hat, r_hat], [1.0, 0.0], theme.QUANTIZED),
    ]


def _error(r: float, r_hat: float) -> LayoutPart:
    """Return the name of the error, between its row and the codes'."""
    place = {"xanchor": "left", "xshift": 8, "yanchor": "bottom"}
    return note(f"error {short(r_hat - r)}", max(r, r_hat), 0.35, theme.ERROR, **place)


def _marks(x: NDArray[np.float64], row: str, names: list[str], place: str, canvas: Canvas) -> Trace:
    return {
        "type": "scatter",
        "x": x,
        "y": np.full(x.size, ROWS[row]),
        "mode": "markers+text",
        "marker": {"symbol": "line-ns", "size": 14, "line": {"width": 2, "color": theme.NEUTRAL}},
        "text": names,
        "textposition": place,
        "textfont": {"color": canvas.ink},
        "hoverinfo": "skip",
    }


def _path(x: list[float], y: list[float], color: str, dash: str, width: float = 2) -> Trace:
    drawn = {"color": color, "dash": dash, "width": width}
    return {"type": "scatter", "x": x, "y": y, "mode": "lines", "line": drawn, "hoverinfo": "skip"}


def _points(x: list[float], y: list[float], color: str) -> Trace:
    marker = {"size": 11, "color": color}
    return {"type": "scatter", "x": x, "y": y, "mode": "markers", "marker": marker, "hoverinfo": "x"}
