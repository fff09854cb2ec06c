"""Matrices and codebooks as coloured cells: blue below 0, orange above, on a scale that is the same for all beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import parts, theme
from explorer.figures.theme import Canvas, Trace
from explorer.notation import count, short

COLORS = [[0.0, theme.ORIGINAL], [0.5, "#F4F4F4"], [1.0, theme.QUANTIZED]]
PATCH_HEIGHT = 300
MOST_ROWS = 64  # of strips, in all stages together
ROW_HEIGHT, LEAST_HEIGHT = 12, 150  # of strips, in pixels

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of a matrix; `reach` is where colours are full, `dim` the length of its vectors."""

    title: str
    values: Array
    reach: float
    dim: int


def patch_figure(patch: Patch, canvas: Canvas, scale: bool = False) -> go.Figure:
    """Draw a matrix as cells; lines mark where vectors begin. `scale`: the colours are explained beside it."""
    rows, columns = patch.values.shape
    bar = {"thickness": 10, "len": 1.0, "tickfont": {"color": canvas.ink}, "outlinewidth": 0}
    trace = {
        **_cells(patch.values, patch.reach),
        "hovertemplate": "row %{y}, column %{x}: %{z:.4g}<extra></extra>",
        "showscale": scale,
        "colorbar": bar,
    }
    edges = [
        {"type": "line", "x0": x - 0.5, "x1": x - 0.5, "y0": -0.5, "y1": rows - 0.5, "line": _LINE}
        for x in range(patch.dim, columns, patch.dim)
    ]
    return theme.figure(
        [trace],
        PATCH_HEIGHT,
        canvas,
        margin={"l": 34, "r": 60 if scale else 8, "t": 28, "b": 42},
        xaxis=theme.axis("column", range=[-0.5, columns - 0.5]),
        yaxis=theme.axis("", range=[rows - 0.5, -0.5]),
        shapes=edges,
        annotations=[_title(patch.title, canvas)],
    )


def describe_patch(patch: Patch) -> str:
    """Say in words what the figure shows."""
    rows, columns = patch.values.shape
    return (
        f"{patch.title}: {rows} × {columns} values from {short(float(patch.values.min()))} to "
        f"{short(float(patch.values.max()))} as colours, blue below 0 and orange above."
    )


def strips_figure(codebooks: Array, reach: float, canvas: Canvas) -> go.Figure:
    """Draw codebooks (stages, parts, codewords, values): a block for each, a row of cells for each codeword.

    The rows of a block are in the order of their sums; of many, as many as can be told apart are drawn.
    """
    stages, count_of_parts, _, width = codebooks.shape
    blocks = [[_block(codebooks[s, p], MOST_ROWS // stages) for p in range(count_of_parts)] for s in range(stages)]
    rows = blocks[0][0].shape[0]
    across = np.concatenate([np.concatenate([_spaced(b, 1) for b in line], axis=1) for line in blocks], axis=0)
    across = across[:-1, :-1]
    step, fall = width + 1, rows + 1
    return theme.figure(
        [
            {
                **_cells(across, reach),
                "hovertemplate": "%{z:.4g}<extra></extra>",
                "hoverongaps": False,
                "showscale": False,
            }
        ],
        max(ROW_HEIGHT * len(across), LEAST_HEIGHT) + 70,
        canvas,
        margin={"l": 70, "r": 8, "t": 8, "b": 44},
        xaxis=theme.axis(
            "part",
            tickvals=[p * step + (width - 1) / 2 for p in range(count_of_parts)],
            ticktext=[str(p + 1) for p in range(count_of_parts)],
            range=[-0.5, across.shape[1] - 0.5],
        ),
        yaxis=theme.axis(
            "",
            tickvals=[s * fall + (rows - 1) / 2 for s in range(stages)],
            ticktext=[f"stage {s + 1}" for s in range(stages)],
            range=[len(across) - 0.5, -0.5],
        ),
    )


def describe_strips(codebooks: Array) -> str:
    """Say in words what the figure shows."""
    stages, count_of_parts, codewords, width = codebooks.shape
    return (
        f"Codebooks as strips: {stages} × {count_of_parts} (stages × parts) of {count(codewords)} codewords, each of "
        f"{width} values as colours, blue below 0 and orange above."
    )


_LINE = {"width": 0.5, "color": theme.NEUTRAL}


def _cells(values: Array, reach: float) -> Trace:
    return {
        "type": "heatmap",
        "z": values,
        "zmin": -reach,
        "zmax": reach,
        "colorscale": COLORS,
        "xgap": 0.5,
        "ygap": 0.5,
    }


def _block(codebook: Array, most: int) -> Array:
    """Return the codewords in the order of their sums, at most so many of them; those that are not there come last."""
    ordered = codebook[np.argsort(codebook.sum(axis=1), kind="stable")]
    if len(ordered) <= most:
        return ordered
    there = int(np.isfinite(ordered).all(axis=1).sum())
    return ordered[np.linspace(0, max(there - 1, 0), most).round().astype(int)]


def _spaced(block: Array, gap: int) -> Array:
    return np.pad(block.astype(np.float64), ((0, gap), (0, gap)), constant_values=np.nan)


def _title(text: str, canvas: Canvas) -> dict[str, Any]:
    return parts.note(
        f"<b>{text}</b>", 0, 1.0, canvas.ink, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=4
    )
