"""How far the weights of two models are apart, weight by weight."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from explorer.figures import theme
from explorer.figures.theme import Canvas
from explorer.figures.words import phrase
from explorer.notation import decibels, share
from quant_engine.studies import WeightDifference

HEIGHT = 360
MAX_LABELS, MAX_LETTERS = 12, 10  # of names under bars


def relative_error(one: WeightDifference) -> float:
    """Return √(Σ (x − y)²/Σ x²), which is 10^(−SQNR/20)."""
    return float(10 ** (-one.sqnr_db / 20))


def weight_differences_figure(rows: Sequence[WeightDifference], canvas: Canvas) -> go.Figure:
    """Draw a bar for each weight that was compared, in the order of the first model."""
    names = [str(one.name) for one in rows]
    labelled = len(names) <= MAX_LABELS and max(map(len, names), default=0) <= MAX_LETTERS
    bars = {
        "type": "bar",
        "x": list(range(len(rows))),
        "y": [100 * relative_error(one) for one in rows],
        "marker": {"color": theme.ERROR},
        "customdata": [f"{one.name}: {share(relative_error(one))}, SQNR {decibels(one.sqnr_db)}" for one in rows],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    ticks = {"tickvals": bars["x"], "ticktext": names, "tickangle": 0} if labelled else {"nticks": 8}
    return theme.figure(
        [bars],
        HEIGHT,
        canvas,
        margin={"l": 60, "r": 8, "t": 8, "b": 44},
        xaxis=theme.axis(
            "" if labelled else phrase("weight_differences", "order"), range=[-0.6, len(rows) - 0.4], **ticks
        ),
        yaxis=theme.axis(phrase("weight_differences", "error"), rangemode="tozero", nticks=6),
        bargap=0.3,
    )


def describe_weight_differences(rows: Sequence[WeightDifference], first: str, second: str) -> str:
    """Say in words what the figure shows."""
    worst = sorted(rows, key=lambda one: one.sqnr_db)[:3]
    listed = ", ".join(f"{one.name} {share(relative_error(one))}" for one in worst)
    return phrase("weight_differences", "described", first=first, second=second, n=str(len(rows)), listed=listed)
