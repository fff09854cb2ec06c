"""A matrix as coloured cells with the blocks that share a scale: its values, their errors, and the blocks' ranges.

Values and errors are blue below 0 and orange above, from a middle that is the page's own; ranges go from faint to
strong on a logarithmic scale. Colours are sent as whole numbers of seven bits, which is all that an eye tells apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import count, short

HEIGHT = 380
MARGIN = {"l": 46, "r": 8, "t": 28, "b": 94}
STEPS = 127  # of colour, to either side
MAX_LINES = 100  # along one axis; more would cover the cells
MAX_TARGETS = 4096  # blocks that can be hovered over and clicked
DIVERGING = {"light": "#F4F4F4", "dark": "#1A212B"}
SEQUENTIAL = {"light": ["#E3EDF4", theme.ORIGINAL, "#00253B"], "dark": ["#1F3647", "#2F8FCB", "#E4F3FD"]}
EMPHASIS = {"edited": (theme.ERROR, "dot"), "chosen": (None, "solid")}

Array = NDArray[Any]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom, in rows and columns


@dataclass(frozen=True, eq=False)
class Sight:
    """What of a matrix is in sight, and its blocks.

    `rows` and `columns` are the edges of the blocks in sight, `numbers` those of the blocks (rows, columns), `told`
    what is said of each when it is pointed at (rows, columns, what): lower end, upper end, mean squared error.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    numbers: NDArray[np.int64]
    told: NDArray[np.float64]
    chosen: Rectangle
    edited: Sequence[Rectangle]
    names: tuple[str, str]  # of a row and of a column

    @property
    def targets(self) -> bool:
        """Whether blocks can be pointed at."""
        return self.numbers.size <= MAX_TARGETS


def signed_map(title: str, values: Array, reach: float, sight: Sight, canvas: Canvas) -> go.Figure:
    """Draw values, or errors, of the part in sight; colours are full at ±reach."""
    bar = [-STEPS, 0, STEPS], [short(-reach), "0", short(reach)]
    return _map(
        title,
        {
            "z": np.rint(np.clip(values / reach, -1, 1) * STEPS).astype(np.int8),
            "x0": int(sight.columns[0]),
            "y0": int(sight.rows[0]),
            "zmin": -STEPS,
            "zmax": STEPS,
            "colorscale": [[0.0, theme.ORIGINAL], [0.5, DIVERGING[_theme(canvas)]], [1.0, theme.QUANTIZED]],
        },
        bar,
        sight,
        canvas,
    )


def range_map(title: str, reaches: Array, sight: Sight, canvas: Canvas) -> go.Figure:
    """Draw how wide the range of every block in sight is; a block without a width stays empty."""
    some = reaches[reaches > 0]
    low, high = (float(some.min()), float(some.max())) if some.size else (1.0, 1.0)
    spread = math.log(high / low) or 1.0
    with np.errstate(divide="ignore"):
        places = np.where(reaches > 0, np.log(np.maximum(reaches, low) / low) / spread, np.nan)
    middle = math.sqrt(low * high)
    ticks = ([0, 0.5, 1], [short(low), short(middle), short(high)]) if high > low else ([0], [short(low)])
    colors = SEQUENTIAL[_theme(canvas)]
    return _map(
        title,
        {
            "z": places.astype(np.float32),
            "x": sight.columns - 0.5,
            "y": sight.rows - 0.5,
            "zmin": 0,
            "zmax": 1,
            "colorscale": [[place, color] for place, color in zip((0.0, 0.5, 1.0), colors, strict=True)],
            "hoverongaps": False,
        },
        ticks,
        sight,
        canvas,
    )


def describe_map(title: str, values: Array, sight: Sight) -> str:
    """Say in words what a map shows."""
    some = values[np.isfinite(values)]
    span = f"{short(float(some.min()))} to {short(float(some.max()))}" if some.size else "nothing"
    left, top, right, bottom = sight.chosen
    return phrase(
        "maps",
        "described",
        title=title,
        rows=sight.rows[-1] - sight.rows[0],
        columns=sight.columns[-1] - sight.columns[0],
        size=count(sight.numbers.size),
        span=span,
        top=top,
        bottom=bottom - 1,
        left=left,
        right=right - 1,
    )


def _map(title: str, cells: Trace, bar: tuple[Sequence[float], list[str]], sight: Sight, canvas: Canvas) -> go.Figure:
    heat = {
        "type": "heatmap",
        "hoverinfo": "skip",
        "colorbar": {
            "orientation": "h",
            "y": 0,
            "yanchor": "top",
            "ypad": 54,
            "thickness": 8,
            "len": 0.9,
            "outlinewidth": 0,
            "tickvals": bar[0],
            "ticktext": bar[1],
            "tickfont": theme.lettering(canvas),
        },
        **cells,
    }
    ends = float(sight.columns[0]) - 0.5, float(sight.columns[-1]) - 0.5
    top, bottom = float(sight.rows[0]) - 0.5, float(sight.rows[-1]) - 0.5
    traces = [heat, *_lines(sight), *([_targets(sight)] if sight.targets else [])]
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin=MARGIN,
        xaxis=theme.axis(sight.names[1], range=list(ends), **_whole(sight.columns)),
        yaxis=theme.axis(sight.names[0], range=[bottom, top], **_whole(sight.rows)),
        shapes=[_outline(box, "edited", canvas) for box in sight.edited] + [_outline(sight.chosen, "chosen", canvas)],
        annotations=[
            elements.note(
                f"<b>{title}</b>",
                0,
                1,
                canvas.ink,
                xref="paper",
                yref="paper",
                xanchor="left",
                yanchor="bottom",
                yshift=4,
            )
        ],
        clickmode="event+select",
        dragmode=False,
        hoverdistance=-1,
        selectionrevision=str(sight.chosen),
    )


def _lines(sight: Sight) -> list[Trace]:
    """Return the edges between blocks, of the axes along which they are not too many."""
    rows, columns = sight.rows - 0.5, sight.columns - 0.5
    ends: list[tuple[float, float, float, float]] = []
    if rows.size <= MAX_LINES:
        ends += [(columns[0], columns[-1], row, row) for row in rows[1:-1]]
    if columns.size <= MAX_LINES:
        ends += [(column, column, rows[0], rows[-1]) for column in columns[1:-1]]
    if not ends:
        return []
    x = [place for left, right, _, _ in ends for place in (left, right, None)]
    y = [place for _, _, top, bottom in ends for place in (top, bottom, None)]
    line = {"width": 0.75, "color": theme.NEUTRAL}
    return [{"type": "scatter", "x": x, "y": y, "mode": "lines", "line": line, "hoverinfo": "skip"}]


def _targets(sight: Sight) -> Trace:
    """Return what is clicked: the middle of every block, unseen; of all middles, a block's own is the nearest."""
    middles = (sight.rows[:-1] + sight.rows[1:] - 1) / 2, (sight.columns[:-1] + sight.columns[1:] - 1) / 2
    y, x = np.meshgrid(*middles, indexing="ij")
    unseen = {"marker": {"opacity": 0}}
    return {
        "type": "scatter",
        "x": x.reshape(-1).astype(np.float32),
        "y": y.reshape(-1).astype(np.float32),
        "mode": "markers",
        "marker": {"opacity": 0, "size": 6},
        "selected": unseen,
        "unselected": unseen,
        "customdata": np.concatenate([sight.numbers[..., None], sight.told], axis=2).reshape(sight.numbers.size, -1),
        "hovertemplate": "block %{customdata[0]}: %{customdata[1]:.3g} … %{customdata[2]:.3g}, MSE %{customdata[3]:.3g}"
        "<extra></extra>",
    }


def _outline(box: Rectangle, kind: str, canvas: Canvas) -> LayoutPart:
    color, dash = EMPHASIS[kind]
    left, top, right, bottom = (edge - 0.5 for edge in box)
    line = {"color": color or canvas.ink, "width": 2.5, "dash": dash}
    return {"type": "rect", "x0": left, "x1": right, "y0": top, "y1": bottom, "line": line}


def _whole(edges: NDArray[np.int64]) -> LayoutPart:
    """Return ticks at whole numbers where cells are few."""
    return {"dtick": 1, "tick0": 0} if edges[-1] - edges[0] <= 10 else {"nticks": 6}


def _theme(canvas: Canvas) -> str:
    return "dark" if canvas.ink == theme.INK["dark"] else "light"
