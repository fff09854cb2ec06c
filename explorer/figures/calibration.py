"""What calibration data does: ranges as batches are seen, and accuracy against their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.clipping import SYMBOLS
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short
from quant_engine.network import Score

HEIGHT = 330
DASHES = ("solid", "dash", "dot", "dashdot")
COLORS = (theme.QUANTIZED, theme.ERROR, theme.NEUTRAL, theme.ORIGINAL)


@dataclass(frozen=True)
class Seen:
    """The β of every way of calibrating after each batch, and the greatest value of each batch alone."""

    samples: Sequence[int]
    betas: Mapping[str, Sequence[float]]
    batches: Sequence[float]


def seen_figure(seen: Seen, canvas: Canvas) -> go.Figure:
    """Draw β against the number of samples seen."""
    traces = [
        _line(name, seen.samples, values, number, "%{x} samples: β = %{y:.4g}")
        for number, (name, values) in enumerate(seen.betas.items())
    ]
    own = _line(
        phrase("calibration", "each_batch_alone"),
        seen.samples,
        seen.batches,
        3,
        phrase("calibration", "batch_hover"),
    )
    return _figure([*traces, {**own, "mode": "markers"}], "β", canvas, rangemode="tozero")


def describe_seen(seen: Seen) -> str:
    """Say in words what the figure shows."""
    said = "; ".join(f"{name} {short(b[0])} → {short(b[-1])}" for name, b in seen.betas.items())
    return phrase("calibration", "described_ranges", first=seen.samples[0], last=seen.samples[-1], said=said)


def study_figure(points: Mapping[str, Mapping[int, Score]], plain: Score, canvas: Canvas) -> go.Figure:
    """Draw accuracy with its 95 % interval against the number of samples, one line for each way of calibrating."""
    traces = []
    for number, (name, by_samples) in enumerate(points.items()):
        found = list(by_samples.values())
        line = _line(name, list(by_samples), [100 * a.value for a in found], number, "%{x} samples: %{y:.1f} %")
        line["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [100 * (a.interval[1] - a.value) for a in found],
            "arrayminus": [100 * (a.value - a.interval[0]) for a in found],
            "width": 0,
        }
        traces.append(line)
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 100 * plain.value, "y1": 100 * plain.value}
    dashed = {**level, "line": {"color": theme.NEUTRAL, "dash": "dash", "width": 1}}
    named = {"xref": "paper", "xanchor": "right", "yanchor": "bottom"}
    label = elements.note("float32", 1, 100 * plain.value, theme.NEUTRAL, **named)
    return _figure(traces, "accuracy, %", canvas, shapes=[dashed], annotations=[label])


def describe_study(points: Mapping[str, Mapping[int, Score]]) -> str:
    """Say in words what the figure shows."""
    said = (
        f"{name}: " + ", ".join(f"{n} samples {100 * found.value:.1f} %" for n, found in by_samples.items())
        for name, by_samples in points.items()
    )
    return phrase("calibration", "described_accuracy") + "; ".join(said)


def _figure(traces: Sequence[Trace], title: str, canvas: Canvas, **options: object) -> go.Figure:
    around = {name: options.pop(name, []) for name in ("shapes", "annotations")}
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        margin={"l": 58, "r": 8, "t": 8, "b": 96},
        xaxis=theme.axis("calibration samples seen", type="log", dtick=0.30103),
        yaxis=theme.axis(title, nticks=6, **options),
        **around,
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.26, "yanchor": "top"},
    )


def _line(name: str, x: Sequence[int], y: Sequence[float], number: int, hover: str) -> Trace:
    color = COLORS[number % len(COLORS)]
    return {
        "type": "scatter",
        "name": name,
        "x": list(x),
        "y": list(y),
        "mode": "lines+markers",
        "line": {"color": color, "dash": DASHES[number % len(DASHES)], "width": 2},
        "marker": {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8, "color": color},
        "hovertemplate": f"{hover}<extra>{name}</extra>",
    }
