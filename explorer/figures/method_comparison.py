"""The race: a lane for every method, what accuracy its plans reached on the way, and where it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import error_rate, score_axis, theme
from explorer.figures.elements import note
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import is_share, short, shown_interval, shown_score
from quant_engine.network import Score

LANE_HEIGHT = 36
AROUND = 84  # pixels above and below the lanes
LABEL_WIDTH = 0.05  # of the axis: half a number, and room beside it
WAY_HEIGHT = 300
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
COLORS = (theme.QUANTIZED, theme.ERROR, theme.ORIGINAL, theme.NEUTRAL)


@dataclass(frozen=True)
class Lane:
    """One method: accuracies that were measured with the seconds of its own work, the last one last."""

    title: str
    found: Sequence[tuple[float, Score]] = ()
    ended: bool = False
    baseline: bool = False

    @property
    def last(self) -> Score | None:
        """Where it stands."""
        return self.found[-1][1] if self.found else None

    @property
    def has_way(self) -> bool:
        """Whether it was measured often enough for a line."""
        return len(self.found) > 2


def comparison_figure(lanes: Sequence[Lane], plain: Score | None, canvas: Canvas) -> go.Figure:
    """Draw the lanes from top to bottom; the dashed line is floating point, dotted ones lead down from baselines."""
    lows, highs = _reach(lanes, plain)
    lines = [
        _upright(lane.last, row, theme.FAINT, "dot")
        for row, lane in enumerate(lanes)
        if lane.baseline and lane.last is not None
    ]
    notes: list[LayoutPart] = []
    if plain is not None:
        lines.append(_upright(plain, -0.7, theme.ORIGINAL, "dash"))
        above = {"yref": "paper", "yanchor": "bottom", "xanchor": "right", "xshift": 6}
        notes.append(note(f"float32 {shown_score(plain)}", place(plain), 1.0, theme.ORIGINAL, **above))
    marks, near = [line["x0"] for line in lines], LABEL_WIDTH * (highs - lows)
    traces = [trace for row, lane in enumerate(lanes) for trace in _lane(lane, row, _side(lane, marks, near), canvas)]
    return theme.figure(
        traces or [{"type": "scatter", "x": [None], "y": [None]}],  # lanes of which nothing is known yet
        AROUND + LANE_HEIGHT * len(lanes),
        canvas,
        margin={"l": 148, "r": 14, "t": 30, "b": 48},
        xaxis=_axis(_found(lanes, plain), lows, highs),
        yaxis=theme.axis(
            "",
            range=[len(lanes) - 0.4, -0.7],
            tickvals=list(range(len(lanes))),
            ticktext=[lane.title for lane in lanes],
            showgrid=True,
            gridcolor="rgba(123, 135, 148, 0.25)",
        ),
        shapes=lines,
        annotations=notes,
    )


def describe_comparison(lanes: Sequence[Lane], plain: Score | None) -> str:
    """Say in words what the figure shows."""
    said = (f"{lane.title} {'' if lane.ended else 'so far '}{shown_score(lane.last)}" for lane in lanes if lane.last)
    whole = f"floating point {shown_score(plain)}; " if plain else ""
    return phrase("method_comparison", "described_lanes", whole=whole, value="; ".join(said) or "none measured yet")


def way_figure(lanes: Sequence[Lane], plain: Score | None, canvas: Canvas) -> go.Figure:
    """Draw accuracy against the seconds of a method's own work, a line for each method that was measured on its way.

    A method's place among the lanes gives its line its looks, whichever others are there.
    """
    traces = [_way(lane, number) for number, lane in enumerate(lanes) if lane.has_way]
    level = score_axis.place(plain) if plain else 0.0
    dashed = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
    return theme.figure(
        traces,
        WAY_HEIGHT,
        canvas,
        margin={"l": 58, "r": 8, "t": 8, "b": 84},
        xaxis=theme.axis(phrase("method_comparison", "seconds_axis"), rangemode="tozero", nticks=7),
        yaxis=score_axis.score_axis("accuracy, %", _found(lanes, plain), nticks=6),
        shapes=[{**dashed, "line": {"color": theme.ORIGINAL, "dash": "dash", "width": 1.5}}] if plain else [],
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.28, "yanchor": "top"},
    )


def describe_way(lanes: Sequence[Lane]) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{lane.title} from {shown_score(lane.found[0][1])} to {shown_score(lane.found[-1][1])} "
        f"in {short(lane.found[-1][0])} s"
        for lane in lanes
        if lane.has_way
    )
    return phrase("method_comparison", "described_progress", listed="; ".join(said))


def place(found: Score, value: float | None = None) -> float:
    """Return where a score, or an end of its interval, lies among the lanes: shares by their error rate."""
    if is_share(found):
        return error_rate.place(found.value if value is None else value)
    return score_axis.place(found, value)


def _found(lanes: Sequence[Lane], plain: Score | None) -> list[Score]:
    return [found for lane in lanes for _, found in lane.found] + ([plain] if plain else [])


def _axis(scores: Sequence[Score], low: float, high: float) -> LayoutPart:
    if not scores:  # nor is it known what is scored
        return theme.axis("", range=[low, high], showticklabels=False)
    if is_share(scores[0]):
        return error_rate.axis(phrase("method_comparison", "test_accuracy_axis"), low, high)
    title = phrase("method_comparison", "test_score_axis", score=score_axis.axis_title(scores[0]))
    return score_axis.score_axis("", scores) | theme.axis(title, range=[low, high])


def _reach(lanes: Sequence[Lane], plain: Score | None) -> tuple[float, float]:
    ends = _found(lanes, plain)
    if not ends:
        return error_rate.place(0.0), error_rate.place(0.95)
    low = min(place(found, found.interval[0]) for found in ends)
    high = max(place(found, found.interval[1]) for found in ends)
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _upright(found: Score, top: float, color: str, dash: str) -> LayoutPart:
    """Return a line from a lane down through all others."""
    at = place(found)
    line = {"color": color, "dash": dash, "width": 1.5}
    return {"type": "line", "x0": at, "x1": at, "y0": top, "y1": 1000, "line": line, "layer": "below"}


def _side(lane: Lane, lines: Sequence[float], near: float) -> str:
    """Return where a lane's number is clear of the upright lines."""
    here = place(lane.last) if lane.last else math.inf
    line = min(lines, key=lambda line: abs(line - here), default=math.inf)
    if lane.baseline or abs(line - here) > near:
        return "top center"
    return "top left" if here <= line else "top right"


def _lane(lane: Lane, row: int, side: str, canvas: Canvas) -> list[Trace]:
    if lane.last is None:
        return []
    color = theme.NEUTRAL if lane.baseline else theme.QUANTIZED
    low, high = (place(lane.last, end) for end in lane.last.interval)
    here = place(lane.last)
    way = {
        "type": "scatter",
        "name": lane.title,
        "x": [place(found) for _, found in lane.found],
        "y": [row] * len(lane.found),
        "mode": "lines+markers",
        "line": {"color": color, "width": 1},
        "marker": {"symbol": "circle-open", "size": 5, "color": color},
        "customdata": [[shown_score(found), short(seconds)] for seconds, found in lane.found],
        "hovertemplate": "%{customdata[0]} after %{customdata[1]} s<extra>" + lane.title + "</extra>",
    }
    stand = {
        "type": "scatter",
        "name": lane.title,
        "x": [here],
        "y": [row],
        "mode": "markers+text",
        "marker": {
            "symbol": "diamond" if lane.ended else "diamond-open",
            "size": 13,
            "color": color,
            "line": {"width": 2, "color": color},
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - here],
            "arrayminus": [here - low],
            "width": 4,
            "color": color,
            "thickness": 2,
        },
        "text": [shown_score(lane.last)],
        "textposition": side,
        "textfont": {"color": canvas.ink},
        "cliponaxis": False,
        "hovertemplate": _interval(lane.last) + "<extra>" + lane.title + "</extra>",
    }
    return [way, stand]


def _interval(found: Score) -> str:
    return f"{shown_score(found)}, 95 % interval {shown_interval(found)}, n = {found.n}"


def _way(lane: Lane, number: int) -> Trace:
    turned = number + number // len(SYMBOLS)  # so that lanes far apart differ in more than their dashes
    color = COLORS[turned % len(COLORS)]
    return {
        "type": "scatter",
        "name": lane.title,
        "x": [seconds for seconds, _ in lane.found],
        "y": [score_axis.place(found) for _, found in lane.found],
        "customdata": [shown_score(found) for _, found in lane.found],
        "mode": "lines+markers",
        "line": {"color": color, "width": 2, "dash": DASHES[number // len(COLORS) % len(DASHES)]},
        "marker": {"symbol": SYMBOLS[turned % len(SYMBOLS)], "size": 7, "color": color},
        "hovertemplate": "%{customdata} after %{x:.1f} s<extra>" + lane.title + "</extra>",
    }
