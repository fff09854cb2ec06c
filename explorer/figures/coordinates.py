"""Vectors and what they become, seen along their first two coordinates."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import count

HEIGHT = 560
MAX_POINTS = 4000


def coordinates_figure(vectors: NDArray[np.float32], back: NDArray[np.float32], canvas: Canvas) -> go.Figure:
    """Draw vectors (n, dim) and what comes back for them, sampled evenly where there are too many to draw."""
    chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), MAX_POINTS)).astype(int)
    reach = 1.05 * float(np.abs(vectors[:, :2]).max()) or 1.0
    traces = [
        _points(vectors[chosen], "vectors", theme.ORIGINAL, 4, 0.35),
        _points(np.unique(back[chosen][:, :2], axis=0), "come back", theme.QUANTIZED, 6, 0.9),
    ]
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 62, "r": 8, "t": 8, "b": 44},
        xaxis=theme.axis(phrase("coordinates", "first_value_axis"), range=[-reach, reach]),
        yaxis=theme.axis("second value", range=[-reach, reach], scaleanchor="x"),
        showlegend=True,
        legend={"x": 0.01, "y": 0.99, "xanchor": "left", "yanchor": "top"},
    )


def describe_coordinates(vectors: NDArray[np.float32], back: NDArray[np.float32]) -> str:
    """Say in words what the figure shows."""
    distinct = len(np.unique(back, axis=0))
    return phrase(
        "coordinates",
        "described",
        vectors=count(len(vectors)),
        shape=vectors.shape[1],
        distinct=count(distinct),
    )


def _points(vectors: NDArray[np.float32], name: str, color: str, size: int, opacity: float) -> Trace:
    return {
        "type": "scatter",
        "name": name,
        "x": vectors[:, 0],
        "y": vectors[:, 1] if vectors.shape[1] > 1 else np.zeros(len(vectors)),
        "mode": "markers",
        "marker": {"color": color, "size": size, "opacity": opacity},
        "hovertemplate": f"%{{x:.4g}}, %{{y:.4g}}<extra>{name}</extra>",
    }
