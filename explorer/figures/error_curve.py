"""Error against clipping value, a curve for each bit width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from explorer.figures import theme
from explorer.figures.theme import Canvas, Layout, Trace
from explorer.notation import short
from explorer.results import ClipCurve

HEIGHT = 290
LABEL_DECADES = 0.25  # labels closer than this would overlap
INVISIBLE_MARKERS = {  # a line alone cannot be clicked
    "marker": {"opacity": 0, "size": 10},
    "selected": {"marker": {"opacity": 0}},
    "unselected": {"marker": {"opacity": 0}},
}


def error_curve_figure(
    curves: Sequence[ClipCurve], bits: int, clip: float, error: float, sigma: float, canvas: Canvas
) -> go.Figure:
    """Draw all curves, the chosen bit width's in front, with the current setting (✕) and every optimum (○)."""
    reach = 1.02 * max(float(curve.clips[-1]) for curve in curves)
    ordered = sorted(curves, key=lambda curve: curve.bits == bits)
    traces = [trace for curve in ordered for trace in _curve(curve, chosen=curve.bits == bits)]
    if clip <= reach and error > 0:  # a marker far outside would only stretch the axes
        traces.append(_current(clip, error))
    return theme.figure(
        traces,
        HEIGHT,
        canvas,
        xaxis=theme.axis("clipping value β", range=[0.0, reach]),
        yaxis=theme.axis("MSE", type="log", exponentformat="power", dtick=_decade_ticks(curves)),
        annotations=[*_labels(curves, bits), *_sigma_marks(sigma, reach)],
        margin={"l": 58, "r": 52, "t": 24, "b": 44},
    )


def describe_error_curve(curves: Sequence[ClipCurve], bits: int, clip: float, error: float) -> str:
    """Say in words what the curves show."""
    chosen = next(curve for curve in curves if curve.bits == bits)
    return (
        f"Mean squared error against the clipping value for {', '.join(str(c.bits) for c in curves)} bits. "
        f"At {bits} bits the least error is {short(chosen.best_error)} at β = {short(chosen.best_clip)}; "
        f"now it is {short(error)} at β = {short(clip)}."
    )


def _curve(curve: ClipCurve, chosen: bool) -> list[Trace]:
    """Return the line of one bit width and its optimum."""
    color = theme.QUANTIZED if chosen else theme.NEUTRAL
    positive = curve.errors > 0
    line = {
        "type": "scatter",
        "name": f"{curve.bits} bits",
        "x": curve.clips[positive],
        "y": curve.errors[positive],
        "mode": "lines+markers" if chosen else "lines",
        "line": {"color": color, "width": 3 if chosen else 1.3},
        **(INVISIBLE_MARKERS if chosen else {}),
        "customdata": curve.lows[positive],
        "hovertemplate": "β = %{x:.4g}, error %{y:.3g}",
    }
    if curve.best_error <= 0:
        return [line]
    optimum = {
        "type": "scatter",
        "name": f"{curve.bits} bits, least",
        "x": [curve.best_clip],
        "y": [curve.best_error],
        "mode": "markers",
        "marker": {"symbol": "circle" if chosen else "circle-open", "size": 11 if chosen else 8, "color": color},
        "hovertemplate": "β = %{x:.4g}, error %{y:.3g}",
    }
    return [line, optimum]


def _current(clip: float, error: float) -> Trace:
    return {
        "type": "scatter",
        "name": "now",
        "x": [clip],
        "y": [error],
        "mode": "markers",
        "marker": {"symbol": "x", "size": 12, "color": theme.ORIGINAL, "line": {"width": 1, "color": "white"}},
        "hovertemplate": "β = %{x:.4g}, error %{y:.3g}",
    }


def _decade_ticks(curves: Sequence[ClipCurve]) -> int | str:
    """Return ticks at every decade, or inside it where the curves span little more than one."""
    errors = np.concatenate([curve.errors for curve in curves])
    errors = errors[errors > 0]
    return 1 if errors.size and np.log10(errors.max() / errors.min()) > 1.5 else "D2"


def _labels(curves: Sequence[ClipCurve], bits: int) -> list[Layout]:
    """Name every curve at its right end, the chosen one first; one that would cover another stays unnamed."""
    placed: list[float] = []
    labels = []
    for curve in sorted(curves, key=lambda c: c.bits != bits):
        if curve.errors[-1] <= 0:
            continue
        height = float(np.log10(curve.errors[-1]))
        if any(abs(height - other) < LABEL_DECADES for other in placed):
            continue
        placed.append(height)
        chosen = curve.bits == bits
        labels.append(
            {
                "x": curve.clips[-1],
                "y": height,
                "text": f"<b>{curve.bits} bits</b>" if chosen else f"{curve.bits} bits",
                "showarrow": False,
                "xanchor": "left",
                "xshift": 4,
                "font": {"color": theme.QUANTIZED if chosen else theme.NEUTRAL, "size": 12},
            }
        )
    return labels


def _sigma_marks(sigma: float, reach: float) -> list[Layout]:
    """Return whole multiples of the standard deviation along the top."""
    if sigma <= 0:
        return []
    stride = max(1, int(np.ceil(reach / sigma / 8)))
    return [
        {
            "x": multiple * sigma,
            "y": 1.0,
            "yref": "paper",
            "yanchor": "bottom",
            "text": f"{multiple}σ",
            "showarrow": False,
            "font": {"size": 11, "color": theme.NEUTRAL},
        }
        for multiple in range(stride, int(reach / sigma) + 1, stride)
    ]
