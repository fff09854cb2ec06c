"""Representable values as rugs under a histogram: on an even axis, and on one of powers of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import count, share, short
from quant_engine import Distribution

ROW_HEIGHT = 34
HISTOGRAM_HEIGHT = 84
LEGEND = 104  # pixels left of the figure, for names
MIN_OCTAVES, MAX_OCTAVES = 6, 24
BARS_AN_OCTAVE = 2
APART = 150  # lines that can be told apart over the width of the axis: closer ones would make a pattern of the screen
HALF_MARK = 0.36  # of a row

Array = NDArray[np.float32]


@dataclass(frozen=True)
class RugPlot:
    """A tensor's values and what each format can stand for on it, by name."""

    values: Array
    distribution: Distribution
    levels: Mapping[str, Array]
    unit: str


def even_figure(shown: RugPlot, canvas: Canvas, cut: float = 0.0) -> go.Figure:
    """Draw the rugs over an even axis, under the histogram: all, or without a share `cut` of the values at each end."""
    reach = [float(levels[i]) for levels in shown.levels.values() for i in (0, -1)]
    low, high = (float(end) for end in np.quantile(shown.values, (cut, 1 - cut))) if cut else (0.0, 0.0)
    ends = (low, high) if low < high else elements.span(shown.distribution, *reach)
    bars, top, notes = elements.outline(shown.distribution, ends, "y", shown.unit)
    rugs = {name: levels[(levels >= ends[0]) & (levels <= ends[1])] for name, levels in shown.levels.items()}
    axis = theme.axis(f"{shown.unit} r", range=list(ends), anchor="y2")
    return _figure(bars, 1.05 * top, rugs, axis, canvas, notes)


def octave_figure(shown: RugPlot, canvas: Canvas) -> go.Figure:
    """Draw the rugs over powers of two: where a float has as many values in every octave."""
    sizes = np.abs(shown.values[shown.values != 0])
    ends = _octaves(sizes)
    counts, edges = np.histogram(np.log2(sizes), bins=(ends[1] - ends[0]) * BARS_AN_OCTAVE, range=ends)
    bar = {
        "type": "bar",
        "x": (edges[1:] + edges[:-1]) / 2,
        "y": counts,
        "width": 1 / BARS_AN_OCTAVE,
        "marker": {"color": theme.ORIGINAL, "line": {"width": 0}},
        "hovertemplate": f"2^%{{x:.1f}}: %{{y}} {shown.unit}s<extra></extra>",
    }
    rugs = {name: _logs(levels, ends) for name, levels in shown.levels.items()}
    ticks = list(range(ends[0], ends[1] + 1, 1 + (ends[1] - ends[0]) // 6))
    axis = theme.axis(
        f"|{shown.unit}|, powers of two",
        range=[ends[0] - 0.2, ends[1] + 0.2],
        anchor="y2",
        tickvals=ticks,
        ticktext=[f"2<sup>{power}</sup>".replace("-", "−") for power in ticks],
    )
    return _figure([bar], 1.05 * float(counts.max(initial=1)), rugs, axis, canvas, [])


def describe_rug_plot(shown: RugPlot) -> str:
    """Say in words what either figure shows."""
    inner = "; ".join(
        phrase("rug_plot", "inner", name=name, size=count(levels.size), inner=share(inner_share(levels)))
        for name, levels in shown.levels.items()
    )
    return phrase(
        "rug_plot",
        "described",
        size=count(shown.values.size),
        unit=shown.unit,
        lo=short(shown.distribution.lo),
        hi=short(shown.distribution.hi),
        inner=inner,
    )


def inner_share(levels: Array) -> float:
    """Return how many values lie within half of the greatest magnitude."""
    return float((np.abs(levels) <= np.abs(levels).max() / 2).mean())


def _octaves(sizes: Array) -> tuple[int, int]:
    """Return the whole powers of two that hold nearly all magnitudes."""
    if not sizes.size:
        return -MIN_OCTAVES, 1
    top = int(np.ceil(np.log2(float(sizes.max()))))
    low = int(np.floor(np.log2(float(np.quantile(sizes, 0.002)))))
    return min(max(low - 1, top - MAX_OCTAVES), top - MIN_OCTAVES), top + 1


def _logs(levels: Array, ends: tuple[int, int]) -> NDArray[np.float64]:
    found = np.log2(levels[levels > 0].astype(np.float64))
    return np.asarray(found[(found >= ends[0] - 0.2) & (found <= ends[1] + 0.2)])


def _figure(
    bars: list[Trace],
    top: float,
    rugs: Mapping[str, NDArray[np.floating]],
    axis: LayoutPart,
    canvas: Canvas,
    notes: list[LayoutPart],
) -> go.Figure:
    rows = len(rugs)
    height = HISTOGRAM_HEIGHT + rows * ROW_HEIGHT + 50
    near = (axis["range"][1] - axis["range"][0]) / APART
    named = enumerate(rugs.items())
    marks = [trace for row, (name, levels) in named for trace in _rug(name, levels, rows - 1 - row, near)]
    edge = rows * ROW_HEIGHT / (HISTOGRAM_HEIGHT + rows * ROW_HEIGHT)
    return theme.figure(
        [*bars, *marks],
        height,
        canvas,
        margin={"l": LEGEND, "r": 8, "t": 8, "b": 44},
        xaxis=axis,
        yaxis=theme.axis("", domain=[edge + 0.02, 1.0], range=[0, top], nticks=3),
        yaxis2=theme.axis(
            "",
            domain=[0.0, edge],
            range=[-0.5, rows - 0.5],
            tickvals=list(range(rows)),
            ticktext=list(rugs)[::-1],
            ticks="",
        ),
        annotations=notes,
        bargap=0,
    )


def _rug(name: str, levels: NDArray[np.floating], row: int, near: float) -> list[Trace]:
    """Return one row of marks: lines, and bands where levels are closer than `near`."""
    bands, alone = bands_of(levels, near)
    x = np.full(3 * alone.size, np.nan)
    x[0::3] = x[1::3] = alone
    y = np.tile([row - HALF_MARK, row + HALF_MARK, np.nan], alone.size)
    common = {"type": "scatter", "name": name, "yaxis": "y2", "mode": "lines"}
    lines = {
        **common,
        "x": x,
        "y": y,
        "line": {"color": theme.QUANTIZED, "width": 1 if levels.size > elements.MAX_CELLS else 2},
        "hovertemplate": f"%{{x:.5g}}<extra>{name}</extra>",
    }
    if not len(bands):
        return [lines]
    corners = np.full((len(bands), 6), np.nan)
    corners[:, :5] = bands[:, [0, 1, 1, 0, 0]]
    heights = np.tile([row - HALF_MARK] * 2 + [row + HALF_MARK] * 2 + [row - HALF_MARK, np.nan], len(bands))
    filled = {"fill": "toself", "fillcolor": theme.QUANTIZED, "line": {"color": theme.QUANTIZED, "width": 1}}
    return [lines, {**common, "x": corners.reshape(-1), "y": heights, **filled, "hoverinfo": "skip"}]


def bands_of(levels: NDArray[np.floating], near: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return stretches (n, 2) in which neighbouring levels are closer than `near`, and the levels in none of them.

    >>> bands, alone = bands_of(np.array([0.0, 0.1, 0.2, 1.0]), 0.5)
    >>> bands.tolist(), alone.tolist()
    ([[0.0, 0.2]], [1.0])
    """
    places = np.sort(levels.astype(np.float64))
    stretches = np.split(places, np.flatnonzero(np.diff(places) >= near) + 1)
    bands = [[stretch[0], stretch[-1]] for stretch in stretches if stretch.size > 1]
    alone = [stretch[0] for stretch in stretches if stretch.size == 1]
    return np.array(bands, np.float64).reshape(-1, 2), np.array(alone, np.float64)
