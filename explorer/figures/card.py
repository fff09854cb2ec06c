"""Accuracy against bits, from the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from explorer.figures import theme
from explorer.figures.theme import Canvas
from explorer.notation import accuracy
from quant_engine.network import Accuracy, MethodResult

HEIGHT = 380
SAME_BITS = 0.02  # apart, numbers would lie on each other
STYLES = {
    "per tensor, min-max": (theme.ORIGINAL, "dot", "circle-open"),
    "per tensor, least MSE": (theme.ORIGINAL, "solid", "circle"),
    "per channel, min-max": (theme.QUANTIZED, "dot", "square-open"),
    "per channel, least MSE": (theme.QUANTIZED, "solid", "square"),
}


def card_figure(rows: Mapping[str, Mapping[int, Accuracy]], plain: Accuracy, canvas: Canvas) -> go.Figure:
    """Draw accuracy with its 95 % interval for each way of quantizing, and floating point as a line."""
    level = 100 * plain.value
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
    note = {"xref": "paper", "x": 1, "xanchor": "right", "y": level, "yanchor": "bottom", "showarrow": False}
    return theme.figure(
        [_line(name, by_bits) for name, by_bits in rows.items()],
        HEIGHT,
        canvas,
        xaxis=theme.axis("bits of every weight", dtick=1),
        yaxis=theme.axis("accuracy, %", range=[0, 102]),
        shapes=[{**shape, "line": {"color": theme.NEUTRAL, "dash": "dash", "width": 1}}],
        annotations=[{**note, "text": f"float32 {accuracy(plain.value)}", "font": {"color": theme.NEUTRAL}}],
        margin={**theme.MARGIN, "l": 62, "b": 44},
        showlegend=True,
        legend={"x": 0.98, "y": 0.08, "xanchor": "right", "yanchor": "bottom"},
    )


def methods_figure(methods: Mapping[str, MethodResult], plain: Accuracy, canvas: Canvas) -> go.Figure:
    """Draw accuracy with its 95 % interval against bits per value, methods numbered as in the table."""
    ordered = sorted(methods.items(), key=lambda entry: entry[1].bits_per_value)
    found = [result for _, result in ordered]
    level = 100 * plain.value
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
    note = {"xref": "paper", "x": 0, "xanchor": "left", "y": level, "yanchor": "bottom", "showarrow": False}
    points = {
        "type": "scatter",
        "x": [result.bits_per_value for result in found],
        "y": [100 * result.accuracy.value for result in found],
        "error_y": _intervals([result.accuracy for result in found]),
        "mode": "markers+text",
        "text": _numbers([result.bits_per_value for result in found]),
        "textposition": "middle right",
        "marker": {"size": 9, "color": theme.QUANTIZED},
        "customdata": [name for name, _ in ordered],
        "hovertemplate": "%{customdata}<br>%{x:.3f} bits, %{y:.1f} %<extra></extra>",
    }
    return theme.figure(
        [points],
        HEIGHT,
        canvas,
        xaxis=theme.axis("bits per value, everything stored counted"),
        yaxis=theme.axis("accuracy, %"),
        shapes=[{**shape, "line": {"color": theme.NEUTRAL, "dash": "dash", "width": 1}}],
        annotations=[{**note, "text": f"float32 {accuracy(plain.value)}", "font": {"color": theme.NEUTRAL}}],
        margin={**theme.MARGIN, "l": 62, "b": 44},
    )


def _numbers(bits: Sequence[float]) -> list[str]:
    """Return the number of each point, from 1; of points above each other the first has them all."""
    texts: list[str] = []
    for number, x in enumerate(bits, 1):
        first = next(place for place, other in enumerate(bits) if x - other < SAME_BITS)
        texts.append("")
        texts[first] += f", {number}" if texts[first] else str(number)
    return texts


def describe_methods(methods: Mapping[str, MethodResult]) -> str:
    """Say in words what the figure shows."""
    said = "; ".join(
        f"{name} {result.bits_per_value:.2f} bits, {accuracy(result.accuracy.value)}"
        for name, result in methods.items()
    )
    return f"Accuracy against bits per value of number formats of about four bits: {said}."


def _intervals(values: Sequence[Accuracy]) -> theme.Trace:
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (v.interval[1] - v.value) for v in values],
        "arrayminus": [100 * (v.value - v.interval[0]) for v in values],
        "width": 0,
        "color": theme.NEUTRAL,
        "thickness": 1,
    }


def _line(name: str, by_bits: Mapping[int, Accuracy]) -> theme.Trace:
    color, dash, symbol = STYLES[name]
    values = list(by_bits.values())
    return {
        "type": "scatter",
        "name": name,
        "x": list(by_bits),
        "y": [100 * v.value for v in values],
        "error_y": {**_intervals(values), "color": color, "thickness": 2},
        "mode": "lines+markers",
        "line": {"color": color, "dash": dash, "width": 2},
        "marker": {"symbol": symbol, "size": 9},
        "hovertemplate": f"{name}, %{{x}} bits: %{{y:.1f}} %<extra></extra>",
    }


def describe_card(rows: Mapping[str, Mapping[int, Accuracy]], plain: Accuracy) -> str:
    """Say in words what the figure shows."""
    at_four = "; ".join(f"{name} {accuracy(by_bits[4].value)}" for name, by_bits in rows.items())
    return f"Accuracy against the bits of every weight; float32 has {accuracy(plain.value)}. At 4 bits: {at_four}."
