"""How much a network minds each layer's quantization, as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from explorer.figures import theme
from explorer.figures.theme import Canvas, Trace
from explorer.notation import short

HEIGHT = 330
LOOKS = ((theme.QUANTIZED, ""), (theme.ERROR, theme.HATCH))  # colour and pattern, part by part

Values = Sequence[float | None]


def sensitivity_figure(layers: Sequence[str], values: Mapping[str, Values], title: str, canvas: Canvas) -> go.Figure:
    """Draw a bar for every layer and part (weights, inputs); what is not known yet has none."""
    traces = [_bars(name, layers, found, number) for number, (name, found) in enumerate(values.items())]
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 8, "t": 28, "b": 48},
        xaxis=theme.axis("", type="category", categoryorder="array", categoryarray=list(layers)),
        yaxis={**theme.axis(title), "zeroline": True, "zerolinecolor": theme.NEUTRAL},
        barmode="group",
        bargap=0.25,
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"color": canvas.ink}},
    )


def describe_sensitivity(layers: Sequence[str], values: Mapping[str, Values], title: str) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{name}: "
        + ", ".join(f"{layer} {short(value)}" for layer, value in zip(layers, found, strict=True) if value is not None)
        for name, found in values.items()
    )
    return f"A bar for every layer, {title}. " + "; ".join(said) + "."


def _bars(name: str, layers: Sequence[str], found: Values, number: int) -> Trace:
    color, pattern = LOOKS[number % len(LOOKS)]
    return {
        "type": "bar",
        "name": name,
        "x": list(layers),
        "y": [None if value is None or not math.isfinite(value) else value for value in found],
        "marker": {
            "color": color,
            "line": {"color": color, "width": 1},
            "pattern": {
                "shape": pattern,
                "fgcolor": color,
                "bgcolor": theme.ERROR_FILL,
                "fillmode": "replace",
                "size": 6,
            },
        },
        "hovertemplate": f"%{{x}}, {name}: %{{y:.4g}}<extra></extra>",
    }
