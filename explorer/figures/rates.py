"""Rate and distortion: what ways to code one tensor lose at how many bits, beside the bound for a Gaussian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short

HEIGHT = 460
STYLES = (  # colour, dash and marker, way by way
    (theme.NEUTRAL, "dash", "square-open"),
    (theme.ORIGINAL, "solid", "circle"),
    (theme.QUANTIZED, "solid", "diamond"),
    (theme.QUANTIZED, "dot", "triangle-up"),
    (theme.ERROR, "solid", "cross"),
    (theme.ERROR, "dot", "x"),
)
MAX_BITS = 8.0  # on the axis


@dataclass(frozen=True)
class Point:
    """One code: bits per value, mean squared error, and what it is."""

    bits: float
    mse: float
    name: str


def rates_figure(curves: Mapping[str, Sequence[Point]], variance: float, bits_title: str, canvas: Canvas) -> go.Figure:
    """Draw error against bits per value, a line for each way, and the bound σ²·2^(−2R) of a Gaussian."""
    rates = [point.bits for points in curves.values() for point in points]
    max_bits = min(1.04 * max(rates, default=1.0), MAX_BITS)
    traces = [_curve(name, points, number) for number, (name, points) in enumerate(curves.items())]
    shown = [p.mse for points in curves.values() for p in points if p.bits <= max_bits]
    if variance > 0:
        traces.append(_bound(variance, max_bits))
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 74, "r": 8, "t": 8, "b": 130},
        xaxis=theme.axis(bits_title, range=[0, max_bits]),
        yaxis=elements.error_axis("mean squared error", shown),
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )


def describe_rates(curves: Mapping[str, Sequence[Point]]) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{name}: " + ", ".join(f"{short(p.mse)} at {short(p.bits)} bits" for p in points)
        for name, points in curves.items()
    )
    return phrase("rates", "described") + "; ".join(said) + "."


def _curve(name: str, points: Sequence[Point], number: int) -> Trace:
    color, dash, symbol = STYLES[number % len(STYLES)]
    return {
        "type": "scatter",
        "name": name,
        "x": [point.bits for point in points],
        "y": [point.mse or None for point in points],  # a logarithmic axis has no 0
        "customdata": [point.name for point in points],
        "mode": "lines+markers",
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 9, "symbol": symbol},
        "hovertemplate": "%{customdata}: %{y:.3g} at %{x:.3f} bits<extra>" + name + "</extra>",
    }


def _bound(variance: float, max_bits: float) -> Trace:
    rates = np.linspace(0.0, max_bits, 33)
    return {
        "type": "scatter",
        "name": phrase("rates", "gaussian_bound"),
        "x": rates,
        "y": variance * 2.0 ** (-2.0 * rates),
        "mode": "lines",
        "line": {"color": theme.NEUTRAL, "width": 3},
        "hovertemplate": "D(R) = %{y:.3g} at %{x:.2f} bits<extra>bound for a Gaussian</extra>",
    }
