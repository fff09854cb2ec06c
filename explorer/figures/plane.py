"""Pairs of values in a plane, with codewords and the cells of what is nearest to each."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import count
from explorer.voronoi import voronoi_cells

HEIGHT = 350
PAD = 0.06  # of the view
OUTER = 0.1  # per cent of the coordinates, at either end
MANY = 400  # points that are drawn as a shade: the browser draws each mark anew at every step
PIXELS = 160  # of a shade, along each side
PALEST = 0.45  # opacity of a pixel with one point
FEW = 64  # codewords and edges that are drawn large

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """Points (n, 2) and codewords (k, 2) over a square `view`; `unit` is what one value is."""

    title: str
    unit: str
    points: NDArray[np.float32]
    codewords: Array
    view: tuple[float, float]


def view_of(points: NDArray[np.float32], *codewords: Array) -> tuple[float, float]:
    """Return the square that holds all codewords, and all but the outermost points."""
    ends: list[Array] = [np.percentile(points, [OUTER, 100 - OUTER]), *codewords]
    low, high = min(float(a.min()) for a in ends), max(float(a.max()) for a in ends)
    pad = PAD * ((high - low) or abs(high) or 1.0)
    return low - pad, high + pad


def plane_figure(plane: Plane, canvas: Canvas) -> go.Figure:
    """Draw the points, the cells and their codewords; both axes have the same scale."""
    many = len(plane.points) > MANY
    dots: Trace = {
        "type": "scatter",
        "name": "pairs",
        "x": [] if many else plane.points[:, 0],
        "y": [] if many else plane.points[:, 1],
        "mode": "markers",
        "marker": {"size": 6, "color": theme.ORIGINAL},
        "hoverinfo": "skip",
    }
    words = {
        "type": "scatter",
        "name": "codewords",
        "x": plane.codewords[:, 0],
        "y": plane.codewords[:, 1],
        "mode": "markers",
        "marker": {"size": 8 if len(plane.codewords) <= FEW else 4, "color": theme.QUANTIZED, "symbol": "diamond"},
        "hovertemplate": "(%{x:.4g}, %{y:.4g})<extra>codeword</extra>",
    }
    reach = list(plane.view)
    return theme.figure(
        [dots, _edges(plane), words],
        HEIGHT,
        canvas,
        margin={"l": 56, "r": 8, "t": 28, "b": 44},
        images=[_shade(plane)] if many else [],
        xaxis=theme.axis(f"first {plane.unit} of a pair", range=reach, constrain="domain"),
        yaxis=theme.axis(f"second {plane.unit}", range=reach, scaleanchor="x", constrain="domain", nticks=6),
        annotations=[
            elements.note(
                f"<b>{plane.title}</b>", 0.5, 1.0, canvas.ink, xref="paper", yref="paper", yanchor="bottom", yshift=4
            )
        ],
    )


def describe_plane(plane: Plane) -> str:
    """Say in words what the figure shows."""
    return phrase(
        "plane",
        "described",
        unit=plane.unit,
        points=count(len(plane.points)),
        codewords=count(len(plane.codewords)),
        title=plane.title,
    )


def _shade(plane: Plane) -> LayoutPart:
    """Return the points as a picture: the more of them a pixel holds, the less of what is behind it shines through."""
    low, high = plane.view
    at = np.floor((plane.points.astype(np.float64) - low) * (PIXELS / (high - low))).astype(np.int64)
    column, row = at[((at >= 0) & (at < PIXELS)).all(axis=1)].T
    held = np.log1p(np.bincount((PIXELS - 1 - row) * PIXELS + column, minlength=PIXELS * PIXELS))
    pixels = np.empty((PIXELS, PIXELS, 4), np.uint8)
    pixels[..., :3] = [int(theme.ORIGINAL[place : place + 2], 16) for place in (1, 3, 5)]
    opacity = np.where(held, PALEST + (1 - PALEST) * held / max(held.max(), 1.0), 0.0)
    pixels[..., 3] = np.rint(255 * opacity).reshape(PIXELS, PIXELS)
    Image.fromarray(pixels).save(written := io.BytesIO(), "PNG")
    return {
        "source": f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}",
        **{"xref": "x", "yref": "y", "x": low, "y": high, "sizex": high - low, "sizey": high - low},
        "sizing": "stretch",
        "layer": "below",
    }


def _edges(plane: Plane) -> Trace:
    """Return the outlines of all cells as one line."""
    gap = np.full((1, 2), np.nan)
    cells = [cell for cell in voronoi_cells(plane.codewords, plane.view) if len(cell)]
    rings = [part for cell in cells for part in (cell, cell[:1], gap)]
    corners = np.concatenate(rings) if rings else gap
    return {
        "type": "scatter",
        "name": "cells",
        "x": corners[:, 0],
        "y": corners[:, 1],
        "mode": "lines",
        "line": {"width": 1.5 if len(plane.codewords) <= FEW else 0.8, "color": theme.QUANTIZED},
        "hoverinfo": "skip",
    }
