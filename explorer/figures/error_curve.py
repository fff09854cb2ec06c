"""Error against clipping value, a curve for each bit width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from explorer.figures import theme
from explorer.numbers import short
from explorer.results import ClipCurve

HEIGHT = 290
LABEL_DECADES = 0.25  # labels closer than this would overlap


def error_curve_figure(
    curves: Sequence[ClipCurve], bits: int, clip: float, error: float, sigma: float, revision: str
) -> go.Figure:
    """Draw all curves, the chosen bit width's in front, with the current setting (✕) and every optimum (○)."""
    figure = go.Figure()
    for curve in sorted(curves, key=lambda c: c.bits == bits):
        _add_curve(figure, curve, chosen=curve.bits == bits)
    _add_labels(figure, curves, bits)
    figure.add_trace(
        go.Scatter(
            x=[clip],
            y=[error],
            mode="markers",
            marker={"symbol": "x", "size": 12, "color": theme.ORIGINAL, "line": {"width": 1, "color": "white"}},
            hovertemplate="now: β = %{x:.4g}, error %{y:.3g}<extra></extra>",
        )
    )
    _add_sigma_axis(figure, sigma)
    figure.update_yaxes(type="log", title_text="MSE", exponentformat="power", dtick=1)
    figure.update_xaxes(title_text="clipping value β")
    figure = theme.finish(figure, HEIGHT, revision)
    return figure.update_layout(margin={**theme.MARGIN, "r": 52, "t": 24})


def describe_error_curve(curves: Sequence[ClipCurve], bits: int, clip: float, error: float) -> str:
    """Say in words what the curves show."""
    chosen = next(curve for curve in curves if curve.bits == bits)
    return (
        f"Mean squared error against the clipping value for {', '.join(str(c.bits) for c in curves)} bits. "
        f"At {bits} bits the least error is {short(chosen.best_error)} at β = {short(chosen.best_clip)}; "
        f"now it is {short(error)} at β = {short(clip)}."
    )


def _add_curve(figure: go.Figure, curve: ClipCurve, chosen: bool) -> None:
    color = theme.QUANTIZED if chosen else theme.NEUTRAL
    positive = curve.errors > 0
    figure.add_trace(
        go.Scatter(
            x=curve.clips[positive],
            y=curve.errors[positive],
            mode="lines",
            line={"color": color, "width": 3 if chosen else 1.3},
            customdata=curve.lows[positive],
            hovertemplate=f"{curve.bits} bits: β = %{{x:.4g}}, error %{{y:.3g}}<extra></extra>",
        )
    )
    if curve.best_error > 0:
        figure.add_trace(
            go.Scatter(
                x=[curve.best_clip],
                y=[curve.best_error],
                mode="markers",
                marker={"symbol": "circle" if chosen else "circle-open", "size": 11 if chosen else 8, "color": color},
                hovertemplate=f"{curve.bits} bits, least error: β = %{{x:.4g}}, %{{y:.3g}}<extra></extra>",
            )
        )


def _add_labels(figure: go.Figure, curves: Sequence[ClipCurve], bits: int) -> None:
    """Name every curve at its right end, the chosen one first; one that would cover another stays unnamed."""
    placed: list[float] = []
    for curve in sorted(curves, key=lambda c: c.bits != bits):
        if curve.errors[-1] <= 0:
            continue
        height = float(np.log10(curve.errors[-1]))
        if any(abs(height - other) < LABEL_DECADES for other in placed):
            continue
        placed.append(height)
        chosen = curve.bits == bits
        figure.add_annotation(
            x=curve.clips[-1],
            y=height,
            text=f"<b>{curve.bits} bits</b>" if chosen else f"{curve.bits} bits",
            showarrow=False,
            xanchor="left",
            xshift=4,
            font={"color": theme.QUANTIZED if chosen else theme.NEUTRAL, "size": 12},
        )


def _add_sigma_axis(figure: go.Figure, sigma: float) -> None:
    """Mark whole multiples of the standard deviation along the top."""
    if sigma <= 0:
        return
    reach = max((trace.x[-1] for trace in figure.data if len(trace.x)), default=0.0)
    stride = max(1, int(np.ceil(reach / sigma / 8)))
    for multiple in range(stride, int(reach / sigma) + 1, stride):
        figure.add_annotation(
            x=multiple * sigma,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            text=f"{multiple}σ",
            showarrow=False,
            font={"size": 11, "color": theme.NEUTRAL},
        )
