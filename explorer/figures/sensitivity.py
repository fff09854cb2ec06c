"""How much a network minds each layer's quantization, as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import short

ROW_HEIGHT = 180
GAP = 0.28  # of a row
NO_SCALE = {"range": [0, 1], "showticklabels": False}  # where no bar is known yet
LOOKS = ((theme.QUANTIZED, ""), (theme.ERROR, theme.HATCH))  # colour and pattern, part by part

Values = Sequence[float | None]


def sensitivity_figure(layers: Sequence[str], values: Mapping[str, Values], title: str, canvas: Canvas) -> go.Figure:
    """Draw a bar for every layer, in a row for each part (weights, inputs) with an axis of its own."""
    rows, axes = len(values), dict[str, LayoutPart]()
    notes = []
    for number, name in enumerate(values):
        top = 1 - number / rows
        domain = [top - (1 - GAP) / rows, top - GAP / 2 / rows]
        plain = theme.axis("", domain=domain, anchor="x", nticks=5) | ({} if _known(values[name]) else NO_SCALE)
        axes[f"yaxis{number + 1 if number else ''}"] = {**plain, "zeroline": True, "zerolinecolor": theme.NEUTRAL}
        place = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        notes.append(elements.note(f"<b>{name}</b>, {title}", 0, domain[1], canvas.ink, **place))
    return theme.figure(
        [_bars(name, layers, found, number) for number, (name, found) in enumerate(values.items())],
        ROW_HEIGHT * rows + 50,
        canvas,
        margin={"l": 56, "r": 8, "t": 8, "b": 36},
        xaxis=theme.axis(
            "",
            type="category",
            range=[-0.5, len(layers) - 0.5],
            categoryorder="array",
            categoryarray=list(layers),
            anchor=f"y{rows if rows > 1 else ''}",
        ),
        annotations=notes,
        bargap=0.45,
        **axes,
    )


def describe_sensitivity(layers: Sequence[str], values: Mapping[str, Values], title: str) -> str:
    """Say in words what the figure shows."""
    if not any(map(_known, values.values())):
        return phrase("sensitivity", "empty", title=title)
    said = (
        f"{name}: "
        + ", ".join(f"{layer} {short(value)}" for layer, value in zip(layers, found, strict=True) if value is not None)
        for name, found in values.items()
    )
    return phrase("sensitivity", "described", title=title) + "; ".join(said) + "."


def _known(found: Values) -> bool:
    return any(value is not None for value in found)


def _bars(name: str, layers: Sequence[str], found: Values, number: int) -> Trace:
    color, pattern = LOOKS[number % len(LOOKS)]
    return {
        "type": "bar",
        "name": name,
        "x": list(layers),
        "yaxis": f"y{number + 1 if number else ''}",
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
