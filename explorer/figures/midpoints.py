"""Where codewords stand in their buckets: uniform ones in the middle, learned ones at the mean of the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase

MIN_HEIGHT, ROW_HEIGHT, AROUND = 170, 17, 92
GAP = 0.05  # of the width, between two codebooks

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bucketed:
    """A codebook's levels (k,), its thresholds (k − 1,) and the mean of every bucket (k,), NaN where it is empty."""

    levels: Array
    thresholds: Array
    means: Array

    @property
    def inner(self) -> tuple[NDArray[np.int64], Array, Array]:
        """Buckets with two thresholds: their numbers, and level and mean in each, −1 and 1 being the thresholds."""
        numbers = np.arange(1, self.levels.size - 1)
        middle = (self.thresholds[1:] + self.thresholds[:-1]) / 2
        half = np.diff(self.thresholds) / 2
        wide = half > 0
        places = [
            np.divide(what[1:-1] - middle, half, out=np.full_like(half, np.nan), where=wide)
            for what in (self.levels, self.means)
        ]
        return numbers, places[0], places[1]


def midpoints_figure(codebooks: Mapping[str, Bucketed], canvas: Canvas) -> go.Figure:
    """Draw a panel for each codebook and in it a row for each inner bucket, from threshold t to t, in one width."""
    rows = max(book.levels.size for book in codebooks.values()) - 2
    wide = (1 + GAP) / len(codebooks)
    axes: dict[str, LayoutPart] = {}
    traces: list[Trace] = []
    shapes: list[LayoutPart] = []
    for number, (name, book) in enumerate(codebooks.items()):
        place = str(number + 1) if number else ""
        axes[f"xaxis{place}"] = theme.axis(
            name,
            domain=[number * wide, (number + 1) * wide - GAP],
            range=[-1.06, 1.06],
            tickvals=[-1, 0, 1],
            ticktext=["t", "midpoint", "t"],
        )
        line = {"type": "line", "x0": 0, "x1": 0, "xref": f"x{place}", "y0": 0, "y1": 1, "yref": "y domain"}
        shapes.append({**line, "line": {"color": theme.NEUTRAL, "width": 1, "dash": "dot"}})
        traces += _marks(book, f"x{place}", legend=not number)
    return theme.figure(
        traces,
        max(MIN_HEIGHT, ROW_HEIGHT * rows + AROUND),
        canvas,
        margin={"l": 52, "r": 30, "t": 34, "b": 48},
        yaxis=theme.axis("bucket", range=[0.2, rows + 0.8], nticks=8),
        shapes=shapes,
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        **axes,
    )


def describe_midpoints(codebooks: Mapping[str, Bucketed]) -> str:
    """Say in words what the figure shows."""
    said = []
    for name, book in codebooks.items():
        _, levels, means = book.inner
        off, apart = (_max_gap(gaps) for gaps in (levels, levels - means))
        said.append(phrase("midpoints", "described_codebook", name=name, off=off, apart=apart))
    return phrase("midpoints", "described_lead") + "; ".join(said) + "."


def _max_gap(gaps: Array) -> float:
    return 100 * float(np.nanmax(np.abs(gaps), initial=0.0))


def _marks(book: Bucketed, axis: str, legend: bool) -> list[Trace]:
    numbers, levels, means = book.inner
    kinds = (
        ("codeword", levels, "triangle-up", theme.QUANTIZED, 10),
        (phrase("midpoints", "mean_values"), means, "diamond-open", theme.ORIGINAL, 10),
    )
    return [
        {
            "type": "scatter",
            "name": name,
            "x": places,
            "y": numbers,
            "xaxis": axis,
            "mode": "markers",
            "marker": {"symbol": symbol, "color": color, "size": size, "line": {"width": 2, "color": color}},
            "showlegend": legend,
            "hovertemplate": f"bucket %{{y}}: %{{x:.3f}}<extra>{name}</extra>",
        }
        for name, places, symbol, color, size in kinds
    ]
