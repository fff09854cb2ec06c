"""Activations of a language model as coloured cells: keys and values by token, and channels from block to block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.maps import SEQUENTIAL
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import count, short

STEPS = 127  # of colour
MAX_CELLS = 192  # along one axis of keys and values: of more, several share a cell
CACHE_HEIGHT, ROW_HEIGHT, MIN_ROWS = 440, 26, 8
GAP = 0.14  # between keys and values, of the width

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """|x| of a matrix (tokens, channels) in cells, each the largest of those in it.

    `cells` is (channels, tokens), at most `MAX_CELLS` each, `shape` (channels, tokens) what they stand for.
    """

    cells: Array
    shape: tuple[int, int]


def magnitudes(x: Array) -> Magnitudes:
    """Return the magnitudes of a matrix (tokens, channels)."""
    found = np.abs(x.T)
    for axis in (0, 1):
        edges = np.unique(np.linspace(0, found.shape[axis], min(found.shape[axis], MAX_CELLS) + 1).astype(int))[:-1]
        found = np.maximum.reduceat(found, edges, axis=axis)
    return Magnitudes(found, (x.shape[1], x.shape[0]))


def cache_figure(parts: Mapping[str, Magnitudes], canvas: Canvas) -> go.Figure:
    """Draw parts (keys, values) next to each other: channels from top to bottom, tokens from left to right."""
    layout: dict[str, LayoutPart] = {}
    traces, notes = [], []
    width = (1 - GAP * (len(parts) - 1)) / len(parts)
    for place, (name, part) in enumerate(parts.items()):
        number = "" if place == 0 else str(place + 1)
        start = place * (width + GAP)
        channels, tokens = part.shape
        top = float(part.cells.max())
        traces.append(_cells(part.cells / (top or 1.0), (channels, tokens), number, canvas))
        title = phrase("activations", "token")
        layout[f"xaxis{number}"] = theme.axis(title, domain=[start, start + width], anchor=f"y{number}", nticks=5)
        layout[f"yaxis{number}"] = theme.axis(
            phrase("activations", "channel") if place == 0 else "",
            range=[channels - 0.5, -0.5],
            anchor=f"x{number}",
            nticks=6,
        )
        said = phrase("activations", "part", name=name, top=short(top))
        notes.append(_title(said, start, canvas))
    return theme.figure(
        traces, CACHE_HEIGHT, canvas, margin={"l": 56, "r": 8, "t": 28, "b": 96}, annotations=notes, **layout
    )


def describe_cache(parts: Mapping[str, Magnitudes]) -> str:
    """Say in words what the figure of keys and values shows."""
    return " ".join(
        phrase(
            "activations",
            "described_cache",
            name=name,
            channels=count(part.shape[0]),
            tokens=count(part.shape[1]),
            top=short(float(part.cells.max())),
            channel=int(part.cells.max(axis=1).argmax() * part.shape[0] // part.cells.shape[0]),
        )
        for name, part in parts.items()
    )


def residual_figure(channels: Sequence[int], ratios: NDArray[np.float64], canvas: Canvas) -> go.Figure:
    """Draw ratios (channels, blocks) of a channel's largest |x| to the median channel's, blocks from left to right."""
    top = max(float(ratios.max()), 2.0)
    shares = np.log(np.maximum(ratios, 1)) / math.log(top)
    rows, blocks = ratios.shape
    ticks = [10.0**power for power in range(int(math.log10(top)) + 1)]
    bar = _bar([math.log(tick) / math.log(top) * STEPS for tick in ticks], [short(tick) for tick in ticks], canvas)
    heat = {
        "type": "heatmap",
        "z": np.rint(shares * STEPS).astype(np.int8),
        "zmin": 0,
        "zmax": STEPS,
        "colorscale": _colours(canvas),
        "ygap": 2,
        "customdata": np.round(ratios, 2),
        "hovertemplate": phrase("activations", "residual_hover") + "<extra></extra>",
        "colorbar": bar,
    }
    return theme.figure(
        [heat],
        max(rows, MIN_ROWS) * ROW_HEIGHT + 130,
        canvas,
        margin={"l": 64, "r": 8, "t": 28, "b": 96},
        xaxis=theme.axis(phrase("activations", "block"), range=[-0.5, blocks - 0.5], nticks=8),
        yaxis=theme.axis(
            phrase("activations", "channel"),
            range=[rows - 0.5, -0.5],
            tickvals=list(range(rows)),
            ticktext=[str(channel) for channel in channels],
        ),
        annotations=[_title(phrase("activations", "residual"), 0, canvas)],
    )


def describe_residual(channels: Sequence[int], ratios: NDArray[np.float64]) -> str:
    """Say in words what the figure of channels shows."""
    listed = ", ".join(
        phrase("activations", "reached", channel=channel, ratio=short(float(row.max())), block=int(row.argmax()))
        for channel, row in zip(channels, ratios, strict=True)
    )
    return phrase("activations", "described_residual", blocks=ratios.shape[1], listed=listed)


def _cells(shares: Array, shape: tuple[int, int], number: str, canvas: Canvas) -> Trace:
    """Return cells of shares from 0 to 1; the first part has the bar of colours."""
    steps = [size / cells for size, cells in zip(shape, shares.shape, strict=True)]
    said = phrase("activations", "none"), phrase("activations", "largest")
    return {
        "type": "heatmap",
        "z": np.rint(shares * STEPS).astype(np.int8),
        "x0": (steps[1] - 1) / 2,
        "dx": steps[1],
        "y0": (steps[0] - 1) / 2,
        "dy": steps[0],
        "zmin": 0,
        "zmax": STEPS,
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "colorscale": _colours(canvas),
        "hoverinfo": "skip",
        "showscale": not number,
        "colorbar": _bar([0, STEPS], list(said), canvas),
    }


def _bar(places: Sequence[float], said: Sequence[str], canvas: Canvas) -> LayoutPart:
    return {
        "orientation": "h",
        "y": 0,
        "yanchor": "top",
        "ypad": 56,
        "thickness": 8,
        "len": 0.9,
        "outlinewidth": 0,
        "tickvals": list(places),
        "ticktext": list(said),
        "tickfont": theme.lettering(canvas),
    }


def _colours(canvas: Canvas) -> list[list[Any]]:
    colors = SEQUENTIAL["dark" if canvas.ink == theme.INK["dark"] else "light"]
    return [[place, color] for place, color in zip((0.0, 0.5, 1.0), colors, strict=True)]


def _title(text: str, x: float, canvas: Canvas) -> LayoutPart:
    place = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom", "yshift": 4}
    return elements.note(f"<b>{text}</b>", x, 1, canvas.ink, **place)
