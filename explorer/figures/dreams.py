"""Images made up from BatchNorm statistics, beside noise and real ones, and how well their statistics match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import parts, theme
from explorer.figures.theme import Canvas, Trace
from explorer.notation import short

ROW_HEIGHT = 84
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


def images_figure(rows: Mapping[str, Images], columns: int, ends: tuple[float, float], canvas: Canvas) -> go.Figure:
    """Draw rows of images (n, height, width), each row of one kind, dark where pixels are great."""
    height, width = next(iter(rows.values())).shape[1:]
    step = height + GAP
    board = np.full((step * len(rows) - GAP, (width + GAP) * columns - GAP), np.nan, np.float32)
    for row, images in enumerate(rows.values()):
        for column, image in enumerate(images[:columns]):
            left = column * (width + GAP)
            board[row * step : row * step + height, left : left + width] = image
    trace = {
        "type": "heatmap",
        "z": np.round(board, 2),
        "zmin": ends[0],
        "zmax": ends[1],
        "colorscale": [[0.0, "#FFFFFF"], [1.0, "#1F2933"]],
        "showscale": False,
        "hovertemplate": "pixel %{z}<extra></extra>",
    }
    return theme.figure(
        [trace],
        ROW_HEIGHT * len(rows) + 16,
        canvas,
        margin={"l": 84, "r": 8, "t": 8, "b": 8},
        xaxis={**theme.axis(""), "visible": False, "constrain": "domain"},
        yaxis={
            **theme.axis(""),
            "autorange": "reversed",
            "showline": False,
            "ticks": "",
            "tickvals": [step * row + height / 2 for row in range(len(rows))],
            "ticktext": list(rows),
        },
        plot_bgcolor="rgba(0,0,0,0)",
    )


def describe_images(rows: Mapping[str, Images]) -> str:
    """Say in words what the figure shows."""
    return "Images in rows, one kind below the other: " + ", ".join(rows) + "."


def match_figure(found: Mapping[str, Match], wanted: tuple[Array, Array], layer: str, canvas: Canvas) -> go.Figure:
    """Draw how far every layer's statistics are off, and those of one layer's channels against the BatchNorm's."""
    traces: list[Trace] = []
    for name, match in found.items():
        color, symbol = STYLES[match.kind]
        marker = {"color": color, "symbol": symbol, "size": 9}
        traces.append(
            {
                "type": "scatter",
                "name": name,
                "x": list(match.misses),
                "y": list(match.misses.values()),
                "mode": "lines+markers",
                "line": {"color": color, "width": 1.5},
                "marker": marker,
                "hovertemplate": "%{x}: %{y:.3g}<extra>" + name + "</extra>",
            }
        )
        for wide, have, axis in ((wanted[0], match.means, "2"), (wanted[1], match.deviations, "3")):
            traces.append(
                {
                    "type": "scatter",
                    "name": name,
                    "showlegend": False,
                    "x": wide,
                    "y": have,
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                    "mode": "markers",
                    "marker": {**marker, "size": 6},
                    "hovertemplate": "BatchNorm %{x:.3g}, images %{y:.3g}<extra>" + name + "</extra>",
                }
            )
    lines = []
    spans = {}
    for axis, every in (
        ("2", np.concatenate([wanted[0], *(match.means for match in found.values())])),
        ("3", np.concatenate([wanted[1], *(match.deviations for match in found.values())])),
    ):
        pad = 0.05 * (float(np.ptp(every)) or 1.0)
        low, high = float(every.min()) - pad, float(every.max()) + pad
        spans[axis] = [low, high]
        ends = {"x0": low, "y0": low, "x1": high, "y1": high, "xref": f"x{axis}", "yref": f"y{axis}"}
        lines.append({"type": "line", **ends, "line": {"color": theme.NEUTRAL, "width": 1, "dash": "dot"}})
    misses = [miss for match in found.values() for miss in match.misses.values()]
    return theme.figure(
        traces,
        MATCH_HEIGHT,
        canvas,
        margin={"l": 62, "r": 8, "t": 8, "b": 92},
        xaxis=theme.axis("layer", domain=[0.0, 0.36], type="category"),
        yaxis={**parts.error_axis("distance from BatchNorm, in σ²", misses)},
        xaxis2=theme.axis(f"{layer}: μ of BatchNorm", domain=[0.47, 0.71], anchor="y2", range=spans["2"], nticks=4),
        yaxis2=theme.axis("μ̃ of images", anchor="x2", range=spans["2"], nticks=5),
        xaxis3=theme.axis(f"{layer}: σ of BatchNorm", domain=[0.79, 1.0], anchor="y3", range=spans["3"], nticks=4),
        yaxis3=theme.axis("σ̃ of images", anchor="x3", range=spans["3"], nticks=5),
        shapes=lines,
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top", "font": {"color": canvas.ink}},
    )


def describe_match(found: Mapping[str, Match]) -> str:
    """Say in words what the figure shows."""
    said: Sequence[str] = [
        f"{name}: " + ", ".join(f"{layer} {short(miss)}" for layer, miss in match.misses.items())
        for name, match in found.items()
    ]
    return "Distance of the images' statistics from those of every BatchNorm, in σ². " + "; ".join(said) + "."
