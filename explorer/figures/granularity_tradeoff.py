"""Every granularity of one tensor and of a network: error and accuracy against the bits that a value truly takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import elements, score_axis, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import short, shown_score
from quant_engine.network import Score

HEIGHT = 440
STYLES = ((theme.ORIGINAL, "circle-open"), (theme.QUANTIZED, "diamond"))  # colour and marker, way by way
LEFT, RIGHT = [0.0, 0.44], [0.56, 1.0]  # halves of the figure
NEAR = 0.08, 0.05  # of the spans: closer, names would lie on each other
DECADES = 3  # of the bits over the codes, from which on only powers of ten are labelled
LATE = 0.85  # of the axis of bits: behind that, names are written before their points
LEAST = 1e-300  # error, on a logarithmic axis


@dataclass(frozen=True)
class TradeoffPoint:
    """One granularity: its name, bits per value and mean squared error of the tensor, and those of the network.

    `accuracy` is None as long as it is not measured.
    """

    name: str
    bits: float
    mse: float
    network_bits: float
    accuracy: Score | None


Ways = Mapping[str, Sequence[TradeoffPoint]]


def tradeoff_figure(
    ways: Ways,
    chosen: TradeoffPoint,
    codes: int,
    plain: Score | None,
    network: bool,
    canvas: Canvas,
    apart: Collection[str] | None = None,
) -> go.Figure:
    """Draw error (left) and accuracy (right) for every way of clipping; a ring marks what is on display.

    Errors are those of the granularities whose blocks stand `apart` on the tensor, if not all do.

    Bits lie on an axis that is logarithmic in what exceeds the bits of the `codes`, and are written in full.
    """
    every = [*(point for points in ways.values() for point in points), chosen]
    seen = {way: [point for point in points if apart is None or point.name in apart] for way, points in ways.items()}
    traces = [_errors(seen, way, codes) for way in seen]
    traces.append(_ring([chosen.bits - codes], [chosen.mse or None], "x", "y"))
    layout: LayoutPart = {
        "xaxis": _bits_axis(phrase("granularity_tradeoff", "tensor_axis"), [r.bits for r in every], codes)
        | {"domain": LEFT if network else [0.0, 1.0]},
        "yaxis": elements.error_axis("mean squared error", [point.mse for point in every]),
        "margin": {"l": 74, "r": 16, "t": 12, "b": 84},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": -0.15, "yanchor": "top"},
    }
    if network:
        traces += [_accuracies(ways, way, codes) for way in ways]
        if chosen.accuracy is not None:
            traces.append(_ring([chosen.network_bits - codes], [score_axis.place(chosen.accuracy)], "x2", "y2"))
        known = [point.network_bits for point in every if math.isfinite(point.network_bits)]
        bits = _bits_axis(phrase("granularity_tradeoff", "network_axis"), known, codes)
        layout["xaxis2"] = {**bits, "domain": RIGHT, "anchor": "y2"}
        layout["yaxis2"] = score_axis.score_axis(
            "accuracy, %", _scores(every, plain), range=[0, 108], anchor="x2", side="left"
        )
        if plain is not None:
            layout |= _plain(plain)
    return theme.figure(traces, HEIGHT, canvas, **layout)


def describe_tradeoff(ways: Ways) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{way}: "
        + "; ".join(
            f"{point.name} {short(point.mse)} at {short(point.bits, 4)} bits"
            + (f", network {shown_score(point.accuracy)}" if point.accuracy is not None else "")
            for point in points
        )
        for way, points in ways.items()
    )
    return phrase("granularity_tradeoff", "described") + ". ".join(said) + "."


def _scores(points: Sequence[TradeoffPoint], plain: Score | None) -> list[Score]:
    return [found for found in (plain, *(point.accuracy for point in points)) if found is not None]


def _bits_axis(title: str, bits: Sequence[float], codes: int) -> LayoutPart:
    """Return an axis for what exceeds the bits of the codes, with ticks that say all bits."""
    over = [math.log10(value - codes) for value in bits]
    low, high = min(over), max(over)
    pad = max(0.08 * (high - low), 0.15)
    steps = (1,) if high - low > DECADES else (1, 3)
    ticks = [step * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]
    named: dict[str, float] = {}  # of ticks that read alike, as 4.0001 and 4.00003 of four digits, the last
    for tick in ticks:
        if low - pad <= math.log10(tick) <= high + 2 * pad:
            named[short(codes + tick, 4)] = tick
    marks = {"tickvals": list(named.values()), "ticktext": list(named), "tickangle": 0}
    return theme.axis(title, type="log", range=[low - pad, high + 2.6 * pad], **marks)


def _labels(x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> list[str]:
    """Return the names of points, one for several that lie on each other; `x` are bits over those of the codes."""
    places = [math.log10(value) for value in x]
    near = NEAR[0] * (max(places) - min(places) or 1.0), NEAR[1] * (max(y) - min(y) or 1.0)
    return elements.shared_labels(places, y, names, near)


def _points(way: str, number: int, x: Sequence[float], y: Sequence[float | None]) -> Trace:
    color, symbol = STYLES[number % len(STYLES)]
    return {
        "type": "scatter",
        "name": way,
        "x": list(x),
        "y": list(y),
        "mode": "markers+text",
        "textfont": {"color": color},
        "marker": {"color": color, "size": 9, "symbol": symbol, "line": {"width": 2, "color": color}},
    }


def _errors(ways: Ways, way: str, codes: int) -> Trace:
    points, number = ways[way], list(ways).index(way)
    x, names = [point.bits - codes for point in points], [point.name for point in points]
    trace = _points(way, number, x, [point.mse or None for point in points])
    return trace | {
        "text": _labels(x, [math.log(max(point.mse, LEAST)) for point in points], names),
        "textposition": _places(points, x, ways, number, lambda point: point.mse),
        "customdata": [[point.name, point.bits] for point in points],
        "hovertemplate": "%{customdata[0]}: %{y:.3g} at %{customdata[1]:.3f} bits<extra>" + way + "</extra>",
    }


def _accuracies(ways: Ways, way: str, codes: int) -> Trace:
    points, number = ways[way], list(ways).index(way)
    known = [(point, point.accuracy) for point in points if point.accuracy is not None]
    x, y = [point.network_bits - codes for point, _ in known], [score_axis.place(found) for _, found in known]
    names = [point.name for point, _ in known]
    return _points(way, number, x, y) | {
        "xaxis": "x2",
        "yaxis": "y2",
        "showlegend": False,
        "text": _labels(x, y, names) if x else [],
        "textposition": _places([point for point, _ in known], x, ways, number, _level),
        "customdata": [[point.name, point.network_bits, shown_score(found)] for point, found in known],
        "hovertemplate": "%{customdata[0]}: %{customdata[2]} at %{customdata[1]:.3f} bits<extra>" + way + "</extra>",
        "error_y": {
            **score_axis.error_bars([found for _, found in known]),
            "width": 0,
            "thickness": 1,
            "color": STYLES[number % len(STYLES)][0],
        },
    }


def _places(
    points: Sequence[TradeoffPoint],
    x: Sequence[float],
    ways: Ways,
    number: int,
    height: Callable[[TradeoffPoint], float],
) -> list[str]:
    """Return where names are written: above the points that lie above those of other ways, else below.

    Of several points, those at the far right have their names at their left, or these would be cut off.
    """
    places = [math.log10(value) for value in x]
    late = min(places, default=0.0) + LATE * (max(places, default=0.0) - min(places, default=0.0))
    sides = ["left" if place > late > min(places) else "right" for place in places]
    others = {point.name: height(point) for n, way in enumerate(ways.values()) if n != number for point in way}
    above = ((height(point), -number) > (others.get(point.name, -1.0), number - 1) for point in points)
    return [f"{'top' if is_above else 'bottom'} {side}" for is_above, side in zip(above, sides, strict=True)]


def _level(point: TradeoffPoint) -> float:
    return 0.0 if point.accuracy is None else score_axis.place(point.accuracy)


def _ring(x: list[float], y: list[float | None], xaxis: str, yaxis: str) -> Trace:
    return {
        "type": "scatter",
        "name": "on display",
        "x": x,
        "y": y,
        "xaxis": xaxis,
        "yaxis": yaxis,
        "showlegend": xaxis == "x",
        "mode": "markers",
        "hoverinfo": "skip",
        "marker": {"symbol": "circle-open", "size": 19, "color": theme.ERROR, "line": {"width": 2.5}},
    }


def _plain(plain: Score) -> LayoutPart:
    """Return a dashed line at the accuracy of floating point, named above it."""
    level = score_axis.place(plain)
    line = {"color": theme.NEUTRAL, "dash": "dash", "width": 1}
    place = {"xref": "x2 domain", "yref": "y2", "xanchor": "left", "yanchor": "bottom"}
    return {
        "shapes": [
            {
                "type": "line",
                "xref": "x2 domain",
                "yref": "y2",
                "x0": 0,
                "x1": 1,
                "y0": level,
                "y1": level,
                "line": line,
            }
        ],
        "annotations": [elements.note(f"float32 {shown_score(plain)}", 0, level, theme.NEUTRAL, **place)],
    }
