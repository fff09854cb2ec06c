"""The figures of a report: size and score of plans, error and range of each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import theme
from explorer.figures.plans import size_ticks
from explorer.figures.theme import Canvas, Trace
from explorer.language import plain_words
from explorer.notation import KIB, scored, short, size
from quant_engine.network import Score

HEIGHT = 380
BARS_HEIGHT, ROW_HEIGHT, AROUND = 300, 24, 140
FLAT_NAMES, FLAT_FOOT, LETTER = 8, 40, 8  # of more layers, the names stand upright: pixels for a letter
LOOKS = (  # colour, pattern of bars and symbol, one plan after the other
    (theme.QUANTIZED, "", "diamond"),
    (theme.ERROR, "/", "circle"),
    (theme.NEUTRAL, "x", "square"),
    (theme.ORIGINAL, "\\", "triangle-up"),
)


@dataclass(frozen=True)
class Scored:
    """A plan: what it is called, its bytes and its score."""

    title: str
    size_bytes: int
    score: Score


@dataclass(frozen=True)
class Spread:
    """A layer's weights: least, 1st and 99th percentile, greatest; and the least and greatest value of each plan."""

    layer: str
    weights: tuple[float, float, float, float]
    ends: Mapping[str, tuple[float, float]]


def plans_figure(plans: Sequence[Scored], canvas: Canvas) -> go.Figure:
    """Draw each plan's score with its interval against its bytes."""
    words = plain_words("report")["figures"]
    name, unit = plans[0].score.name, plans[0].score.unit
    sizes = [plan.size_bytes / KIB for plan in plans]
    return theme.figure(
        [_plan(plan, number) for number, plan in enumerate(plans)],
        HEIGHT,
        canvas,
        margin={"l": 70, "r": 16, "t": 8, "b": 96},
        xaxis=theme.axis(words["size_axis"], type="log", **size_ticks(min(sizes), max(sizes))),
        yaxis=theme.axis(f"{name}, {unit}" if unit else name),
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"},
    )


def describe_plans(plans: Sequence[Scored]) -> str:
    """Say in words what the figure shows."""
    said = "; ".join(f"{plan.title}: {size(plan.size_bytes)}, {scored(plan.score)}" for plan in plans)
    return str(plain_words("report")["figures"]["described_plans"].format(said=said))


def errors_figure(layers: Sequence[str], plans: Mapping[str, Sequence[float | None]], canvas: Canvas) -> go.Figure:
    """Draw a bar for every layer that a plan quantizes, a row of bars for each plan."""
    words = plain_words("report")["figures"]
    return theme.figure(
        [_bars(title, layers, found, number) for number, (title, found) in enumerate(plans.items())],
        BARS_HEIGHT + (foot := _foot(layers)),
        canvas,
        margin={"l": 62, "r": 8, "t": 36, "b": foot},
        xaxis=theme.axis("", type="category", categoryorder="array", categoryarray=list(layers)),
        yaxis=theme.axis(words["sqnr_axis"], rangemode="tozero"),
        barmode="group",
        showlegend=len(plans) > 1,
        legend={"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
    )


def describe_errors(layers: Sequence[str], plans: Mapping[str, Sequence[float | None]]) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{title}: " + ", ".join(f"{layer} {short(v)}" for layer, v in zip(layers, found, strict=True) if v is not None)
        for title, found in plans.items()
    )
    return str(plain_words("report")["figures"]["described_errors"].format(said="; ".join(said)))


def ranges_figure(layers: Sequence[Spread], canvas: Canvas) -> go.Figure:
    """Draw a row for every layer: its weights as lines, and the ends of each plan as markers."""
    words, names = plain_words("report")["figures"], [spread.layer for spread in layers]
    traces = [
        _lines(words["ends"], [(spread.layer, spread.weights[0], spread.weights[3]) for spread in layers], 1.5),
        _lines(words["spread"], [(spread.layer, spread.weights[1], spread.weights[2]) for spread in layers], 7),
    ]
    titles = dict.fromkeys(title for spread in layers for title in spread.ends)
    traces += [_ends(title, layers, number) for number, title in enumerate(titles)]
    return theme.figure(
        traces,
        ROW_HEIGHT * len(layers) + AROUND,
        canvas,
        margin={"l": 8, "r": 12, "t": 44, "b": 56},
        xaxis=theme.axis(words["range_axis"], zeroline=True, zerolinecolor=theme.NEUTRAL),
        yaxis=theme.axis("", type="category", categoryorder="array", categoryarray=names[::-1], automargin=True),
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
    )


def describe_ranges(layers: Sequence[Spread]) -> str:
    """Say in words what the figure shows."""
    widest = max(layers, key=lambda spread: spread.weights[3] - spread.weights[0])
    ends = {"low": short(widest.weights[0]), "high": short(widest.weights[3])}
    said = plain_words("report")["figures"]["described_ranges"]
    return str(said.format(n=len(layers), widest=widest.layer, **ends))


def _foot(layers: Sequence[str]) -> int:
    """Return the pixels that names of layers take under bars."""
    longest = max(map(len, layers), default=0)
    return FLAT_FOOT if len(layers) <= FLAT_NAMES and longest <= FLAT_NAMES else FLAT_FOOT + LETTER * longest


def _look(number: int) -> tuple[str, str, str]:
    return LOOKS[number % len(LOOKS)]


def _plan(plan: Scored, number: int) -> Trace:
    low, high = plan.score.interval
    known = math.isfinite(low + high)
    color, _, symbol = _look(number - 1) if number else (theme.ORIGINAL, "", "star")
    return {
        "type": "scatter",
        "name": plan.title,
        "x": [plan.size_bytes / KIB],
        "y": [plan.score.value if math.isfinite(plan.score.value) else None],
        "mode": "markers",
        "marker": {"color": color, "symbol": symbol, "size": 12},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - plan.score.value if known else 0],
            "arrayminus": [plan.score.value - low if known else 0],
            "color": color,
        },
        "hovertemplate": f"{size(plan.size_bytes)}, {scored(plan.score)}<extra></extra>",
    }


def _bars(title: str, layers: Sequence[str], found: Sequence[float | None], number: int) -> Trace:
    color, pattern, _ = _look(number)
    return {
        "type": "bar",
        "name": title,
        "x": list(layers),
        "y": [None if value is None or not math.isfinite(value) else value for value in found],
        "marker": {"color": color, "pattern": {"shape": pattern, "size": 6}},
        "hovertemplate": "%{x}: %{y:.4g} dB<extra></extra>",
    }


def _lines(title: str, rows: Sequence[tuple[str, float, float]], width: float) -> Trace:
    """Return a line for each row, with a gap behind it."""
    return {
        "type": "scatter",
        "name": title,
        "x": [value for _, low, high in rows for value in (low, high, None)],
        "y": [name for name, _, _ in rows for _ in range(3)],
        "mode": "lines",
        "line": {"color": theme.ORIGINAL, "width": width},
        "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
    }


def _ends(title: str, layers: Sequence[Spread], number: int) -> Trace:
    color, _, symbol = _look(number)
    rows = [(spread.layer, end) for spread in layers if title in spread.ends for end in spread.ends[title]]
    return {
        "type": "scatter",
        "name": title,
        "x": [end for _, end in rows],
        "y": [name for name, _ in rows],
        "mode": "markers",
        "marker": {"color": color, "symbol": f"{symbol}-open", "size": 11, "line": {"width": 2}},
        "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
    }
