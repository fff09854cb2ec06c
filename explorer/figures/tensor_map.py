"""A model as a map: each tensor is an area of its parameters, in a colour for any number that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import theme
from explorer.figures.theme import Canvas
from explorer.figures.words import phrase
from explorer.notation import count, short

HEIGHT = 380
COLORS = [[0.0, "#E3EDF4"], [0.5, theme.ORIGINAL], [1.0, "#00253B"]]
LABEL = {0: "#00253B", 1: "#FFFFFF"}  # on light and on dark areas
DARK_FROM = 0.35  # of the scale


@dataclass(frozen=True)
class TensorMap:
    """Names of tensors with their parameters, and what colours them, by the `title` of that number; None: unknown."""

    names: Sequence[str]
    parameters: Sequence[int]
    values: Sequence[float | None]
    title: str


def tensor_map_figure(shown: TensorMap, canvas: Canvas) -> go.Figure:
    """Draw the areas; those of which the number is not known are grey."""
    low, high = _ends(shown)
    places = [None if value is None else (value - low) / ((high - low) or 1.0) for value in shown.values]
    told = [
        f"{count(n)}, {shown.title} {_said(value)}" for n, value in zip(shown.parameters, shown.values, strict=True)
    ]
    areas = {
        "type": "treemap",
        "labels": list(shown.names),
        "parents": [""] * len(shown.names),
        "values": list(shown.parameters),
        "customdata": told,
        "hovertemplate": "%{label}: %{customdata}<extra></extra>",
        "texttemplate": "%{label}",
        "textfont": {
            "size": theme.FONT_SIZE,
            "color": [LABEL[place is not None and place > DARK_FROM] for place in places],
        },
        "marker": {
            "colors": places,
            "colorscale": COLORS,
            "cmin": 0.0,
            "cmax": 1.0,
            "colorbar": {
                "title": {"text": shown.title, "side": "right", "font": theme.lettering(canvas)},
                "thickness": 10,
                "outlinewidth": 0,
                "tickvals": [0.0, 1.0],
                "ticktext": [short(low), short(high)],
                "tickfont": theme.lettering(canvas),
            },
            "showscale": True,
            "pad": dict.fromkeys("tlrb", 0),
        },
        "tiling": {"pad": 2},
        "pathbar": {"visible": False},
    }
    return theme.figure([areas], HEIGHT, canvas, uniformtext={"minsize": theme.FONT_SIZE, "mode": "hide"})


def describe_tensor_map(shown: TensorMap) -> str:
    """Say in words what the figure shows."""
    known = [(value, name) for value, name in zip(shown.values, shown.names, strict=True) if value is not None]
    value, name = max(known, default=(None, "–"))
    widest = max(zip(shown.parameters, shown.names, strict=True), default=(0, "–"))[1]
    said = {"n": count(len(shown.names)), "title": shown.title, "highest": name, "value": _said(value)}
    return phrase("tensor_map", "described", widest=widest, **said)


def _ends(shown: TensorMap) -> tuple[float, float]:
    known = [value for value in shown.values if value is not None]
    return (min(known), max(known)) if known else (0.0, 0.0)


def _said(value: float | None) -> str:
    return "?" if value is None else short(value)
