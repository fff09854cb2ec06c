"""The same values under several ranges: one row each, with codewords that are used and codewords that are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import share, short
from explorer.results import BlockView

ROW_HEIGHT, MIN_HEIGHT = 130, 260
GAP = 0.09  # of the figure, for a row's title
FLOOR = 0.02
MAX_MARKED = 256


def ranges_figure(
    rows: Mapping[str, BlockView], chosen: str, unit: str, canvas: Canvas, told: bool = True
) -> go.Figure:
    """Draw every row over one axis; the chosen one's name is bold. Unless it is `told`, idle codes look like others."""
    views = list(rows.values())
    ends = _reach(views)
    traces, notes, axes = [], [], {}
    for number, (name, view) in enumerate(rows.items()):
        axis = f"y{number + 1 if number else ''}"
        bars, top, peak = elements.outline(view.distribution, (view.levels[0], view.levels[-1]), axis, unit)
        traces += [*bars, *_codewords(view, axis, -0.16 * top, told)]
        height = 1 / len(rows)
        ceiling = 1 - number * height
        domain = [ceiling - height + FLOOR, ceiling - GAP]
        axes[f"yaxis{number + 1 if number else ''}"] = theme.axis(
            "", domain=domain, range=[-0.32 * top, 1.05 * top], showticklabels=False, ticks="", showline=False
        )
        notes += [*peak, _title(_named(name, view, told), name == chosen, ceiling - GAP, canvas)]
    return theme.figure(
        traces,
        max(ROW_HEIGHT * len(rows), MIN_HEIGHT),
        canvas,
        margin={"l": 8, "r": 8, "t": 8, "b": 44},
        xaxis=theme.axis(f"{unit} r", range=list(ends), anchor=f"y{len(rows)}"),
        annotations=notes,
        **axes,
    )


def _reach(views: Sequence[BlockView]) -> tuple[float, float]:
    """Return an axis with every codeword in sight, since codes without a value are to be counted."""
    low = min(v.distribution.lo for v in views), *(float(v.levels[0]) for v in views)
    high = max(v.distribution.hi for v in views), *(float(v.levels[-1]) for v in views)
    pad = 0.03 * (max(high) - min(low) or 1.0)
    return min(low) - pad, max(high) + pad


def describe_ranges(rows: Mapping[str, BlockView], told: bool = True) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{_named(name, view, told)}, codewords from {short(float(view.levels[0]))} to {short(float(view.levels[-1]))}"
        for name, view in rows.items()
    )
    return phrase("ranges", "described") + "; ".join(said) + "."


def _idle(view: BlockView) -> float:
    return float((view.counts == 0).mean())


def _named(name: str, view: BlockView, told: bool) -> str:
    return (
        phrase("ranges", "idle_and_mse", name=name, view=share(_idle(view)), error=short(view.error)) if told else name
    )


def _title(text: str, chosen: bool, y: float, canvas: Canvas) -> theme.LayoutPart:
    place = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return elements.note(f"<b>▸ {text}</b>" if chosen else text, 0, y, canvas.ink, **place)


def _codewords(view: BlockView, axis: str, height: float, told: bool) -> list[Trace]:
    """Return used codewords filled and idle ones hollow; a line where they would merge."""
    if view.levels.size > MAX_MARKED:
        return [{"type": "scatter", "x": view.levels[[0, -1]], "y": [height] * 2, "yaxis": axis, "mode": "lines"}]
    codes = np.arange(view.levels.size) + view.first_code
    marks, used = [], (view.counts > 0) | (not told)
    for name, symbol, chosen in (("used", "triangle-up", used), ("idle", "x-thin-open", ~used)):
        marks.append(
            {
                "type": "scatter",
                "name": name,
                "x": view.levels[chosen],
                "y": np.full(int(chosen.sum()), height),
                "yaxis": axis,
                "mode": "markers",
                "marker": {
                    "symbol": symbol,
                    "size": 9 if view.levels.size <= elements.MAX_CELLS else 6,
                    "color": theme.QUANTIZED if name == "used" else theme.NEUTRAL,
                    "line": {"color": theme.QUANTIZED if name == "used" else theme.NEUTRAL, "width": 1.5},
                },
                "customdata": codes[chosen],
                "hovertemplate": f"code %{{customdata}} ↔ %{{x:.4g}}<extra>{name}</extra>",
            }
        )
    return marks
