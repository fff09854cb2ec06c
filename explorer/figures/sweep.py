"""What each spec does to each tensor, as a map of cells; and to all of them, error against bits a value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.maps import MAX_TARGETS, SEQUENTIAL
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import count, short

MAP_HEIGHT, FRONT_HEIGHT = 490, 250
MAX_ROWS, MAX_COLUMNS = 26, 22  # that have names beside them
MAX_NAME = 24  # characters of one
NAME_WIDTH = 8  # pixels of a character
SLANT = 0.66  # how far down a name at 45° reaches, of its length


@dataclass(frozen=True, eq=False)
class SweepMap:
    """Cells of tensors × specs.

    Attributes:
        values: what is shown, (tensors, specs); NaN where there is nothing.
        title: what that is called.
        logarithmic: whether its colours are by powers of ten.
        errors: what went wrong, by places of tensor and spec.
    """

    tensors: Sequence[str]
    specs: Sequence[str]
    values: NDArray[np.float64]
    title: str
    logarithmic: bool
    errors: dict[tuple[int, int], str]

    @property
    def clickable(self) -> bool:
        """Whether the cells are few enough to be pointed at one by one."""
        return self.values.size <= MAX_TARGETS


@dataclass(frozen=True)
class SpecPoint:
    """All tensors under a spec: bits a value, mean squared error, SQNR, and whether no other has less of both."""

    name: str
    bits: float
    mse: float
    sqnr_db: float
    on_front: bool


def sweep_map_figure(shown: SweepMap, canvas: Canvas) -> go.Figure:
    """Draw the cells; each is a point that can be clicked, where they are not too many."""
    height, width = shown.values.shape
    low, high = _ends(shown)
    many = not shown.clickable
    colors = SEQUENTIAL["dark" if canvas.ink == theme.INK["dark"] else "light"]
    heat: Trace = {
        "type": "heatmap",
        "z": _scaled(shown).astype(np.float32),
        "x": _distinct(shown.specs) if many else list(range(width)),
        "y": _distinct(shown.tensors) if many else list(range(height)),
        "zmin": low,
        "zmax": high,
        "colorscale": [[place, color] for place, color in zip((0.0, 0.5, 1.0), colors, strict=True)],
        "colorbar": _bar(shown, low, high, canvas),
        **_hovered(shown),
        "xgap": 1 if width < 60 else 0,
        "ygap": 1 if height < 60 else 0,
    }
    named = height <= MAX_ROWS
    left = 20 + NAME_WIDTH * max((len(_cut(name)) for name in shown.tensors), default=0) if named else 64
    ticks = _ticks(shown.specs, MAX_COLUMNS, MAX_NAME + 8)
    below = 24 + SLANT * NAME_WIDTH * max(map(len, ticks["ticktext"]), default=0)
    return theme.figure(
        [heat, _targets(shown)],
        MAP_HEIGHT,
        canvas,
        margin={"l": left, "r": 8, "t": 8, "b": below},
        xaxis=theme.axis("", type="category" if many else "linear", range=[-0.5, width - 0.5], tickangle=-45, **ticks),
        yaxis=theme.axis(
            "" if named else phrase("sweep", "tensors"),
            type="category" if many else "linear",
            range=[height - 0.5, -0.5],
            **(_ticks(shown.tensors, MAX_ROWS, MAX_NAME) if named else _numbers(height)),
        ),
        clickmode="event+select",
        dragmode=False,
        hoverdistance=-1,
    )


def describe_sweep_map(shown: SweepMap) -> str:
    """Say in words what the map shows."""
    known = shown.values[~np.isnan(shown.values)]
    told = {"title": shown.title, "tensors": count(len(shown.tensors)), "specs": count(len(shown.specs))}
    if not known.size:
        return phrase("sweep", "described_nothing", **told)
    tensor, spec = divmod(int(np.nanargmin(shown.values)), len(shown.specs))
    ends = {"low": short(float(known.min())), "high": short(float(known.max()))}
    return phrase("sweep", "described", **told, **ends, tensor=shown.tensors[tensor], spec=shown.specs[spec])


def sweep_front_figure(points: Sequence[SpecPoint], canvas: Canvas) -> go.Figure:
    """Draw error against bits a value; specs of which no other has less of both are joined."""
    some = [point for point in points if point.mse > 0]
    front = [point for point in some if point.on_front]
    traces: list[Trace] = [
        elements.front([point.bits for point in front], [point.mse for point in front]),
        *(
            {
                "type": "scatter",
                "x": [point.bits for point in held],
                "y": [point.mse for point in held],
                "text": [f"{point.name}<br>{short(point.bits)} b, SQNR {short(point.sqnr_db)} dB" for point in held],
                "mode": "markers",
                "cliponaxis": False,
                "marker": {"color": color, "size": 10, "symbol": symbol},
                "hovertemplate": "%{text}<extra></extra>",
            }
            for held, color, symbol in (
                ([point for point in some if not point.on_front], theme.NEUTRAL, "circle-open"),
                (front, theme.ERROR, "circle"),
            )
        ),
    ]
    return theme.figure(
        traces,
        FRONT_HEIGHT,
        canvas,
        margin={"l": 70, "r": 14, "t": 10, "b": 46},
        xaxis=theme.axis(phrase("sweep", "bits"), nticks=7),
        yaxis=elements.error_axis(phrase("sweep", "mse"), [point.mse for point in some]),
    )


def describe_sweep_front(points: Sequence[SpecPoint]) -> str:
    """Say in words what the figure shows."""
    front = [point for point in points if point.on_front]
    listed = "; ".join(f"{point.name}: {short(point.bits)} b, {short(point.sqnr_db)} dB" for point in front)
    return phrase("sweep", "described_front", n=count(len(points)), listed=listed)


def _scaled(shown: SweepMap) -> NDArray[np.float64]:
    """Return what the colours stand for; what is infinite is as far as anything that is not."""
    values = np.where(shown.values > 0, shown.values, np.nan) if shown.logarithmic else shown.values
    scaled: NDArray[np.float64] = np.log10(values) if shown.logarithmic else values
    finite = scaled[np.isfinite(scaled)]
    return np.clip(scaled, finite.min(), finite.max()) if finite.size else np.full(scaled.shape, np.nan)


def _ends(shown: SweepMap) -> tuple[float, float]:
    scaled = _scaled(shown)
    if np.isnan(scaled).all():
        return 0.0, 1.0
    low, high = float(np.nanmin(scaled)), float(np.nanmax(scaled))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _bar(shown: SweepMap, low: float, high: float, canvas: Canvas) -> LayoutPart:
    places = [low, (low + high) / 2, high]
    said = [short(10**place if shown.logarithmic else place) for place in places]
    title = {"text": shown.title, "side": "right", "font": theme.lettering(canvas)}
    return {
        "thickness": 10,
        "outlinewidth": 0,
        "tickvals": places,
        "ticktext": said,
        "tickfont": theme.lettering(canvas),
        "title": title,
    }


def _targets(shown: SweepMap) -> Trace:
    """Return what is pointed at: the middle of every cell, unseen, where cells are few; else none."""
    height, width = shown.values.shape
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    unseen = {"marker": {"opacity": 0}}
    places = zip(y.reshape(-1).tolist(), x.reshape(-1).tolist(), strict=True) if shown.clickable else ()
    told = [[t, s, shown.tensors[t], shown.specs[s], _told(shown, t, s)] for t, s in places]
    return {
        "type": "scatter",
        "x": [one[1] for one in told],
        "y": [one[0] for one in told],
        "mode": "markers",
        "marker": {"opacity": 0, "size": 6},
        "selected": unseen,
        "unselected": unseen,
        "customdata": told,
        "hovertemplate": "%{customdata[2]}<br>%{customdata[3]}<br>%{customdata[4]}<extra></extra>",
    }


def _hovered(shown: SweepMap) -> LayoutPart:
    """Return what is said of a cell of the map itself: of many cells the names on its axes, and its number."""
    if shown.clickable:
        return {"hoverinfo": "skip"}  # points over the cells say more
    some = {"customdata": shown.values.astype(np.float32)} if shown.logarithmic else {}
    number = "%{customdata:.4~g}" if shown.logarithmic else "%{z:.4~g}"
    return {**some, "hoverongaps": False, "hovertemplate": f"%{{y}}<br>%{{x}}<br>{shown.title} {number}<extra></extra>"}


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names of which no two are alike, as categories of an axis must be."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _told(shown: SweepMap, tensor: int, spec: int) -> str:
    if (tensor, spec) in shown.errors:
        return shown.errors[tensor, spec][:120]
    value = float(shown.values[tensor, spec])
    return phrase("sweep", "nothing") if math.isnan(value) else f"{shown.title} {short(value)}"


def _ticks(names: Sequence[str], most: int, longest: int) -> LayoutPart:
    """Return which places have names beside them: all, or evenly some."""
    every = max(1, -(-len(names) // most))
    places = list(range(0, len(names), every))
    return {"tickvals": places, "ticktext": [_cut(names[place], longest) for place in places]}


def _numbers(height: int) -> LayoutPart:
    """Return a few places with their numbers beside them, in round steps: names are too many."""
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    places = list(range(0, height, next(step for step in steps if height <= 6 * step)))
    return {"tickvals": places, "ticktext": [count(place) for place in places]}


def _cut(name: str, longest: int = MAX_NAME) -> str:
    """Return a name, or its end, where layers of one kind differ least in the beginning."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
