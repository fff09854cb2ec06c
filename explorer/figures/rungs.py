"""Every granularity of one tensor and of a network: error and accuracy against the bits that a value truly takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import parts, theme
from explorer.figures.theme import Canvas, Layout, Trace
from explorer.notation import accuracy, short
from quant_engine.network import Accuracy

HEIGHT = 440
STYLES = ((theme.ORIGINAL, "circle-open"), (theme.QUANTIZED, "diamond"))  # way by way
ACCURACY = 0.575  # where the right half begins
NEAR = 0.10, 0.055  # of the spans: closer, names would lie on each other


@dataclass(frozen=True)
class Rung:
    """One granularity: its name, bits per value and mean squared error of the tensor, and those of the network.

    `accuracy` is None as long as it is not measured.
    """

    name: str
    bits: float
    mse: float
    network_bits: float
    accuracy: Accuracy | None


def rungs_figure(
    ways: Mapping[str, Sequence[Rung]], chosen: Rung, plain: Accuracy | None, network: bool, canvas: Canvas
) -> go.Figure:
    """Draw error (left) and accuracy (right) for every way of clipping; a ring marks what is on display."""
    every = [rung for rungs in ways.values() for rung in rungs]
    traces = [_errors(name, rungs, number) for number, (name, rungs) in enumerate(ways.items())]
    traces.append(_ring([chosen.bits], [chosen.mse or None], "x"))
    halves = [0.0, 0.44] if network else [0.0, 1.0]
    layout: Layout = {
        "xaxis": {**_bits_axis("bits per value of the tensor", [r.bits for r in [*every, chosen]]), "domain": halves},
        "yaxis": parts.error_axis("mean squared error", [rung.mse for rung in [*every, chosen]]),
        "margin": {"l": 74, "r": 16, "t": 8, "b": 84},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": -0.15, "yanchor": "top", "font": {"color": canvas.ink}},
    }
    if network:
        traces += [_accuracies(name, rungs, number) for number, (name, rungs) in enumerate(ways.items())]
        if chosen.accuracy is not None:
            traces.append(_ring([chosen.network_bits], [100 * chosen.accuracy.value], "x2", "y2"))
        bits = [rung.network_bits for rung in every]
        layout["xaxis2"] = {
            **_bits_axis("bits per value of the network", bits),
            "domain": [ACCURACY, 1.0],
            "anchor": "y2",
        }
        layout["yaxis2"] = theme.axis("accuracy, %", range=[0, 105], anchor="x2", side="left")
        if plain is not None:
            layout |= _plain(plain)
    return theme.figure(traces, HEIGHT, canvas, **layout)


def describe_rungs(ways: Mapping[str, Sequence[Rung]]) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{way}: "
        + "; ".join(
            f"{rung.name} {short(rung.mse)} at {short(rung.bits, 4)} bits"
            + (f", network {accuracy(rung.accuracy.value)}" if rung.accuracy is not None else "")
            for rung in rungs
        )
        for way, rungs in ways.items()
    )
    return (
        "Mean squared error of the tensor and accuracy of the network against bits per value. " + ". ".join(said) + "."
    )


def _bits_axis(title: str, bits: Sequence[float]) -> Layout:
    low, high = min(bits), max(bits)
    pad = 0.08 * (high - low) or 0.5
    return theme.axis(title, range=[low - pad, high + 2.4 * pad])


def _labels(x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> list[str]:
    near = NEAR[0] * (max(x) - min(x) or 1.0), NEAR[1] * (max(y) - min(y) or 1.0)
    return parts.shared_labels(x, y, names, near)


def _points(name: str, number: int, x: Sequence[float], y: Sequence[float | None], names: Sequence[str]) -> Trace:
    color, symbol = STYLES[number % len(STYLES)]
    return {
        "type": "scatter",
        "name": name,
        "x": list(x),
        "y": list(y),
        "customdata": list(names),
        "mode": "markers+text",
        "textposition": "middle right" if number else "top right",
        "textfont": {"size": 11, "color": color},
        "marker": {"color": color, "size": 9, "symbol": symbol, "line": {"width": 2, "color": color}},
    }


def _errors(way: str, rungs: Sequence[Rung], number: int) -> Trace:
    x, y, names = [r.bits for r in rungs], [r.mse or None for r in rungs], [r.name for r in rungs]
    trace = _points(way, number, x, y, names)
    trace["text"] = _logarithmic_labels(x, [r.mse for r in rungs], names)
    trace["hovertemplate"] = "%{customdata}: %{y:.3g} at %{x:.3f} bits<extra>" + way + "</extra>"
    return trace


def _logarithmic_labels(x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> list[str]:
    return _labels(x, [math.log(max(value, 1e-300)) for value in y], names)


def _accuracies(way: str, rungs: Sequence[Rung], number: int) -> Trace:
    known = [(rung, rung.accuracy) for rung in rungs if rung.accuracy is not None]
    x, y, names = [r.network_bits for r, _ in known], [100 * a.value for _, a in known], [r.name for r, _ in known]
    trace = _points(way, number, x, y, names)
    trace |= {"xaxis": "x2", "yaxis": "y2", "showlegend": False, "text": _labels(x, y, names) if x else []}
    trace["hovertemplate"] = "%{customdata}: %{y:.1f} % at %{x:.3f} bits<extra>" + way + "</extra>"
    trace["error_y"] = {
        "type": "data",
        "symmetric": False,
        "array": [100 * (a.interval[1] - a.value) for _, a in known],
        "arrayminus": [100 * (a.value - a.interval[0]) for _, a in known],
        "width": 0,
        "thickness": 1,
        "color": STYLES[number % len(STYLES)][0],
    }
    return trace


def _ring(x: list[float], y: list[float | None], xaxis: str, yaxis: str = "y") -> Trace:
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


def _plain(plain: Accuracy) -> Layout:
    """Return a dashed line at the accuracy of floating point, named above it."""
    level = 100 * plain.value
    line = {"color": theme.NEUTRAL, "dash": "dash", "width": 1}
    place = {"xref": "x2 domain", "yref": "y2", "xanchor": "right", "yanchor": "bottom"}
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
        "annotations": [parts.note(f"float32 {accuracy(plain.value)}", 1, level, theme.NEUTRAL, **place)],
    }
