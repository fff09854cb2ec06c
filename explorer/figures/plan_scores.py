"""Plans by bits a weight and score, each a point that can be clicked; and a score as more layers are quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short

HEIGHT = 240
LOOKS = {  # colour, marker, size
    "plan": (theme.NEUTRAL, "circle", 10),
    "predicted": (theme.ERROR, "circle-open", 10),
    "pinned": (theme.ORIGINAL, "square", 13),
    "now": (theme.QUANTIZED, "star", 16),
}


@dataclass(frozen=True)
class ScoredPlan:
    """A plan: its code (what a click gives), its title, bits a weight, its score, and the score's interval."""

    code: str
    title: str
    bits: float
    score: float
    interval: tuple[float, float]
    kind: str = "plan"
    letter: str = ""


def best_of(plans: Sequence[ScoredPlan], better: str) -> list[ScoredPlan]:
    """Return the plans of which none has both as few bits and as good a score, by rising bits."""
    sign = -1.0 if better == "lower" else 1.0
    found: list[ScoredPlan] = []
    for plan in sorted(plans, key=lambda plan: (plan.bits, -sign * plan.score)):
        if not found or sign * plan.score > sign * found[-1].score:
            found.append(plan)
    return found


def plan_scores_figure(
    plans: Sequence[ScoredPlan], plain: float | None, title: str, better: str, canvas: Canvas
) -> go.Figure:
    """Draw score against bits a weight: all plans with their intervals, the best as steps, floating point as a line."""
    front = best_of([plan for plan in plans if plan.kind != "predicted"], better)
    traces = [elements.front([plan.bits for plan in front], [plan.score for plan in front])]
    traces += [_points(kind, [plan for plan in plans if plan.kind == kind]) for kind in LOOKS]
    dashed = {"color": theme.NEUTRAL, "width": 1, "dash": theme.IDENTITY_DASH}
    across = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": plain, "y1": plain, "line": dashed}
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 70, "r": 14, "t": 28, "b": 46},
        xaxis=theme.axis(phrase("plan_scores", "bits")),
        yaxis=theme.axis(title),
        shapes=[] if plain is None else [across],
    )


def describe_plan_scores(plans: Sequence[ScoredPlan], title: str) -> str:
    """Say in words what the figure shows."""
    listed = "; ".join(f"{plan.title}: {short(plan.bits)}, {short(plan.score)}" for plan in plans)
    return phrase("plan_scores", "described", title=title, listed=listed)


def score_curve_figure(
    layers: Sequence[str],
    scores: Sequence[float],
    falls: Mapping[str, str],
    plain: float | None,
    title: str,
    canvas: Canvas,
) -> go.Figure:
    """Draw the score after each more layer is quantized; layers at which it `falls` are marked and named."""
    at = [place for place, layer in enumerate(layers) if layer in falls]
    traces: list[Trace] = [
        {
            "type": "scatter",
            "x": list(range(1, len(scores) + 1)),
            "y": list(scores),
            "text": list(layers),
            "mode": "lines+markers",
            "line": {"color": theme.NEUTRAL, "width": 2},
            "marker": {"color": theme.NEUTRAL, "size": 6},
            "hovertemplate": "%{x}: %{text}<br>%{y:.4g}<extra></extra>",
        },
        {
            "type": "scatter",
            "x": [place + 1 for place in at],
            "y": [scores[place] for place in at],
            "text": [falls[layers[place]] for place in at],
            "mode": "markers+text",
            "cliponaxis": False,
            "textposition": "bottom left",
            "marker": {"color": theme.QUANTIZED, "size": 13, "symbol": "diamond"},
            "hoverinfo": "skip",
        },
    ]
    dashed = {"color": theme.NEUTRAL, "width": 1, "dash": theme.IDENTITY_DASH}
    across = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": plain, "y1": plain, "line": dashed}
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 70, "r": 10, "t": 10, "b": 46},
        xaxis=theme.axis(phrase("plan_scores", "layers")),
        yaxis=theme.axis(title),
        shapes=[] if plain is None else [across],
    )


def describe_score_curve(layers: Sequence[str], scores: Sequence[float], title: str) -> str:
    """Say in words what the figure shows."""
    listed = ", ".join(f"{layer} {short(score)}" for layer, score in zip(layers, scores, strict=False))
    return phrase("plan_scores", "described_curve", title=title, listed=listed)


def _points(kind: str, plans: Sequence[ScoredPlan]) -> Trace:
    color, symbol, size = LOOKS[kind]
    return {
        "type": "scatter",
        "name": kind,
        "x": [plan.bits for plan in plans],
        "y": [plan.score for plan in plans],
        "error_y": {
            "type": "data",
            "array": [plan.interval[1] - plan.score for plan in plans],
            "arrayminus": [plan.score - plan.interval[0] for plan in plans],
            "color": theme.FAINT,
            "thickness": 1.5,
            "width": 0,
        },
        "customdata": [plan.code for plan in plans],
        "text": [plan.letter for plan in plans],
        "hovertext": [plan.title for plan in plans],
        "mode": "markers+text" if kind == "pinned" else "markers",
        "cliponaxis": False,
        "textposition": "top center",
        "marker": {"color": color, "symbol": symbol, "size": size},
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
        "hovertemplate": "%{hovertext}<br>%{x:.3g}, %{y:.4g}<extra></extra>",
    }


def prediction_figure(pairs: Sequence[tuple[float, float]], name: str, canvas: Canvas) -> go.Figure:
    """Draw what plans were measured to cost against what the sum of their layers predicted, with the line of equals."""
    shown = [pair for pair in pairs if min(pair) > 0]
    ends = [min(map(min, shown)), max(map(max, shown))] if shown else [1.0, 1.0]
    traces: list[Trace] = [
        {
            "type": "scatter",
            "x": ends,
            "y": ends,
            "mode": "lines",
            "line": {"color": theme.NEUTRAL, "width": 1, "dash": theme.IDENTITY_DASH},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "x": [predicted for predicted, _ in shown],
            "y": [measured for _, measured in shown],
            "mode": "markers",
            "marker": {"color": theme.ERROR, "size": 10},
            "hovertemplate": "%{x:.3g}, %{y:.3g}<extra></extra>",
        },
    ]
    every = [value for pair in shown for value in pair]
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 10, "t": 10, "b": 46},
        xaxis=elements.error_axis(phrase("plan_scores", "predicted", name=name), every),
        yaxis=elements.error_axis(phrase("plan_scores", "measured", name=name), every),
    )
