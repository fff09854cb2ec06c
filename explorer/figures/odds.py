"""The odds that two networks give to the classes of a few samples, with the samples where they are images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import share

IMAGE_HEIGHT = 110
BARS_HEIGHT = 190
AROUND = 104  # pixels
GAP = 0.08  # of the width, between samples
LIKELIEST = 2  # classes of each network
LOOKS = ((theme.NEUTRAL, ""), (theme.ERROR, theme.HATCH))  # colour and pattern: neither is that of a quantized thing


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample: its number, the odds (classes,) that each network gives, and its picture (height, width), if any."""

    number: int
    odds: Mapping[str, NDArray[np.float64]]
    image: NDArray[np.float32] | None = None

    @property
    def shown(self) -> list[int]:
        """The classes that any network finds the likeliest."""
        likely = [np.argsort(-odds, kind="stable")[:LIKELIEST] for odds in self.odds.values()]
        return sorted({int(place) for places in likely for place in places})


def odds_figure(samples: Sequence[Sample], canvas: Canvas) -> go.Figure:
    """Draw the samples side by side, the picture above and the odds of the likeliest classes below."""
    pictured = all(sample.image is not None for sample in samples)
    height = AROUND + BARS_HEIGHT + (IMAGE_HEIGHT if pictured else 0)
    top = BARS_HEIGHT / (height - AROUND) - (0.02 if pictured else 0)
    layout: dict[str, LayoutPart] = {}
    traces: list[Trace] = []
    notes = []
    width = (1 + GAP) / len(samples) - GAP
    for place, sample in enumerate(samples):
        left = place * (width + GAP)
        domain = [left, left + width]
        traces += _bars(sample, place, first=place == 0)
        layout |= _bar_axes(sample, place, domain, top)
        if pictured:
            traces.append(_picture(sample, place + len(samples)))
            layout |= _picture_axes(place + len(samples), domain, top)
        centred = {"xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
        notes.append(elements.note(f"sample {sample.number}", left + width / 2, 1.0, canvas.ink, **centred))
    return theme.figure(
        traces,
        height,
        canvas,
        margin={"l": 44, "r": 8, "t": 26, "b": 78},
        annotations=notes,
        barmode="group",
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"},
        **layout,
    )


def describe_odds(samples: Sequence[Sample]) -> str:
    """Say in words what the figure shows."""
    said = (
        f"sample {sample.number}: "
        + "; ".join(
            f"{name} " + ", ".join(f"class {place} {share(float(odds[place]))}" for place in sample.shown)
            for name, odds in sample.odds.items()
        )
        for sample in samples
    )
    return phrase("odds", "described", listed=". ".join(said))


def _axis(letter: str, place: int) -> str:
    return f"{letter}{place + 1 if place else ''}"


def _bars(sample: Sample, place: int, first: bool) -> list[Trace]:
    names = [str(label) for label in sample.shown]
    return [
        {
            "type": "bar",
            "name": name,
            "legendgroup": name,
            "showlegend": first,
            "x": names,
            "y": [100 * float(odds[label]) for label in sample.shown],
            "xaxis": _axis("x", place),
            "yaxis": _axis("y", place),
            "marker": {
                "color": color,
                "line": {"color": color, "width": 1},
                "pattern": {"shape": pattern, "fgcolor": color, "bgcolor": theme.ERROR_FILL, "fillmode": "replace"},
            },
            "hovertemplate": f"{name}, class %{{x}}: %{{y:.3g}} %<extra></extra>",
        }
        for (name, odds), (color, pattern) in zip(sample.odds.items(), LOOKS, strict=True)
    ]


def _bar_axes(sample: Sample, place: int, domain: Sequence[float], top: float) -> dict[str, LayoutPart]:
    across = theme.axis("class", type="category", domain=domain, anchor=_axis("y", place))
    along = theme.axis("odds, %" if place == 0 else "", range=[0, 100], domain=[0, top], anchor=_axis("x", place))
    hidden = {"showticklabels": place == 0, "nticks": 5}
    return {f"xaxis{_axis('', place)}": across, f"yaxis{_axis('', place)}": {**along, **hidden}}


def _picture(sample: Sample, place: int) -> Trace:
    return {
        "type": "heatmap",
        "z": sample.image,
        "xaxis": _axis("x", place),
        "yaxis": _axis("y", place),
        "colorscale": [[0.0, "#FFFFFF"], [1.0, "#1F2933"]],
        "showscale": False,
        "hoverinfo": "skip",
    }


def _picture_axes(place: int, domain: Sequence[float], top: float) -> dict[str, LayoutPart]:
    hidden = {**theme.axis(""), "visible": False}
    along = {"domain": [top + 0.05, 1.0], "autorange": "reversed", "scaleanchor": _axis("x", place)}
    return {
        f"xaxis{_axis('', place)}": {**hidden, "domain": domain, "anchor": _axis("y", place), "constrain": "domain"},
        f"yaxis{_axis('', place)}": {**hidden, **along, "anchor": _axis("x", place), "constrain": "domain"},
    }
