"""Lloyd's iteration so far: the error of every step above the least there is, and the way of every centroid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.figures.words import phrase
from explorer.notation import short
from quant_engine.distribution import LloydStep

HEIGHT = 460
ERRORS, PLACES = "y", "y2"
MIN_STEPS = 10  # that the axis has room for
ROOM_BELOW = 0.75  # times the least error, for its name
MAX_MARKED = 30  # steps that are marked one by one


def lloyd_figure(steps: Sequence[LloydStep], min_mse: float, unit: str, canvas: Canvas) -> go.Figure:
    """Draw error and places by step, from the start to now; the dashed line is the least error of all."""
    reach = max(len(steps) - 1, MIN_STEPS)
    errors = [step.mse for step in steps]
    dashed = {"type": "line", "x0": 0, "x1": 1, "xref": "x domain", "y0": min_mse, "y1": min_mse, "yref": ERRORS}
    shapes = [{**dashed, "line": {"color": theme.NEUTRAL, "dash": "dash", "width": 2}}] if min_mse > 0 else []
    named = {"xref": "x domain", "xanchor": "right", "yanchor": "top", "yref": ERRORS}
    notes = [elements.note("least of all", 1.0, np.log10(min_mse), canvas.ink, **named)] if min_mse > 0 else []
    if not any(errors):
        notes.append(
            elements.note(phrase("lloyd", "no_error"), 0.5, 0.5, canvas.ink, xref="x domain", yref=f"{ERRORS} domain")
        )
    return theme.figure(
        [_errors(errors), *_ways(steps)],
        HEIGHT,
        canvas,
        margin={"l": 66, "r": 12, "t": 10, "b": 44},
        xaxis=theme.axis("step", range=[-0.02 * reach, 1.02 * reach], anchor=PLACES, rangemode="tozero"),
        yaxis={**elements.error_axis("MSE", [*errors, ROOM_BELOW * min_mse]), "domain": [0.6, 1.0]},
        yaxis2=theme.axis(f"{unit} r", domain=[0.0, 0.53], nticks=6),
        shapes=shapes,
        annotations=notes,
    )


def describe_lloyd(steps: Sequence[LloydStep], min_mse: float) -> str:
    """Say in words what the figure shows."""
    return phrase(
        "lloyd",
        "described",
        first_mse=short(steps[0].mse),
        last_mse=short(steps[-1].mse),
        steps=len(steps) - 1,
        min_mse=short(min_mse),
        size=steps[-1].centroids.size,
    )


def _errors(errors: Sequence[float]) -> Trace:
    return {
        "type": "scatter",
        "name": "MSE",
        "y": errors,
        "yaxis": ERRORS,
        "mode": "lines+markers" if len(errors) <= MAX_MARKED else "lines",
        "line": {"color": theme.ERROR, "width": 2.5},
        "marker": {"color": theme.ERROR, "size": 7},
        "hovertemplate": "step %{x}: %{y:.5g}<extra></extra>",
    }


def _ways(steps: Sequence[LloydStep]) -> list[Trace]:
    """Return the way of every threshold and of every centroid, each kind as one path."""
    marked = len(steps) == 1
    kinds = (
        ("thresholds", [step.thresholds for step in steps], theme.FAINT, 1),
        ("centroids", [step.centroids for step in steps], theme.QUANTIZED, 2),
    )
    return [
        {
            "type": "scatter",
            "name": name,
            **_path(rows),
            "yaxis": PLACES,
            "mode": "markers" if marked else "lines",
            "line": {"color": color, "width": width},
            "marker": {"color": color, "size": 3 + 2 * width},
            "hovertemplate": f"step %{{x}}: %{{y:.4g}}<extra>{name}</extra>",
        }
        for name, rows, color, width in kinds
    ]


def _path(rows: Sequence[NDArray[np.float64]]) -> Trace:
    """Return places by step as one broken line; rows may get shorter, as centroids without values go."""
    longest = max(row.size for row in rows)
    table = np.full((longest, len(rows) + 1), np.nan)
    for number, row in enumerate(rows):
        table[: row.size, number] = row
    return {"x": np.tile(np.append(np.arange(len(rows)), np.nan), longest), "y": table.reshape(-1)}
