"""One value on the staircase, the saw of its error, and what each further bit brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short
from explorer.results import BlockView

HEIGHT = 400
BITS_HEIGHT = 250
STAIRCASE, ERROR = "y", "y2"
POINTS = 600


@dataclass(frozen=True)
class Step:
    """What the figure shows: the tensor's view, and one value with what comes back for it, unless that is asked for."""

    view: BlockView
    r: float
    r_hat: float | None
    unit: str


def staircase_figure(shown: Step, canvas: Canvas) -> go.Figure:
    """Draw the staircase with the path of r, and below it the error with its bounds ±S/2."""
    ends = elements.sight(shown.view)
    inputs, outputs = _staircase(shown.view, ends)
    half = shown.view.scale / 2
    reach = 1.15 * max(half, float(np.abs(outputs - inputs).max(initial=0.0)))
    bounds = [
        {
            **elements.line(0, ERROR, theme.NEUTRAL, "dash", 1),
            "x0": ends[0],
            "x1": ends[1],
            "yref": ERROR,
            "y0": y,
            "y1": y,
        }
        for y in (half, -half)
    ]
    return theme.figure(
        [
            _curve(list(ends), list(ends), STAIRCASE, theme.NEUTRAL, 1, theme.IDENTITY_DASH),
            _curve(inputs, outputs, STAIRCASE, theme.QUANTIZED, 2),
            _curve(inputs, outputs - inputs, ERROR, theme.ERROR, 1.5),
            *_path(shown, ends),
        ],
        HEIGHT,
        canvas,
        margin={**theme.MARGIN, "l": 66, "b": 44, "t": 20, "r": 40},
        xaxis=theme.axis(f"{shown.unit} r", range=list(ends), anchor=ERROR),
        yaxis=theme.axis("r̃", domain=[0.38, 1.0], nticks=6, range=list(ends)),
        yaxis2=theme.axis("r̃ − r", domain=[0.0, 0.32], nticks=4, range=[-reach, reach]),
        shapes=bounds,
        annotations=[
            elements.note(
                "r̃ = r", ends[0] + 0.8 * (ends[1] - ends[0]), ends[1], canvas.ink, xanchor="right", yanchor="top"
            ),
            *(
                elements.note(name, 1, y, theme.NEUTRAL, xref="paper", yref=ERROR, xanchor="left", yanchor=anchor)
                for name, y, anchor in (("+S/2", half, "bottom"), ("−S/2", -half, "top"))
            ),
        ],
    )


def describe_staircase(shown: Step) -> str:
    """Say in words what the figure shows."""
    view = shown.view
    said = phrase("staircase", "described_steps", size=view.levels.size, scale=short(view.scale))
    if shown.r_hat is None:
        return said
    error = short(shown.r_hat - shown.r)
    return phrase("staircase", "described_value", said=said, r=short(shown.r), r_hat=short(shown.r_hat), error=error)


def bits_figure(measured: Mapping[int, float], theory: Mapping[int, float], bits: int, canvas: Canvas) -> go.Figure:
    """Draw the mean squared error against bits: measured, and S²/12."""
    return theme.figure(
        [
            {
                **_curve(list(theory), list(theory.values()), STAIRCASE, theme.NEUTRAL, 1.5, "dash"),
                "name": "S²/12",
            },
            {
                **_curve(list(measured), list(measured.values()), STAIRCASE, theme.QUANTIZED, 2),
                "name": "this tensor",
                "mode": "lines+markers",
                "marker": {"size": [13 if b == bits else 7 for b in measured], "color": theme.QUANTIZED},
            },
        ],
        BITS_HEIGHT,
        canvas,
        margin={"l": 52, "r": 8, "t": 30, "b": 40},
        xaxis=theme.axis("bits", dtick=1),
        yaxis=theme.axis("MSE", type="log", exponentformat="power", dtick=1),
        showlegend=True,
        legend={"x": 0, "y": 1.02, "yanchor": "bottom", "orientation": "h"},
    )


def describe_bits(measured: Mapping[int, float]) -> str:
    """Say in words what the figure shows."""
    return "MSE against bits: " + ", ".join(f"{bits} bits {short(value)}" for bits, value in measured.items())


def _staircase(view: BlockView, ends: tuple[float, float]) -> tuple[elements.Array, elements.Array]:
    """Return inputs, both sides of every threshold among them, and what comes back."""
    edges = view.thresholds[(view.thresholds > ends[0]) & (view.thresholds < ends[1])]
    below = np.nextafter(edges, np.float32(-np.inf))
    inputs = np.unique(np.concatenate([np.linspace(*ends, POINTS), below, edges]))
    buckets = np.searchsorted(view.thresholds, inputs.astype(np.float32), side="right")
    return inputs, view.levels[buckets].astype(np.float64)


def _curve(x: object, y: object, axis: str, color: str, width: float, dash: str = "solid") -> Trace:
    line = {"color": color, "width": width, "dash": dash}
    return {"type": "scatter", "x": x, "y": y, "yaxis": axis, "mode": "lines", "line": line, "hoverinfo": "x+y"}


def _path(shown: Step, ends: tuple[float, float]) -> list[Trace]:
    """Return the way of r: up to its stair, and across to r̃; and its place on the saw."""
    r, back = shown.r, shown.r_hat
    if back is None:
        return [_curve([r, r], list(ends), STAIRCASE, theme.ORIGINAL, 2, "dot")]
    way = _curve([r, r, ends[0]], [ends[0], back, back], STAIRCASE, theme.ORIGINAL, 2, "dot")
    label = {
        "mode": "markers+text",
        "marker": {"size": 11, "color": theme.ORIGINAL},
        "text": [f"r = {short(r)} → r̃ = {short(back)}"],
        "textposition": "top left" if r > sum(ends) / 2 else "bottom right",
        "textfont": {"color": theme.ORIGINAL},
    }
    return [
        way,
        {**_curve([r], [back], STAIRCASE, theme.ORIGINAL, 2), **label},
        {**_curve([r], [back - r], ERROR, theme.ORIGINAL, 2), **label, "mode": "markers", "text": None},
    ]
