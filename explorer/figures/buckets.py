"""The main figure: histogram with buckets, staircase, error and use of codes over one axis of real values."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from explorer.figures import theme
from explorer.numbers import count, short
from explorer.results import BlockView

BINS = (24, 160)  # fewest and most
MOST_DRAWN = 64  # levels; more are a grey band
STAIR_POINTS = 1200
HISTOGRAM, STAIRCASE, ERROR, CODES = 1, 2, 3, 4
ROW_HEIGHTS = (0.46, 0.19, 0.15, 0.20)
HEIGHT = 660

Array = NDArray[np.float64]


def bucket_figure(view: BlockView, unit: str, revision: str) -> go.Figure:
    """Draw one block: `unit` names what the values are ("weight")."""
    figure = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.025, row_heights=list(ROW_HEIGHTS))
    axis = _axis_range(view)
    top = _add_histogram(figure, view, unit)
    _add_buckets(figure, view, top)
    _add_range(figure, view, top, axis)
    _add_staircase(figure, view, axis)
    _add_codes(figure, view)
    figure.update_xaxes(range=axis)
    figure.update_xaxes(title_text=f"{unit} r", row=CODES, col=1)
    titles = ((HISTOGRAM, f"{unit}s per bin"), (STAIRCASE, "r → r̃"), (ERROR, "r̃ − r"), (CODES, "% in code"))
    for row, title in titles:
        figure.update_yaxes(title_text=title, title_standoff=4, row=row, col=1)
    figure.update_yaxes(range=[-0.07 * top, 1.2 * top], row=HISTOGRAM, col=1)
    return theme.finish(figure, HEIGHT, revision)


def describe_buckets(view: BlockView, unit: str) -> str:
    """Say in words what the main figure shows."""
    used = int((view.counts > 0).sum())
    return (
        f"Histogram of {count(view.distribution.size)} {unit}s from {short(view.distribution.lo)} to "
        f"{short(view.distribution.hi)}, with {view.levels.size} codewords {short(view.scale)} apart in the clipping "
        f"range {short(view.lo)} to {short(view.hi)}; {used} codes are used. Below it the staircase from real to "
        f"reconstructed value, the error, and the share of {unit}s in each code."
    )


def _axis_range(view: BlockView) -> list[float]:
    """Return the data's range, and the clipping range as far as it reaches one width beyond."""
    low, high = view.distribution.lo, view.distribution.hi
    width = (high - low) or abs(high) or 1.0
    low = max(min(low, view.lo), low - width)
    high = min(max(high, view.hi), high + width)
    pad = 0.03 * ((high - low) or width)
    return [low - pad, high + pad]


def _add_histogram(figure: go.Figure, view: BlockView, unit: str) -> float:
    """Add the bars, those outside the outermost levels hatched; return the highest."""
    bins = min(max(BINS[0], int(4 * view.distribution.size**0.5)), BINS[1])
    counts, edges = view.distribution.histogram(bins)
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    clipped = (centres < view.levels[0]) | (centres > view.levels[-1])
    bars = {"width": width, "hovertemplate": f"%{{x:.4g}}: %{{y}} {unit}s<extra></extra>"}
    inside = {"color": theme.ORIGINAL, "line": {"width": 0}}
    outside = {
        "color": theme.CLIPPED_FILL,
        "line": {"width": 1, "color": theme.ORIGINAL},
        "pattern": {"shape": theme.HATCH, "fgcolor": theme.ORIGINAL, "size": 5},
    }
    for mask, marker, name in ((~clipped, inside, "kept"), (clipped, outside, "clipped")):
        if mask.any():
            bar = go.Bar(x=centres[mask], y=counts[mask], marker=marker, name=name, **bars)
            figure.add_trace(bar, row=HISTOGRAM, col=1)
    return float(counts.max())


def _add_buckets(figure: go.Figure, view: BlockView, top: float) -> None:
    """Add thresholds as dotted lines and codewords as triangles under the bars; a band where they would merge."""
    if view.levels.size > MOST_DRAWN:
        ends = [float(view.levels[0]), float(view.levels[-1])]
        band = go.Scatter(
            x=ends,
            y=[-0.035 * top] * 2,
            mode="lines",
            line={"color": theme.QUANTIZED, "width": 6},
            hovertemplate=f"{view.levels.size} codewords, {short(view.scale)} apart<extra></extra>",
        )
        figure.add_trace(band, row=HISTOGRAM, col=1)
        return
    edges = np.repeat(view.thresholds.astype(np.float64), 3)
    edges[2::3] = np.nan
    heights = np.tile([0.0, top, np.nan], view.thresholds.size)
    lines = go.Scatter(
        x=edges, y=heights, mode="lines", line={"color": theme.FAINT, "width": 1, "dash": "dot"}, hoverinfo="skip"
    )
    codes = np.arange(view.levels.size) + view.first_code
    words = go.Scatter(
        x=view.levels,
        y=np.full(view.levels.size, -0.035 * top),
        mode="markers",
        marker={"symbol": "triangle-up", "size": 9, "color": theme.QUANTIZED},
        customdata=codes,
        hovertemplate="code %{customdata} ↔ %{x:.4g}<extra>codeword</extra>",
    )
    figure.add_traces([lines, words], rows=[HISTOGRAM] * 2, cols=[1] * 2)


def _add_range(figure: go.Figure, view: BlockView, top: float, axis: list[float]) -> None:
    """Add α and β as lines, labelled outwards unless that would leave the figure."""
    for name, value, outward, inward in (("α", view.lo, "right", "left"), ("β", view.hi, "left", "right")):
        line = {"color": theme.QUANTIZED, "width": 2}
        ends = {"x0": value, "x1": value, "y0": 0, "y1": 1.06 * top}
        figure.add_shape(type="line", line=line, row=HISTOGRAM, col=1, **ends)
        place = (value - axis[0]) / (axis[1] - axis[0])
        figure.add_annotation(
            x=value,
            y=1.12 * top,
            text=f"<b>{name}</b> = {short(value)}",
            showarrow=False,
            xanchor=outward if 0.14 < place < 0.86 else inward,
            font={"color": theme.QUANTIZED},
            row=HISTOGRAM,
            col=1,
        )


def _add_staircase(figure: go.Figure, view: BlockView, axis: list[float]) -> None:
    """Add r → r̃ against the identity, and the error below it."""
    inputs = np.union1d(np.linspace(axis[0], axis[1], STAIR_POINTS), _edges_twice(view, axis))
    buckets = np.searchsorted(view.thresholds, inputs.astype(np.float32), side="right")
    outputs = view.levels[buckets].astype(np.float64)
    identity = go.Scatter(
        x=axis, y=axis, mode="lines", line={"color": theme.NEUTRAL, "width": 1, "dash": theme.IDENTITY_DASH}
    )
    identity.hoverinfo = "skip"
    stairs = go.Scatter(
        x=inputs,
        y=outputs,
        mode="lines",
        line={"color": theme.QUANTIZED, "width": 2},
        hovertemplate="r = %{x:.4g} → r̃ = %{y:.4g}<extra></extra>",
    )
    error = go.Scatter(
        x=inputs,
        y=outputs - inputs,
        mode="lines",
        fill="tozeroy",
        fillcolor=theme.ERROR_FILL,
        line={"color": theme.ERROR, "width": 1.5},
        hovertemplate="r = %{x:.4g}: error %{y:.3g}<extra></extra>",
    )
    figure.add_traces([identity, stairs, error], rows=[STAIRCASE, STAIRCASE, ERROR], cols=[1, 1, 1])


def _edges_twice(view: BlockView, axis: list[float]) -> Array:
    """Return both sides of every threshold in sight, so that the stairs are upright."""
    if view.thresholds.size > STAIR_POINTS:
        return np.empty(0)
    edges = view.thresholds[(view.thresholds > axis[0]) & (view.thresholds < axis[1])]
    below = np.nextafter(edges, np.float32(-np.inf))
    return np.concatenate([below, edges]).astype(np.float64)


def _add_codes(figure: go.Figure, view: BlockView) -> None:
    """Add how many values each code stands for, at the place of its codeword."""
    shares = 100.0 * view.counts / max(int(view.counts.sum()), 1)
    codes = np.arange(view.levels.size) + view.first_code
    few = view.levels.size <= 16
    bars = go.Bar(
        x=view.levels,
        y=shares,
        width=view.scale * (0.8 if view.levels.size <= MOST_DRAWN else 1.0),
        marker={"color": theme.QUANTIZED, "line": {"width": 0}},
        customdata=codes,
        text=[str(code) for code in codes] if few else None,
        textposition="outside" if few else None,
        textangle=0,
        cliponaxis=False,
        hovertemplate="code %{customdata}: %{y:.3g} %<extra></extra>",
    )
    figure.add_trace(bars, row=CODES, col=1)
    figure.update_yaxes(range=[0, (1.35 if few else 1.08) * float(shares.max(initial=1e-9))], row=CODES, col=1)
