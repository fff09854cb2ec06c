"""Pieces that several figures share: outlines of histograms, cells between thresholds, codewords."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.theme import LayoutPart, Trace
from explorer.language import plain_words, several
from explorer.notation import count, short
from explorer.results import BlockView
from quant_engine import Distribution

BINS = (24, 160)  # fewest and most
SPIKE = 4.0  # times the second highest bin: more is cut off
HEADROOM = 1.5
FINE_DECADES = 1.6  # up to which a logarithmic axis has ticks between powers of ten
MAX_CELLS = 64  # more are not told apart
CELL_FILL = "rgba(213, 94, 0, 0.10)"
CHOSEN_FILL = "rgba(213, 94, 0, 0.30)"

Array = NDArray[np.float64]


def sight(view: BlockView) -> tuple[float, float]:
    """Return the span of the axis: the data, and the levels as far as they reach one width beyond."""
    return span(view.distribution, float(view.levels[0]), float(view.levels[-1]))


def span(shown: Distribution, *values: float) -> tuple[float, float]:
    """Return an axis that holds the data, and `values` as far as they lie within one width of them."""
    width = (shown.hi - shown.lo) or abs(shown.hi) or 1.0
    low = max(min(shown.lo, *values), shown.lo - width) if values else shown.lo
    high = min(max(shown.hi, *values), shown.hi + width) if values else shown.hi
    pad = 0.03 * (high - low or width)
    return low - pad, high + pad


def outline(
    shown: Distribution, kept: tuple[float, float], axis: str, unit: str
) -> tuple[list[Trace], float, list[LayoutPart]]:
    """Return a histogram as filled steps, hatched outside `kept`; the height to draw; and a note on a bin above it.

    One bin that would flatten all others (the zeros after a ReLU) is cut off and named.
    """
    bins = min(max(BINS[0], int(4 * shown.size**0.5)), BINS[1])
    counts, edges = shown.histogram(bins)
    first, last = np.searchsorted((edges[:-1] + edges[1:]) / 2, kept)
    parts = (("clipped", 0, first), ("kept", first, last), ("clipped", last, bins))
    traces = [_steps(edges[a : b + 1], counts[a:b], name, axis, unit) for name, a, b in parts if counts[a:b].any()]
    highest, second = float(counts.max()), float(np.partition(counts, -2)[-2])
    if highest <= SPIKE * max(second, 1.0):
        return traces, highest, []
    tallest = int(counts.argmax())
    value = short(float(edges[tallest + int(edges[tallest] < 0)]))
    text = plain_words("figures")["elements"]["tower"].format(n=count(int(highest)), value=value)
    top, place = HEADROOM * max(second, 1.0), float(edges[tallest : tallest + 2].mean())
    shifted = {"xanchor": "left", "xshift": 8, "yanchor": "top", "yref": axis}
    return traces, top, [note(text, place, top, theme.ORIGINAL, **shifted)]


def _steps(edges: Array, counts: NDArray[np.int64], name: str, axis: str, unit: str) -> Trace:
    hatched = {"shape": theme.HATCH, "fgcolor": theme.ORIGINAL, "bgcolor": theme.CLIPPED_FILL, "size": 5}
    return {
        "type": "scatter",
        "name": name,
        "x": np.repeat(edges, 2),
        "y": np.concatenate([[0], np.repeat(counts, 2), [0]]),
        "yaxis": axis,
        "mode": "lines",
        "fill": "tozeroy",
        "line": {"width": 1 if name == "clipped" else 0.5, "color": theme.ORIGINAL},
        "hovertemplate": f"%{{x:.4g}}: %{{y}} {several(unit)}<extra>{plain_words('figures')['elements'][name]}</extra>",
        **({"fillpattern": hatched} if name == "clipped" else {"fillcolor": theme.ORIGINAL}),
    }


def cells(view: BlockView, ends: tuple[float, float], axis: str, chosen: int | None = None) -> list[LayoutPart]:
    """Return every other bucket as a shaded band, and the chosen one (its number) more strongly."""
    if view.levels.size > MAX_CELLS:
        return []
    edges = np.clip(np.concatenate([[ends[0]], view.thresholds.astype(float), [ends[1]]]), *ends)
    bands = []
    for number, (left, right) in enumerate(itertools.pairwise(edges)):
        if right > left and (number == chosen or number % 2):
            fill = CHOSEN_FILL if number == chosen else CELL_FILL
            bands.append(
                {
                    "type": "rect",
                    "x0": float(left),
                    "x1": float(right),
                    "yref": f"{axis} domain",
                    "y0": 0,
                    "y1": 1,
                    "fillcolor": fill,
                    "line": {"width": 0},
                    "layer": "below",
                }
            )
    return bands


def codewords(view: BlockView, ends: tuple[float, float], axis: str, height: float) -> Trace:
    """Return the codewords in sight as triangles at one height."""
    first, last = np.searchsorted(view.levels, ends)
    seen = slice(int(first), int(last))
    return {
        "type": "scatter",
        "name": "codewords",
        "x": view.levels[seen],
        "y": np.full(view.levels[seen].size, height),
        "yaxis": axis,
        "mode": "markers",
        "marker": {
            "symbol": "triangle-up",
            "size": 9 if view.levels.size <= MAX_CELLS else 5,
            "color": theme.QUANTIZED,
        },
        "customdata": (np.arange(view.levels.size) + view.first_code)[seen],
        "hovertemplate": "code %{customdata} ↔ %{x:.4g}<extra>codeword</extra>",
    }


def error_axis(title: str, errors: Iterable[float]) -> LayoutPart:
    """Return a logarithmic axis that holds the errors above 0, with ticks in figures of their own size."""
    held = [error for error in errors if error > 0] or [1.0]
    low, high = math.log10(min(held)), math.log10(max(held))
    pad = max(0.06 * (high - low), 0.08)
    steps = (1,) if high - low > FINE_DECADES else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]
    ticks = [tick for tick in ticks if low - pad <= math.log10(tick) <= high + pad]
    names = [short(tick, 1) for tick in ticks]
    return theme.axis(title, type="log", range=[low - pad, high + pad], tickvals=ticks, ticktext=names)


def line(x: float, axis: str, color: str, dash: str = "solid", width: float = 2) -> LayoutPart:
    """Return an upright line through one row of a figure."""
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": f"{axis} domain"}
    return {"type": "line", **ends, "line": {"color": color, "width": width, "dash": dash}}


def front(x: Sequence[float], y: Sequence[float]) -> Trace:
    """Draw the steps that join the best of many points, under the points."""
    shape = {"color": theme.FAINT, "width": 8, "shape": "hv"}
    return {"type": "scatter", "x": [*x], "y": [*y], "mode": "lines", "line": shape, "hoverinfo": "skip"}


def note(text: str, x: float, y: float, color: str, **options: object) -> LayoutPart:
    """Return a word in a figure, without an arrow."""
    return {"text": text, "x": x, "y": y, "showarrow": False, "font": {"color": color}, **options}


def shared_labels(x: Sequence[float], y: Sequence[float], names: Sequence[str], near: tuple[float, float]) -> list[str]:
    """Return the label of each point; points that lie `near` each other share one, at the rightmost of them.

    >>> shared_labels([1.0, 2.0, 2.1], [5.0, 5.0, 5.1], ["a", "b", "c"], (0.2, 0.2))
    ['a', '', 'b, c']
    """
    groups: list[list[int]] = []
    for place in range(len(x)):
        close = [g for g in groups if any(abs(x[place] - x[o]) < near[0] and abs(y[place] - y[o]) < near[1] for o in g)]
        groups = [g for g in groups if g not in close] + [sorted([*itertools.chain(*close), place])]
    labels = [""] * len(x)
    for group in groups:
        labels[max(group, key=lambda place: x[place])] = ", ".join(names[place] for place in group)
    return labels


def named(name: str, value: float) -> str:
    """Write a name with its value for a figure."""
    return f"<b>{name}</b> = {short(value)}"
