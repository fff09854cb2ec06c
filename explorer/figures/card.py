"""Accuracy against bits, from the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from explorer.figures import elements, error_rate, theme
from explorer.figures.error_rate import place
from explorer.figures.theme import Canvas
from explorer.figures.words import phrase
from explorer.notation import accuracy
from quant_engine.network import Accuracy
from quant_engine.studies import CompensationResult, MethodResult

HEIGHT = 380
NEAR = 0.025, 0.06  # of the spans of bits and of accuracy: closer, numbers would lie on each other
LANE_HEIGHT = 26
MARGIN = 0.05  # of the axis of error rates, behind the best
WIDTHS = {  # color by the bits of activations, symbol by those of weights
    "W8A8": (theme.ORIGINAL, "circle-open"),
    "W4A8": (theme.ORIGINAL, "circle"),
    "W3A8": (theme.ORIGINAL, "square"),
    "W2A8": (theme.ORIGINAL, "diamond"),
    "W4A4": (theme.QUANTIZED, "circle"),
}
STYLES = {
    "per tensor, min–max": (theme.ORIGINAL, "dot", "circle-open"),
    "per tensor, least MSE": (theme.ORIGINAL, "solid", "circle"),
    "per channel, min–max": (theme.QUANTIZED, "dot", "square-open"),
    "per channel, least MSE": (theme.QUANTIZED, "solid", "square"),
}


def card_figure(rows: Mapping[str, Mapping[int, Accuracy]], plain: Accuracy, canvas: Canvas) -> go.Figure:
    """Draw accuracy with its 95 % interval for each way of quantizing, and floating point as a line."""
    return theme.figure(
        [_line(name, by_bits) for name, by_bits in rows.items()],
        HEIGHT,
        canvas,
        xaxis=theme.axis(phrase("card", "weight_bits_axis"), dtick=1),
        yaxis=theme.axis("accuracy, %", range=[0, 102]),
        **_float32_line(plain, 1, "right"),
        margin={**theme.MARGIN, "l": 62, "b": 44},
        showlegend=True,
        legend={"x": 0.98, "y": 0.08, "xanchor": "right", "yanchor": "bottom"},
    )


def methods_figure(methods: Mapping[str, MethodResult], plain: Accuracy, canvas: Canvas) -> go.Figure:
    """Draw accuracy with its 95 % interval against bits per value, methods numbered as in the table."""
    ordered = sorted(methods.items(), key=lambda entry: entry[1].bits_per_value)
    found = [result for _, result in ordered]
    bits = [result.bits_per_value for result in found]
    level = [100 * result.accuracy.value for result in found]
    points = {
        "type": "scatter",
        "x": bits,
        "y": level,
        "error_y": _intervals([result.accuracy for result in found]),
        "mode": "markers+text",
        "text": _numbers(bits, level),
        "textposition": "middle right",
        "marker": {"size": 9, "color": theme.QUANTIZED},
        "customdata": [name for name, _ in ordered],
        "hovertemplate": "%{customdata}<br>%{x:.3f} bits, %{y:.1f} %<extra></extra>",
    }
    return theme.figure(
        [points],
        HEIGHT,
        canvas,
        xaxis=theme.axis(phrase("card", "bits_per_value")),
        yaxis=theme.axis("accuracy, %"),
        **_float32_line(plain, 0, "left"),
        margin={**theme.MARGIN, "l": 62, "b": 44},
    )


def compensation_figure(results: Sequence[CompensationResult], plain: Accuracy, canvas: Canvas) -> go.Figure:
    """Draw a lane for each method with its accuracy at each pair of widths, and from least to greatest over seeds."""
    methods = list(dict.fromkeys(result.method for result in results))
    reached = [plain.value, *(result.spread[1] for result in results)]
    return theme.figure(
        [
            _upright(plain, methods),
            *(_seeds(bits, [result for result in results if result.bits == bits]) for bits in WIDTHS),
        ],
        LANE_HEIGHT * len(methods) + 110,
        canvas,
        xaxis=error_rate.axis("accuracy, %", 0.0, max(map(place, reached)) + MARGIN),
        yaxis=theme.axis(
            "",
            categoryorder="array",
            categoryarray=methods[::-1],
            showgrid=True,
            gridcolor="rgba(123, 135, 148, 0.25)",
        ),
        margin={**theme.MARGIN, "l": 152, "b": 52, "t": 34},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.0, "xanchor": "left", "yanchor": "bottom"},
    )


def describe_compensation(results: Sequence[CompensationResult]) -> str:
    """Say in words what the figure shows."""
    said = "; ".join(f"{result.method} {accuracy(result.mean)}" for result in results if result.bits == "W3A8")
    return phrase("card", "described_methods", said=said)


def _upright(plain: Accuracy, methods: Sequence[str]) -> theme.Trace:
    """Return the dashed line of floating point through all lanes."""
    return {
        "type": "scatter",
        "name": f"float32 {accuracy(plain.value)}",
        "x": [place(plain.value)] * 2,
        "y": [methods[0], methods[-1]],
        "mode": "lines",
        "line": {"color": theme.NEUTRAL, "dash": "dash", "width": 1},
        "hoverinfo": "skip",
    }


def _seeds(bits: str, results: Sequence[CompensationResult]) -> theme.Trace:
    color, symbol = WIDTHS[bits]
    at = [place(result.mean) for result in results]
    spread = {
        "type": "data",
        "symmetric": False,
        "array": [place(result.spread[1]) - here for result, here in zip(results, at, strict=True)],
        "arrayminus": [here - place(result.spread[0]) for result, here in zip(results, at, strict=True)],
        "width": 0,
        "color": color,
        "thickness": 2,
    }
    return {
        "type": "scatter",
        "name": bits,
        "x": at,
        "y": [result.method for result in results],
        "error_x": spread,
        "mode": "markers",
        "marker": {"symbol": symbol, "size": 9, "color": color},
        "customdata": [accuracy(result.mean) for result in results],
        "hovertemplate": f"%{{y}}, {bits}: %{{customdata}}<extra></extra>",
    }


def _numbers(bits: Sequence[float], level: Sequence[float]) -> list[str]:
    """Return the numbers of the points, from 1, as they are labelled."""
    names = [str(number) for number, _ in enumerate(bits, 1)]
    near = NEAR[0] * max(max(bits) - min(bits), 1e-9), NEAR[1] * max(max(level) - min(level), 1.0)
    return elements.shared_labels(bits, level, names, near)


def _float32_line(plain: Accuracy, x: float, side: str) -> theme.LayoutPart:
    """Return a dashed line at the accuracy of floating point, named at one side."""
    level = 100 * plain.value
    line = {"color": theme.NEUTRAL, "dash": "dash", "width": 1}
    text = f"float32 {accuracy(plain.value)}"
    place = {"xref": "paper", "xanchor": side, "yanchor": "bottom"}
    return {
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level, "line": line}],
        "annotations": [elements.note(text, x, level, theme.NEUTRAL, **place)],
    }


def describe_methods(methods: Mapping[str, MethodResult], kind: str) -> str:
    """Say in words what the figure shows."""
    said = "; ".join(
        f"{name} {result.bits_per_value:.2f} bits, {accuracy(result.accuracy.value)}"
        for name, result in methods.items()
    )
    return phrase("card", "described_sizes", kind=kind, said=said)


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
    return phrase("card", "described_widths", value=accuracy(plain.value), at_four=at_four)
