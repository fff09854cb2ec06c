"""Images made up from BatchNorm statistics, beside noise and real ones, and how well their statistics match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short

BOARD_HEIGHT = 200
MATCH_HEIGHT = 360
GAP = 2  # pixels between images
STYLES = {
    "noise": (theme.NEUTRAL, "square-open"),
    "made": (theme.QUANTIZED, "diamond"),
    "real": (theme.ORIGINAL, "circle"),
}

Images = NDArray[np.float32]
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Match:
    """How the statistics of some images match those of the BatchNorms.

    `misses` is, layer by layer, the mean over channels of ((μ̃ − μ)² + (σ̃ − σ)²)/σ²; `means` and `deviations` are those
    of one layer's channels. `kind` is one of `STYLES`.
    """

    kind: str
    misses: Mapping[str, float]
    means: Array
    deviations: Array


def images_figure(images: Images, columns: int, ends: tuple[float, float], canvas: Canvas) -> go.Figure:
    """Draw images (n, height, width) of one kind on a board of so many columns, dark where pixels are great."""
    count, height, width = images.shape
    down, across = height + GAP, width + GAP
    board = np.full((down * -(-count // columns) - GAP, across * columns - GAP), np.nan, np.float32)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        board[row * down : row * down + height, column * across : column * across + width] = image
    trace = {
        "type": "heatmap",
        "z": np.round(board, 2),
        "zmin": ends[0],
        "zmax": ends[1],
        "colorscale": [[0.0, "#FFFFFF"], [1.0, "#1F2933"]],
        "showscale": False,
        "hovertemplate": "pixel %{z}<extra></extra>",
    }
    hidden = {**theme.axis(""), "visible": False}
    return theme.figure(
        [trace],
        BOARD_HEIGHT,
        canvas,
        margin={"l": 0, "r": 0, "t": 4, "b": 4},
        xaxis=hidden,
        yaxis={**hidden, "autorange": "reversed", "scaleanchor": "x"},
        plot_bgcolor="rgba(0,0,0,0)",
    )


def describe_images(kind: str, images: Images) -> str:
    """Say in words what the figure shows."""
    return f"{len(images)} images: {kind}."


def misses_figure(found: Mapping[str, Match], canvas: Canvas) -> go.Figure:
    """Draw how far the statistics of each kind of images are off in every layer."""
    traces: list[Trace] = []
    for name, match in found.items():
        color, symbol = STYLES[match.kind]
        traces.append(
            {
                "type": "scatter",
                "name": name,
                "x": list(match.misses),
                "y": list(match.misses.values()),
                "mode": "lines+markers",
                "line": {"color": color, "width": 1.5},
                "marker": {"color": color, "symbol": symbol, "size": 9},
                "hovertemplate": "%{x}: %{y:.3g}<extra>" + name + "</extra>",
            }
        )
    misses = [miss for match in found.values() for miss in match.misses.values()]
    return theme.figure(
        traces,
        MATCH_HEIGHT,
        canvas,
        margin={"l": 62, "r": 8, "t": 8, "b": 92},
        xaxis=theme.axis("layer", type="category"),
        yaxis=elements.error_axis(phrase("synthetic_images", "distance_axis"), misses),
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"},
    )


def match_figure(found: Mapping[str, Match], wanted: tuple[Array, Array], canvas: Canvas) -> go.Figure:
    """Draw mean and deviation of every channel of one layer, of the images against those of the BatchNorm."""
    traces: list[Trace] = []
    lines, spans, notes = [], [], []
    for number, wide in enumerate(wanted):
        axis = str(number + 1) if number else ""
        have = {name: (match.means, match.deviations)[number] for name, match in found.items()}
        for name, values in have.items():
            color, symbol = STYLES[found[name].kind]
            traces.append(
                {
                    "type": "scatter",
                    "name": name,
                    "x": wide,
                    "y": values,
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                    "mode": "markers",
                    "marker": {"color": color, "symbol": symbol, "size": 6},
                    "hovertemplate": "BatchNorm %{x:.3g}, images %{y:.3g}<extra>" + name + "</extra>",
                }
            )
        every = np.concatenate([wide, *have.values()])
        pad = 0.05 * (float(np.ptp(every)) or 1.0)
        low, high = float(every.min()) - pad, float(every.max()) + pad
        spans.append([low, high])
        ends = {"x0": low, "y0": low, "x1": high, "y1": high, "xref": f"x{axis}", "yref": f"y{axis}"}
        above = {"xref": f"x{axis}", "yref": "paper", "xanchor": "right", "yanchor": "bottom"}
        notes.append(elements.note(phrase("synthetic_images", "equal"), high, 1, canvas.ink, **above))
        lines.append({"type": "line", **ends, "line": {"color": theme.NEUTRAL, "width": 1, "dash": "dot"}})
    return theme.figure(
        traces,
        MATCH_HEIGHT,
        canvas,
        margin={"l": 50, "r": 8, "t": 26, "b": 92},
        xaxis=theme.axis("μ of BatchNorm", domain=[0.0, 0.43], range=spans[0], nticks=4),
        yaxis=theme.axis("μ̃ of images", range=spans[0], nticks=5),
        xaxis2=theme.axis("σ of BatchNorm", domain=[0.59, 1.0], anchor="y2", range=spans[1], nticks=4),
        yaxis2=theme.axis("σ̃ of images", anchor="x2", range=spans[1], nticks=5),
        shapes=lines,
        annotations=notes,
    )


def describe_misses(found: Mapping[str, Match]) -> str:
    """Say in words what the figure shows."""
    said: Sequence[str] = [
        f"{name}: " + ", ".join(f"{layer} {short(miss)}" for layer, miss in match.misses.items())
        for name, match in found.items()
    ]
    return phrase("synthetic_images", "described_distance") + "; ".join(said) + "."


def describe_match(found: Mapping[str, Match], layer: str) -> str:
    """Say in words what the figure shows."""
    return phrase("synthetic_images", "described_channels", layer=layer, listed=", ".join(found))
