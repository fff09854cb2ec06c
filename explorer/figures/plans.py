"""Plans of mixed precision: bytes against accuracy, and what was predicted against what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import accuracy, count, short

HEIGHT = 400
KIB = 1024
SIGHT = 12.0  # points of accuracy below the best
LOOKS = {  # colour, dash and marker, by kind of plan
    "uniform": (theme.NEUTRAL, "dot", "square"),
    "exact": (theme.ORIGINAL, "solid", "diamond"),
    "greedy": (theme.ERROR, "dash", "circle"),
    "yours": (theme.QUANTIZED, "solid", "star"),
}


@dataclass(frozen=True)
class PlanPoint:
    """A plan: its code (what a click gives), what it is called, its bytes, its accuracy, and both costs if known."""

    code: str
    title: str
    size_bytes: int
    accuracy: float
    predicted: float | None = None
    measured: float | None = None


Kinds = Mapping[str, Sequence[PlanPoint]]


def front_figure(kinds: Kinds, budget: int, canvas: Canvas) -> go.Figure:
    """Draw accuracy against bytes: a line for each kind of plan, the best of all, and the budget as an upright line."""
    traces = [_best([point for points in kinds.values() for point in points])]
    for kind, points in kinds.items():
        ordered = sorted(points, key=lambda point: point.size_bytes)
        traces.append(
            _trace(kind, ordered, [p.size_bytes / KIB for p in ordered], [100 * p.accuracy for p in ordered], True)
        )
    sizes = [point.size_bytes / KIB for points in kinds.values() for point in points] or [1.0]
    low, high = 0.92 * min(sizes), 1.08 * max(sizes)
    above = {"yref": "paper", "yanchor": "bottom"}
    label = elements.note(phrase("plans", "budget"), math.log10(budget / KIB), 1, canvas.ink, **above)
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 62, "r": 8, "t": 26, "b": 84},
        xaxis=theme.axis(
            "weights, KiB", type="log", range=[math.log10(low), math.log10(high)], **size_ticks(low, high)
        ),
        yaxis=theme.axis(phrase("plans", "calibration_accuracy_axis"), range=_sight(kinds)),
        shapes=[elements.line(budget / KIB, "y", theme.NEUTRAL, "dash", 1)],
        annotations=[label],
        **_legend(canvas),
    )


def undominated(points: Sequence[PlanPoint]) -> list[PlanPoint]:
    """Return the points of which none is both as small and as accurate, by rising bytes."""
    found: list[PlanPoint] = []
    for point in sorted(points, key=lambda point: (point.size_bytes, -point.accuracy)):
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def _logs(*sizes: float) -> list[float]:
    return [math.log10(size) for size in sizes]


def _best(points: Sequence[PlanPoint]) -> Trace:
    """Return the front as broad steps behind the plans."""
    front = undominated(points)
    return {
        "type": "scatter",
        "name": "front",
        "x": [point.size_bytes / KIB for point in front],
        "y": [100 * point.accuracy for point in front],
        "mode": "lines",
        "line": {"color": theme.FAINT, "width": 9, "shape": "hv"},
        "hoverinfo": "skip",
    }


def _sight(kinds: Kinds) -> list[float]:
    """Return the accuracies in sight: plans far below the best would flatten all others."""
    values = [100 * point.accuracy for points in kinds.values() for point in points] or [0.0, 100.0]
    low, high = max(min(values), max(values) - SIGHT), max(values)
    pad = 0.06 * (high - low) + 0.2
    return [low - pad, high + pad]


def scatter_figure(kinds: Kinds, what: str, same_unit: bool, canvas: Canvas) -> go.Figure:
    """Draw measured against predicted cost of plans; where both have one unit, with the line on which they agree."""
    traces: list[Trace] = []
    held = [
        (point.predicted, point.measured)
        for points in kinds.values()
        for point in points
        if point.predicted is not None and point.measured is not None and min(point.predicted, point.measured) > 0
    ]
    if held and same_unit:
        ends = [min(min(pair) for pair in held), max(max(pair) for pair in held)]
        agree = {"color": theme.NEUTRAL, "dash": theme.IDENTITY_DASH, "width": 1}
        traces.append({"type": "scatter", "name": "agree", "x": ends, "y": ends, "mode": "lines", "line": agree,
                       "hoverinfo": "skip"})  # fmt: skip
    for kind, points in kinds.items():
        shown = [p for p in points if (p.predicted or 0) > 0 and (p.measured or 0) > 0]
        traces.append(_trace(kind, shown, [p.predicted or 0 for p in shown], [p.measured or 0 for p in shown], False))
    xs, ys = ([pair[place] for pair in held] or [1.0] for place in (0, 1))
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 8, "t": 8, "b": 84},
        xaxis=elements.error_axis(phrase("plans", "predicted_axis"), xs),
        yaxis=elements.error_axis(f"measured: {what}", ys),
        **_legend(canvas),
    )


def describe_plans(kinds: Kinds) -> str:
    """Say in words what the figures show."""
    said = (
        f"{kind}: " + ", ".join(f"{count(p.size_bytes)} bytes {accuracy(p.accuracy)}" for p in points)
        for kind, points in kinds.items()
        if points
    )
    return phrase("plans", "described") + "; ".join(said) + "."


def describe_scatter(kinds: Kinds, what: str) -> str:
    """Say in words what the figure shows."""
    pairs = [
        f"{short(point.predicted)} → {short(point.measured)}"
        for points in kinds.values()
        for point in points
        if point.predicted is not None and point.measured is not None
    ]
    return phrase("plans", "described_scatter", what=what) + ", ".join(pairs) + "."


def _trace(kind: str, points: Sequence[PlanPoint], x: Sequence[float], y: Sequence[float], joined: bool) -> Trace:
    color, dash, symbol = LOOKS[kind]
    return {
        "type": "scatter",
        "name": kind,
        "x": list(x),
        "y": list(y),
        "customdata": [point.code for point in points],
        "text": [point.title for point in points],
        "mode": "lines+markers" if joined and kind != "yours" else "markers",
        "line": {"color": color, "dash": dash, "width": 1},
        "marker": {"color": color, "symbol": symbol, "size": 15 if kind == "yours" else 10},
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
        "hovertemplate": f"%{{text}}<br>%{{x:.4g}}, %{{y:.4g}}<extra>{kind}</extra>",
    }


def size_ticks(low: float, high: float) -> LayoutPart:
    """Return ticks of a logarithmic axis of sizes, at powers of two and half way between."""
    places = [tick for tick in (2.0**power for power in range(0, 24)) if low <= tick <= high]
    places = sorted({*places, *(1.5 * tick for tick in places if 1.5 * tick <= high)})
    return {"tickvals": places, "ticktext": [short(place) for place in places]}


def _legend(canvas: Canvas) -> LayoutPart:
    place = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
    return {"showlegend": True, "legend": place}
