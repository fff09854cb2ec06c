"""Weights that jump between buckets: codes before and after, and where those that changed sat in their bucket."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import share, short

HEIGHT = 330
MAX_BARS = 32  # codes that are told apart as pairs of bars
DISTANCE_BINS = 10  # over half a step

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CodeChanges:
    """What a method did to the codes of one layer's weights.

    `before` and `after` are how often each code from `first` on is used; `steps` how many weights moved by 0, 1, 2, …
    codes. `near` and `moved` count, by distance to the nearest threshold (in tenths of half a step; the last one holds
    all that is farther), all weights and those whose code changed. `scales` are the least and the greatest ratio of a
    scale after to the one before.
    """

    first: int
    before: Counts
    after: Counts
    steps: Counts
    near: Counts
    moved: Counts
    scales: tuple[float, float]

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(self.before.sum())

    @property
    def changed(self) -> int:
        """Number of weights with another code."""
        return int(self.steps[1:].sum())

    @property
    def close(self) -> float:
        """The share of the changed ones that sat in the half of their bucket nearer to a threshold."""
        return float(self.moved[: DISTANCE_BINS // 2].sum() / self.changed) if self.changed else math.nan


def code_changes_of(
    u: NDArray[np.float64], before: NDArray[np.int64], after: NDArray[np.int64], ends: tuple[int, int]
) -> tuple[Counts, Counts, Counts, Counts, Counts]:
    """Count codes before and after, moves by size, and all and moved weights by distance to the nearest threshold.

    `u` are weights in units of their scale; thresholds lie half way between codes, and none beyond the `ends`.

    >>> u = np.array([0.45, 0.1, 1.9])
    >>> before, after, steps, near, moved = code_changes_of(u, np.array([0, 0, 1]), np.array([1, 0, 1]), (-2, 1))
    >>> steps.tolist(), near.tolist(), moved.tolist()
    ([2, 1], [0, 1, 0, 0, 0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    """
    low, high = ends
    up = np.where(before < high, before + 0.5 - u, np.inf)
    down = np.where(before > low, u - (before - 0.5), np.inf)
    distance = np.clip(np.minimum(up, down), 0.0, None)
    bins = np.minimum((distance * 2 * DISTANCE_BINS + 1e-9).astype(np.int64), DISTANCE_BINS - 1)
    moves = np.abs(after - before)
    size = high - low + 1
    return (
        np.bincount((before - low).ravel(), minlength=size),
        np.bincount((after - low).ravel(), minlength=size),
        np.bincount(moves.ravel()),
        np.bincount(bins.ravel(), minlength=DISTANCE_BINS),
        np.bincount(bins[moves > 0].ravel(), minlength=DISTANCE_BINS),
    )


def codes_figure(found: CodeChanges, title: str, canvas: Canvas) -> go.Figure:
    """Draw how often each code is used before and after."""
    codes = np.arange(found.before.size) + found.first
    sides = (
        (phrase("code_changes", "nearest_clipped"), found.before, theme.NEUTRAL),
        (title, found.after, theme.QUANTIZED),
    )
    return theme.figure(
        [_use(name, codes, counts, color) for name, counts, color in sides],
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 8, "t": 8, "b": 84},
        xaxis=theme.axis("code", dtick=1 if codes.size <= 16 else None),
        yaxis=theme.axis("weights", nticks=6, rangemode="tozero"),
        showlegend=True,
        barmode="group",
        bargap=0.15,
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
    )


def distance_figure(found: CodeChanges, canvas: Canvas) -> go.Figure:
    """Draw the share of weights that changed against the distance to the nearest threshold."""
    shares = np.divide(found.moved, found.near, out=np.zeros(DISTANCE_BINS), where=found.near > 0)
    half = 0.5 / DISTANCE_BINS
    trace = {
        "type": "bar",
        "name": "changed",
        "x": half * (np.arange(DISTANCE_BINS) + 0.5),
        "y": 100 * shares,
        "width": 0.9 * half,
        "marker": {"color": theme.ERROR},
        "customdata": np.stack([found.moved, found.near], axis=1),
        "hovertemplate": "%{customdata[0]} of %{customdata[1]} changed: %{y:.3g} %<extra></extra>",
    }
    return theme.figure(
        [trace],
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 22, "t": 8, "b": 84},
        xaxis=theme.axis(
            phrase("code_changes", "distance_axis"),
            range=[0, 0.5],
            tickvals=[0, 0.1, 0.2, 0.3, 0.4, 0.5],
            ticktext=["0", "0.1", "0.2", "0.3", "0.4", "0.5 +"],
        ),
        yaxis=theme.axis("of these, changed, %", nticks=6, range=[0, 1.08 * max(100 * float(shares.max()), 1.0)]),
    )


def describe_codes(found: CodeChanges, title: str) -> str:
    """Say in words what the figure shows."""
    return phrase(
        "code_changes",
        "described_codes",
        codes=found.before.size,
        title=title,
        changed=share(found.changed / found.size),
        weights=found.size,
    )


def describe_distance(found: CodeChanges) -> str:
    """Say in words what the figure shows."""
    ends = [f"{short(100 * m / n) if n else 0} %" for m, n in zip(found.moved, found.near, strict=True)]
    return phrase("code_changes", "described_distance", nearest=ends[0], farthest=ends[-1])


def _use(name: str, codes: Counts, counts: Counts, color: str) -> Trace:
    told = {
        "name": name,
        "x": codes,
        "y": counts,
        "hovertemplate": "code %{x}: %{y} weights<extra>" + name + "</extra>",
    }
    if codes.size <= MAX_BARS:
        return {"type": "bar", "marker": {"color": color}, **told}
    return {"type": "scatter", "mode": "lines", "line": {"color": color, "width": 1.5, "shape": "hvh"}, **told}
