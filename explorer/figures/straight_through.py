"""What training puts in the place of a staircase's derivative, and what it tells the step to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short

HEIGHT = 480
STAIRCASE, BY_VALUE, BY_STEP = "y", "y2", "y3"
POINTS = 1200
TANGENT = 0.22  # of the axis, to each side of the mark

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slopes:
    """A staircase with its two gradients, at values `v`, both sides of every threshold among them.

    `v_hat` is what comes back, `by_value` the straight-through ∂v̂/∂v and `by_step` LSQ's ∂v̂/∂s.
    """

    v: Array
    v_hat: Array
    by_value: Array
    by_step: Array
    thresholds: Array
    step: float


@dataclass(frozen=True, eq=False)
class Pull:
    """The error of a layer's weights against the step, and which way LSQ's gradient pulls at one of them.

    `best` and `start` are the steps of the least error and where LSQ starts.
    """

    steps: Array
    mse: Array
    step: float
    here: float
    slope: float
    best: float
    start: float


def slopes_figure(shown: Slopes, canvas: Canvas) -> go.Figure:
    """Draw the staircase, its derivative as it is and straight through, and the gradient of the step."""
    ends = float(shown.v[0]), float(shown.v[-1])
    inside = shown.by_value > 0
    edges = [float(end) for end in (shown.v[inside][0], shown.v[inside][-1])] if inside.any() else []
    spikes = [elements.line(float(t), BY_VALUE, theme.NEUTRAL, "dot", 1) for t in shown.thresholds[:64]]
    spikes += [elements.line(edge, axis, theme.NEUTRAL, "dash", 1) for edge in edges for axis in (STAIRCASE, BY_STEP)]
    reach = 1.15 * float(np.abs(shown.by_step).max(initial=0.5))
    zero = {"x0": ends[0], "x1": ends[1], "y0": 0, "y1": 0, "yref": BY_STEP, "type": "line"}
    return theme.figure(
        [
            _curve(shown.v, shown.v, STAIRCASE, theme.NEUTRAL, "v̂ = v", 1, theme.IDENTITY_DASH),
            _curve(shown.v, shown.v_hat, STAIRCASE, theme.QUANTIZED, "v̂"),
            _curve(shown.v, np.zeros_like(shown.v), BY_VALUE, theme.NEUTRAL, "the true derivative", 1.5),
            _curve(shown.v, shown.by_value, BY_VALUE, theme.ERROR, "straight through"),
            _curve(shown.v, shown.by_step, BY_STEP, theme.ERROR, "LSQ"),
        ],
        HEIGHT,
        canvas,
        margin={"l": 60, "r": 8, "t": 8, "b": 44},
        xaxis=theme.axis("weight v", range=list(ends), anchor=BY_STEP, nticks=7),
        yaxis=theme.axis("v̂", domain=[0.56, 1.0], range=list(ends), nticks=5),
        yaxis2=theme.axis("∂v̂/∂v", domain=[0.34, 0.48], range=[-0.25, 1.35], tickvals=[0, 1]),
        yaxis3=theme.axis("∂v̂/∂s", domain=[0.0, 0.26], range=[-reach, reach], nticks=5),
        shapes=[*spikes, {**zero, "line": {"color": theme.NEUTRAL, "width": 1}}],
    )


def describe_slopes(shown: Slopes) -> str:
    """Say in words what the figure shows."""
    return phrase(
        "straight_through",
        "described_slopes",
        step=short(shown.step),
        below=short(float(shown.by_step[0])),
        above=short(float(shown.by_step[-1])),
    )


def pull_figure(shown: Pull, canvas: Canvas) -> go.Figure:
    """Draw the error against the step, and LSQ's slope at the step chosen as a tangent."""
    marks = ((shown.best, "least error", theme.ORIGINAL, "dash"), (shown.start, "LSQ starts", theme.NEUTRAL, "dot"))
    lines = [elements.line(place, "y", color, dash, 1.5) for place, _, color, dash in marks]
    sides = ("right", -4), ("left", 4)
    notes = [
        elements.note(name, place, 1.0, color, yref="y domain", xanchor=side, yanchor="top", xshift=shift)
        for (place, name, color, _), (side, shift) in zip(sorted(marks), sides, strict=True)
    ]
    return theme.figure(
        [
            _curve(shown.steps, shown.mse, "y", theme.QUANTIZED, "MSE"),
            _tangent(shown),
            {
                **_curve(np.array([shown.step]), np.array([shown.here]), "y", theme.ERROR, "here"),
                "mode": "markers",
                "marker": {"size": 12, "color": theme.ERROR, "symbol": "diamond"},
            },
        ],
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 12, "t": 8, "b": 44},
        xaxis=theme.axis("step s", range=[0, float(shown.steps[-1])], nticks=6),
        yaxis=elements.error_axis(phrase("straight_through", "mse_axis"), shown.mse),
        shapes=lines,
        annotations=notes,
    )


def describe_pull(shown: Pull) -> str:
    """Say in words what the figure shows."""
    way = "smaller" if shown.slope > 0 else "larger"
    return phrase(
        "straight_through",
        "described_pull",
        here=short(shown.here),
        step=short(shown.step),
        way=way,
        best=short(shown.best),
        start=short(shown.start),
    )


def _tangent(shown: Pull) -> Trace:
    """Return a piece of the line through the mark with LSQ's slope, as far as it stays above 0."""
    reach = TANGENT * float(shown.steps[-1])
    x = np.linspace(max(shown.step - reach, 0.0), shown.step + reach, 60)
    y = shown.here + shown.slope * (x - shown.step)
    held = y > 0
    return _curve(x[held], y[held], "y", theme.ERROR, "LSQ's slope", 2.5)


def _curve(x: Array, y: Array, axis: str, color: str, name: str, width: float = 2, dash: str = "solid") -> Trace:
    return {
        "type": "scatter",
        "name": name,
        "x": x,
        "y": y,
        "yaxis": axis,
        "mode": "lines",
        "line": {"color": color, "width": width, "dash": dash},
        "hovertemplate": "%{x:.4g}: %{y:.4g}<extra>" + name + "</extra>",
    }
