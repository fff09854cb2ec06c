"""The trade of clipping: rounding and clipping error against β."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short

CURVE_HEIGHT = 430
DECADES = 4.5  # below the greatest error; less is not drawn
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "hexagon", "star")
ROUNDING_COLOR, CLIPPING_COLOR = theme.QUANTIZED, theme.ORIGINAL


@dataclass(frozen=True)
class Split:
    """Mean squared error against the clipping value, in its two parts."""

    clips: NDArray[np.float64]
    rounding: NDArray[np.float64]
    clipping: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """Their sum."""
        return self.rounding + self.clipping


@dataclass(frozen=True)
class Pick:
    """What one way of choosing a range picks, and what it costs."""

    clip: float
    error: float


def split_figure(split: Split, now: Pick, picks: Mapping[str, Pick], canvas: Canvas) -> go.Figure:
    """Draw both parts and their sum, the β at hand, and what each calibrator would pick."""
    top = float(split.total.max()) or 1.0
    return theme.figure(
        [
            _curve(split.clips, split.rounding, "rounding", ROUNDING_COLOR, "dash"),
            _curve(split.clips, split.clipping, "clipping", CLIPPING_COLOR, "dot"),
            _curve(split.clips, split.total, "sum", canvas.ink, "solid"),
            *(_pick(name, pick, number) for number, (name, pick) in enumerate(picks.items())),
            {
                "type": "scatter",
                "name": "your β",
                "x": [now.clip],
                "y": [now.error],
                "mode": "markers",
                "marker": {"symbol": "x", "size": 13, "color": canvas.ink},
                "hovertemplate": "β = %{x:.4g}: %{y:.3g}<extra>your β</extra>",
            },
        ],
        CURVE_HEIGHT,
        canvas,
        margin={"l": 66, "r": 8, "t": 8, "b": 108},
        xaxis=theme.axis("clipping value β", range=[0, 1.02 * float(split.clips[-1])]),
        yaxis=theme.axis(
            "MSE", type="log", range=[np.log10(top) - DECADES, np.log10(top) + 0.1], exponentformat="power", dtick=1
        ),
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
    )


def describe_split(split: Split, now: Pick, picks: Mapping[str, Pick]) -> str:
    """Say in words what the figure shows."""
    said = "; ".join(f"{name} picks {short(pick.clip)} with {short(pick.error)}" for name, pick in picks.items())
    return phrase(
        "clipping",
        "described",
        lowest=short(float(split.clips[0])),
        highest=short(float(split.clips[-1])),
        clip=short(now.clip),
        error=short(now.error),
        said=said,
    )


def _curve(x: NDArray[np.float64], y: NDArray[np.float64], name: str, color: str, dash: str) -> Trace:
    return {
        "type": "scatter",
        "name": name,
        "x": x,
        "y": np.where(y > 0, y, np.nan),
        "mode": "lines",
        "line": {"color": color, "dash": dash, "width": 2},
        "hovertemplate": f"β = %{{x:.4g}}: %{{y:.3g}}<extra>{name}</extra>",
    }


def _pick(name: str, pick: Pick, number: int) -> Trace:
    return {
        "type": "scatter",
        "name": name,
        "x": [pick.clip],
        "y": [pick.error],
        "mode": "markers",
        "marker": {
            "symbol": f"{SYMBOLS[number % len(SYMBOLS)]}-open",
            "size": 12,
            "color": theme.ERROR,
            "line": {"width": 2.5, "color": theme.ERROR},
        },
        "hovertemplate": f"{name}: β = %{{x:.4g}}, MSE %{{y:.3g}}<extra></extra>",
    }
