"""Matrices and codebooks as coloured cells: blue below 0, orange above, on a scale that is the same for all beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import count, short

COLORS = [[0.0, theme.ORIGINAL], [0.5, "#F4F4F4"], [1.0, theme.QUANTIZED]]
PATCH_HEIGHT = 308
MAX_ROWS = 64  # of strips, in all stages together
ROW_HEIGHT, HEIGHTS = 12, (150, 480)  # of strips, in pixels
STRIPS = {"hovertemplate": "%{z:.4g}<extra></extra>", "hoverongaps": False, "showscale": False, "xgap": 1, "ygap": 1}

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of a matrix from row `first` on; `reach` is where colours are full, `dim` the length of its vectors."""

    title: str
    values: Array
    first: int
    reach: float
    dim: int


def patch_figure(patch: Patch, canvas: Canvas, scale: bool = False) -> go.Figure:
    """Draw a matrix as cells; lines mark where vectors begin. `scale`: the colours are explained beside it."""
    (rows, columns), top = patch.values.shape, patch.first - 0.5
    bar = {"thickness": 10, "len": 0.9, "tickfont": theme.lettering(canvas), "outlinewidth": 0, "ypad": 0}
    trace = {
        **_cells(patch.values, patch.reach),
        "y0": patch.first,
        "hovertemplate": "row %{y}, column %{x}: %{z:.4g}<extra></extra>",
        "showscale": scale,
        "colorbar": bar,
    }
    edges = [
        {"type": "line", "x0": x - 0.5, "x1": x - 0.5, "y0": top, "y1": top + rows, "line": _LINE}
        for x in range(patch.dim, columns, patch.dim)
    ]
    return theme.figure(
        [trace],
        PATCH_HEIGHT,
        canvas,
        margin={"l": 34, "r": 60 if scale else 8, "t": 28, "b": 50},
        xaxis=theme.axis("column", range=[-0.5, columns - 0.5]),
        yaxis=theme.axis("", range=[top + rows, top]),
        shapes=edges,
        annotations=[_title(patch.title, canvas)],
    )


def describe_patch(patch: Patch) -> str:
    """Say in words what the figure shows."""
    rows, columns = patch.values.shape
    return phrase(
        "mosaic",
        "described_values",
        title=patch.title,
        rows=rows,
        columns=columns,
        values_min=short(float(patch.values.min())),
        values_max=short(float(patch.values.max())),
    )


def strips_figure(codebooks: Array, reach: float, canvas: Canvas) -> go.Figure:
    """Draw codebooks (stages, parts, codewords, values): a block for each, a row of cells for each codeword.

    The rows of a block are in the order of their sums; of many, as many as can be told apart are drawn.
    """
    stages, count_of_parts, _, width = codebooks.shape
    blocks = [[_block(codebooks[s, p], rows_of(stages)) for p in range(count_of_parts)] for s in range(stages)]
    rows = blocks[0][0].shape[0]
    across = np.concatenate([np.concatenate([_spaced(b) for b in line], axis=1) for line in blocks], axis=0)
    across = across[:-1, :-1]
    step, fall = width + 1, rows + 1
    return theme.figure(
        [{**_cells(across, reach), **STRIPS}],
        int(np.clip(ROW_HEIGHT * len(across), *HEIGHTS)) + 52,
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


def rows_of(stages: int) -> int:
    """Return how many codewords of a block can be told apart."""
    return MAX_ROWS // stages


def describe_strips(codebooks: Array) -> str:
    """Say in words what the figure shows."""
    stages, count_of_parts, codewords, width = codebooks.shape
    return phrase(
        "mosaic",
        "described_codebooks",
        stages=stages,
        count_of_parts=count_of_parts,
        codewords=count(codewords),
        width=width,
    )


_LINE = {"width": 0.5, "color": theme.NEUTRAL}


def _cells(values: Array, reach: float) -> Trace:
    return {
        "type": "heatmap",
        "z": values,
        "zmin": -reach,
        "zmax": reach,
        "colorscale": COLORS,
    }


def _block(codebook: Array, max_rows: int) -> Array:
    """Return the codewords in the order of their sums, at most so many of them; those that are not there come last."""
    ordered: Array = codebook[np.argsort(codebook.sum(axis=1), kind="stable")]
    if len(ordered) <= max_rows:
        return ordered
    there = int(np.isfinite(ordered).all(axis=1).sum())
    some: Array = ordered[np.linspace(0, max(there - 1, 0), max_rows).round().astype(int)]
    return some


def _spaced(block: Array) -> Array:
    """Return a block with an empty row below and an empty column after it."""
    spaced = np.full((len(block) + 1, block.shape[1] + 1), np.nan)
    spaced[:-1, :-1] = block
    return spaced


def _title(text: str, canvas: Canvas) -> dict[str, Any]:
    return elements.note(
        f"<b>{text}</b>", 0, 1.0, canvas.ink, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=4
    )
