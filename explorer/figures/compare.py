"""Several settings side by side, over shared axes: where values come back, their errors, and bits against error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.figures.words import phrase
from explorer.notation import decibels, short
from explorer.results import Compared
from quant_engine import Distribution

ROW_HEIGHT = 120
ROW_TITLE = 0.2  # of a row
GAP = 0.06  # of the width, between values and errors
BINS = 160
ERROR_REACH = 4.0  # root mean squared errors of the worst setting
RATE_HEIGHT = 360
MAX_DB = 150.0  # what is better, or without any error, is drawn here and named
NEAR = 0.06, 0.08  # of the spans of bits and of quality: closer, names would lie on each other

Array = NDArray[np.float64]


def value_edges(values: Distribution) -> Array:
    """Return the bins of values."""
    return np.linspace(*elements.span(values), BINS + 1)


def error_edges(worst_rmse: float) -> Array:
    """Return the bins of errors, wide enough for the worst setting."""
    reach = ERROR_REACH * (worst_rmse or 1e-9)
    return np.linspace(-reach, reach, BINS + 1)


def compare_figure(rows: Sequence[Compared], values: Distribution, worst_rmse: float, canvas: Canvas) -> go.Figure:
    """Draw a row for each setting: the values with where they come back, and the errors."""
    edges, errors = value_edges(values), error_edges(worst_rmse)
    counts, at = values.histogram(BINS)
    traces: list[Trace] = []
    notes: list[LayoutPart] = []
    axes: dict[str, LayoutPart] = {}
    max_error = max(float(row.errors.max()) for row in rows)
    for number, row in enumerate(rows):
        top = 1 - number / len(rows)
        domain = [top - (1 - ROW_TITLE) / len(rows), top - ROW_TITLE / len(rows)]
        left, right = 2 * number + 1, 2 * number + 2
        hidden = {"showticklabels": False, "ticks": "", "showline": False, "domain": domain}
        for place, highest in ((left, 1.05 * float(counts.max())), (right, 1.05 * max_error)):
            axes[f"yaxis{place if place > 1 else ''}"] = theme.axis(
                "", anchor="x" if place == left else "x2", range=[0, highest], **hidden
            )
        traces += [
            _area(at, counts, "x", left, theme.ORIGINAL, theme.CLIPPED_FILL, "values"),
            _spikes(edges, row.returned, float(counts.max()), left),
            _area(errors, row.errors, "x2", right, theme.ERROR, theme.ERROR_FILL, "errors"),
        ]
        title = f"<b>{number_of(number)}</b> {row.name} · SQNR {decibels(row.outcome.report.sqnr_db)}"
        place_of = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        notes.append(elements.note(title, 0, domain[1], canvas.ink, **place_of))
    middle = 0.5
    bottom = f"y{2 * len(rows) - 1 if len(rows) > 1 else ''}"
    return theme.figure(
        traces,
        ROW_HEIGHT * len(rows) + 50,
        canvas,
        margin={"l": 8, "r": 8, "t": 8, "b": 44},
        xaxis=theme.axis(
            phrase("compare", "values_axis"),
            range=[edges[0], edges[-1]],
            domain=[0, middle - GAP / 2],
            anchor=bottom,
        ),
        xaxis2=theme.axis(
            "error r̃ − r", range=[errors[0], errors[-1]], domain=[middle + GAP / 2, 1], anchor=f"y{2 * len(rows)}"
        ),
        annotations=notes,
        **axes,
    )


def rate_figure(rows: Sequence[Compared], canvas: Canvas) -> go.Figure:
    """Draw signal to noise against bits per value, everything counted."""
    bits = [row.outcome.storage.bits_per_value for row in rows]
    exact = [row.outcome.report.sqnr_db > MAX_DB for row in rows]
    quality = [min(row.outcome.report.sqnr_db, MAX_DB) for row in rows]
    reach = max(max(bits) - min(bits), 1.0)
    low, high = min(quality), max(quality)
    room = max(0.25 * (high - low), 3.0)
    near = NEAR[0] * reach, NEAR[1] * (high - low + 2 * room)
    points = {
        "type": "scatter",
        "x": bits,
        "y": quality,
        "mode": "markers+text",
        "text": elements.shared_labels(bits, quality, [_point_name(*point) for point in enumerate(exact)], near),
        "textposition": "top center",
        "marker": {"size": 12, "color": theme.QUANTIZED},
        "customdata": [row.name for row in rows],
        "hovertemplate": "%{customdata}<br>%{x:.4g} bits per value, %{y:.2f} dB<extra></extra>",
    }
    ends = [max(min(bits) - 0.25 * reach, 0.0), max(bits) + 0.25 * reach]
    guide = {
        "type": "scatter",
        "x": ends,
        "y": [quality[0] + 6.02 * (end - bits[0]) for end in ends],
        "mode": "lines+text",
        "text": ["", phrase("compare", "guide")],
        "textposition": "bottom left",
        "line": {"color": theme.NEUTRAL, "dash": theme.IDENTITY_DASH, "width": 1},
        "hoverinfo": "skip",
    }
    return theme.figure(
        [points] if exact[0] else [guide, points],
        RATE_HEIGHT,
        canvas,
        margin={"l": 56, "r": 8, "t": 8, "b": 44},
        xaxis=theme.axis(phrase("compare", "bits_per_value"), range=ends),
        yaxis=theme.axis("SQNR in dB", range=[low - room, high + room]),
    )


def _point_name(place: int, exact: bool) -> str:
    return f"{number_of(place)} (no error)" if exact else number_of(place)


def number_of(place: int) -> str:
    """Return what a setting is called: the present one, then the pinned ones by number."""
    return "now" if place == 0 else str(place)


def describe_compare(rows: Sequence[Compared]) -> str:
    """Say in words what the figures show."""
    said = (
        phrase(
            "compare",
            "described_setting",
            place=number_of(place),
            name=row.name,
            bits_per_value=short(row.outcome.storage.bits_per_value, 4),
            sqnr_db=decibels(row.outcome.report.sqnr_db),
        )
        for place, row in enumerate(rows)
    )
    return phrase("compare", "described_lead") + "; ".join(said) + "."


def _area(edges: Array, counts: NDArray[np.int64], x: str, y: int, line: str, fill: str, name: str) -> Trace:
    return {
        "type": "scatter",
        "name": name,
        "x": np.repeat(edges, 2),
        "y": np.concatenate([[0], np.repeat(counts, 2), [0]]),
        "xaxis": x,
        "yaxis": f"y{y if y > 1 else ''}",
        "mode": "lines",
        "fill": "tozeroy",
        "fillcolor": fill,
        "line": {"width": 1, "color": line},
        "hoverinfo": "skip",
    }


def _spikes(edges: Array, counts: NDArray[np.int64], height: float, y: int) -> Trace:
    """Return a line for every bin that values come back to, as high as its share of the fullest."""
    filled = np.flatnonzero(counts)
    middle = 0.5 * (edges[filled] + edges[filled + 1])
    high = height * counts[filled] / max(float(counts.max()), 1.0)
    return {
        "type": "scatter",
        "name": "come back",
        "x": np.repeat(middle, 3),
        "y": np.stack([np.zeros(filled.size), high, np.full(filled.size, np.nan)], axis=1).reshape(-1),
        "yaxis": f"y{y if y > 1 else ''}",
        "mode": "lines",
        "line": {"width": 2, "color": theme.QUANTIZED},
        "hovertemplate": "comes back near %{x:.4g}<extra></extra>",
    }
