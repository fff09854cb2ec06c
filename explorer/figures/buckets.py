"""The main figure: histogram with buckets, staircase, error and use of codes over one axis of real values."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.theme import Canvas, Layout, Trace
from explorer.notation import count, short
from explorer.results import BlockView

HEIGHT = 640
MARGIN = {**theme.MARGIN, "l": 62, "b": 44}
BINS = (24, 160)  # fewest and most
MOST_DRAWN = 64  # levels; more are a band
MOST_LABELLED = 16  # codes named above their bars
STAIR_POINTS = 400
HISTOGRAM, STAIRCASE, ERROR, CODES = "y", "y2", "y3", "y4"
DOMAINS = {HISTOGRAM: (0.57, 1.0), STAIRCASE: (0.36, 0.54), ERROR: (0.2, 0.33), CODES: (0.0, 0.17)}

Array = NDArray[np.float64]


def bucket_figure(view: BlockView, unit: str, canvas: Canvas) -> go.Figure:
    """Draw one block: `unit` names what the values are ("weight")."""
    sight = _sight(view)
    bars, top = _histogram(view, unit)
    codes, highest = _codes(view, sight)
    return theme.figure(
        [*bars, *_buckets(view, sight, top), *_staircase(view, sight), codes],
        HEIGHT,
        canvas,
        margin=MARGIN,
        xaxis=theme.axis(f"{unit} r", range=list(sight), anchor=CODES),
        yaxis=_row(HISTOGRAM, f"{unit}s per bin", range=[-0.07 * top, 1.2 * top]),
        yaxis2=_row(STAIRCASE, "r → r̃"),
        yaxis3=_row(ERROR, "r̃ − r"),
        yaxis4=_row(CODES, "% in code", range=[0, highest]),
        **_range(view, sight, top),
    )


def describe_buckets(view: BlockView, unit: str) -> str:
    """Say in words what the main figure shows."""
    used = int((view.counts > 0).sum())
    return (
        f"Histogram of {count(view.distribution.size)} {unit}s from {short(view.distribution.lo)} to "
        f"{short(view.distribution.hi)}, with {view.levels.size} codewords {short(view.scale)} apart in the clipping "
        f"range {short(view.lo)} to {short(view.hi)}; {used} codes are used. Below it the staircase from real to "
        f"reconstructed value, the error, and the share of {unit}s in each code."
    )


def _row(name: str, title: str, **options: object) -> Layout:
    return theme.axis(title, domain=list(DOMAINS[name]), nticks=5, **options)


def _sight(view: BlockView) -> tuple[float, float]:
    """Return the span of the axis: the data, and the clipping range as far as it reaches one width beyond."""
    low, high = view.distribution.lo, view.distribution.hi
    width = (high - low) or abs(high) or 1.0
    low, high = max(min(low, view.lo), low - width), min(max(high, view.hi), high + width)
    pad = 0.03 * ((high - low) or width)
    return low - pad, high + pad


def _levels_in(view: BlockView, sight: tuple[float, float]) -> slice:
    """Return which levels can be seen; others would stretch the figure."""
    first, last = np.searchsorted(view.levels, sight)
    return slice(int(first), int(last))


def _histogram(view: BlockView, unit: str) -> tuple[list[Trace], float]:
    """Return the histogram as filled steps, hatched outside the outermost levels, and its highest bin."""
    bins = min(max(BINS[0], int(4 * view.distribution.size**0.5)), BINS[1])
    counts, edges = view.distribution.histogram(bins)
    first, last = np.searchsorted((edges[:-1] + edges[1:]) / 2, [view.levels[0], view.levels[-1]], side="left")
    parts = (("clipped", 0, first), ("kept", first, last), ("clipped", last, bins))
    traces = [_steps(edges[a : b + 1], counts[a:b], name, unit) for name, a, b in parts if counts[a:b].any()]
    return traces, float(counts.max())


def _steps(edges: Array, counts: NDArray[np.int64], name: str, unit: str) -> Trace:
    """Return one run of bins as a single filled outline: a hundred bars would be a hundred elements to draw."""
    hatched = {"shape": theme.HATCH, "fgcolor": theme.ORIGINAL, "bgcolor": theme.CLIPPED_FILL, "size": 5}
    filling = {"fillpattern": hatched} if name == "clipped" else {"fillcolor": theme.ORIGINAL}
    return {
        "type": "scatter",
        "name": name,
        "x": np.repeat(edges, 2),
        "y": np.concatenate([[0], np.repeat(counts, 2), [0]]),
        "yaxis": HISTOGRAM,
        "mode": "lines",
        "fill": "tozeroy",
        "line": {"width": 1 if name == "clipped" else 0.5, "color": theme.ORIGINAL},
        "hovertemplate": f"%{{x:.4g}}: %{{y}} {unit}s<extra>{name}</extra>",
        **filling,
    }


def _buckets(view: BlockView, sight: tuple[float, float], top: float) -> list[Trace]:
    """Return thresholds as dotted lines and codewords as triangles under the bars; a band where they would merge."""
    seen = _levels_in(view, sight)
    levels, below = view.levels[seen], -0.035 * top
    if levels.size > MOST_DRAWN:
        band = {"x": [float(levels[0]), float(levels[-1])], "y": [below, below], "mode": "lines", "yaxis": HISTOGRAM}
        note = f"{view.levels.size} codewords, {short(view.scale)} apart<extra></extra>"
        return [{"type": "scatter", **band, "line": {"color": theme.QUANTIZED, "width": 6}, "hovertemplate": note}]
    thresholds = view.thresholds[(view.thresholds > sight[0]) & (view.thresholds < sight[1])]
    edges = np.repeat(thresholds.astype(np.float64), 3)
    edges[2::3] = np.nan
    return [
        {
            "type": "scatter",
            "name": "thresholds",
            "x": edges,
            "y": np.tile([0.0, top, np.nan], thresholds.size),
            "yaxis": HISTOGRAM,
            "mode": "lines",
            "line": {"color": theme.FAINT, "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "name": "codewords",
            "x": levels,
            "y": np.full(levels.size, below),
            "yaxis": HISTOGRAM,
            "mode": "markers",
            "marker": {"symbol": "triangle-up", "size": 9, "color": theme.QUANTIZED},
            "customdata": (np.arange(view.levels.size) + view.first_code)[seen],
            "hovertemplate": "code %{customdata} ↔ %{x:.4g}<extra>codeword</extra>",
        },
    ]


def _range(view: BlockView, sight: tuple[float, float], top: float) -> Layout:
    """Return α and β as lines, labelled outwards unless that would leave the figure."""
    shapes, notes = [], []
    for name, value, outward, inward in (("α", view.lo, "right", "left"), ("β", view.hi, "left", "right")):
        if not sight[0] <= value <= sight[1]:
            continue
        line = {"color": theme.QUANTIZED, "width": 2}
        ends = {"x0": value, "x1": value, "y0": 0, "y1": 1.06 * top}
        shapes.append({"type": "line", "yref": HISTOGRAM, "line": line, **ends})
        place = (value - sight[0]) / (sight[1] - sight[0])
        notes.append(
            {
                "x": value,
                "y": 1.12 * top,
                "yref": HISTOGRAM,
                "text": f"<b>{name}</b> = {short(value)}",
                "showarrow": False,
                "xanchor": outward if 0.16 < place < 0.84 else inward,
                "font": {"color": theme.QUANTIZED},
            }
        )
    return {"shapes": shapes, "annotations": notes}


def _staircase(view: BlockView, sight: tuple[float, float]) -> list[Trace]:
    """Return r → r̃ against the identity, and the error."""
    inputs = np.union1d(np.linspace(sight[0], sight[1], STAIR_POINTS), _edges_twice(view, sight))
    buckets = np.searchsorted(view.thresholds, inputs.astype(np.float32), side="right")
    outputs = view.levels[buckets].astype(np.float64)
    return [
        {
            "type": "scatter",
            "name": "identity",
            "x": list(sight),
            "y": list(sight),
            "yaxis": STAIRCASE,
            "mode": "lines",
            "line": {"color": theme.NEUTRAL, "width": 1, "dash": theme.IDENTITY_DASH},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "name": "staircase",
            "x": inputs,
            "y": outputs,
            "yaxis": STAIRCASE,
            "mode": "lines",
            "line": {"color": theme.QUANTIZED, "width": 2},
            "hovertemplate": "r = %{x:.4g} → r̃ = %{y:.4g}<extra></extra>",
        },
        {
            "type": "scatter",
            "name": "error",
            "x": inputs,
            "y": outputs - inputs,
            "yaxis": ERROR,
            "mode": "lines",
            "fill": "tozeroy",
            "fillcolor": theme.ERROR_FILL,
            "line": {"color": theme.ERROR, "width": 1.5},
            "hovertemplate": "r = %{x:.4g}: error %{y:.3g}<extra></extra>",
        },
    ]


def _edges_twice(view: BlockView, sight: tuple[float, float]) -> Array:
    """Return both sides of every threshold in sight, so that the stairs are upright."""
    edges = view.thresholds[(view.thresholds > sight[0]) & (view.thresholds < sight[1])]
    if edges.size > STAIR_POINTS:
        return np.empty(0)
    below = np.nextafter(edges, np.float32(-np.inf))
    return np.concatenate([below, edges]).astype(np.float64)


def _codes(view: BlockView, sight: tuple[float, float]) -> tuple[Trace, float]:
    """Return how many values each code stands for, at the place of its codeword, and the end of the axis."""
    seen = _levels_in(view, sight)
    shares = (100.0 * view.counts / max(int(view.counts.sum()), 1))[seen]
    codes = (np.arange(view.levels.size) + view.first_code)[seen]
    few = codes.size <= MOST_LABELLED
    used = shares > 0 if not few else np.ones(codes.size, bool)  # thousands of empty bars would cost the browser dear
    trace = {
        "type": "bar",
        "name": "codes",
        "x": view.levels[seen][used],
        "y": shares[used],
        "yaxis": CODES,
        "width": min(view.scale * (0.8 if codes.size <= MOST_DRAWN else 1.0), sight[1] - sight[0]),
        "marker": {"color": theme.QUANTIZED, "line": {"width": 0}},
        "customdata": codes[used],
        "text": [str(code) for code in codes] if few else None,
        "textposition": "outside" if few else "none",
        "textangle": 0,
        "cliponaxis": False,
        "hovertemplate": "code %{customdata}: %{y:.3g} %<extra></extra>",
    }
    return trace, (1.4 if few else 1.08) * float(shares.max(initial=1e-9))
