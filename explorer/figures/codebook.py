"""Values snap to codewords: a histogram cut into cells, real values on their way, and how often each code is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, Trace
from explorer.language import one, plain_words, several
from explorer.notation import count, short
from explorer.results import BlockView

HEIGHT = 400
HISTOGRAM, SNAP, CODES = "y", "y2", "y3"
MAX_LABELLED = 16
LONGEST_PATTERN = 3  # bits of a pattern that fits over its bar


@dataclass(frozen=True)
class Snapping:
    """What the figure shows: the tensor's view, a sample of its values, and the code that is picked out.

    Unless they are `counted`, it does not show which codes are used.
    """

    view: BlockView
    sample: NDArray[np.float32]
    code: int
    unit: str
    counted: bool = True


def codebook_figure(shown: Snapping, canvas: Canvas) -> go.Figure:
    """Draw the three rows over one axis of real values."""
    view, ends, said = shown.view, elements.sight(shown.view), plain_words("figures")["codebook"]
    bins = said["bins"].format(units=several(shown.unit))
    bars, top, notes = elements.outline(view.distribution, (view.levels[0], view.levels[-1]), HISTOGRAM, shown.unit)
    chosen = shown.code - view.first_code
    use, highest = _use(shown)
    if shown.counted:
        told = said["lines"].format(n=count(shown.sample.size), total=count(view.distribution.size))
        above = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        notes = [*notes, elements.note(told, 0, 0.52, canvas.ink, **above)]
    shades = [band for row in (HISTOGRAM, SNAP) for band in elements.cells(view, ends, row, chosen)]
    return theme.figure(
        [*bars, *(_paths(shown) if shown.counted else []), elements.codewords(view, ends, SNAP, 0.0), use],
        HEIGHT,
        canvas,
        margin={**theme.MARGIN, "l": 84, "b": 44},
        xaxis=theme.axis(said["axis"].format(unit=one(shown.unit)), range=list(ends), anchor=CODES),
        yaxis=theme.axis(bins, domain=[0.6, 1.0], nticks=5, range=[0, 1.05 * top], separatethousands=True),
        yaxis2=theme.axis("", domain=[0.31, 0.52], tickvals=[0, 1], ticktext=["r̃", "r"], range=[-0.25, 1.15]),
        yaxis3=theme.axis(said["share"], domain=[0.0, 0.25], nticks=4, range=[0, highest]),
        shapes=shades,
        annotations=notes,
    )


def describe_codebook(shown: Snapping) -> str:
    """Say in words what the figure shows."""
    view, said = shown.view, plain_words("figures")["codebook"]
    return str(
        said["described"].format(
            n=count(view.distribution.size),
            units=several(shown.unit),
            cells=view.levels.size,
            scale=short(view.scale),
            low=short(float(view.levels[0])),
            high=short(float(view.levels[-1])),
            sample=shown.sample.size,
            used=said["used"].format(n=int((view.counts > 0).sum())) if shown.counted else "",
            code=count(shown.code),
        )
    )


def _paths(shown: Snapping) -> list[Trace]:
    """Return a sample of values, each joined to its codeword."""
    view = shown.view
    buckets = np.searchsorted(view.thresholds, shown.sample, side="right")
    ends = np.full(3 * shown.sample.size, np.nan)
    ends[0::3], ends[1::3] = shown.sample, view.levels[buckets]
    return [
        {
            "type": "scatter",
            "x": ends,
            "y": np.tile([1.0, 0.0, np.nan], shown.sample.size),
            "yaxis": SNAP,
            "mode": "lines",
            "line": {"color": theme.FAINT, "width": 1},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "name": plain_words("figures")["codebook"]["values"],
            "x": shown.sample,
            "y": np.ones(shown.sample.size),
            "yaxis": SNAP,
            "mode": "markers",
            "marker": {"color": theme.ORIGINAL, "size": 5},
            "customdata": view.levels[buckets],
            "hovertemplate": "r = %{x:.4g} → r̃ = %{customdata:.4g}<extra></extra>",
        },
    ]


def _use(shown: Snapping) -> tuple[Trace, float]:
    """Return the share of values in each code, named by its bits where they fit, and the end of the axis."""
    view = shown.view
    shares = 100.0 * view.counts / view.counts.sum() * shown.counted
    codes = np.arange(view.levels.size) + view.first_code
    few = codes.size <= MAX_LABELLED
    bits = (view.levels.size - 1).bit_length()
    named = count if bits > LONGEST_PATTERN else lambda code: pattern(code, bits)
    names = [named(int(code)) for code in codes] if few else None
    colors = [theme.ORIGINAL if code == shown.code else theme.QUANTIZED for code in codes]
    trace = {
        "type": "bar",
        "x": view.levels,
        "y": shares,
        "yaxis": CODES,
        "width": 0.85 * view.scale,
        "marker": {"color": colors, "line": {"width": 0}},
        "customdata": codes,
        "text": names,
        "textposition": "outside" if few else "none",
        "textangle": 0,
        "cliponaxis": False,
        "hovertemplate": f"{plain_words('figures')['codebook']['code']} %{{customdata}}: %{{y:.3g}} %<extra></extra>",
    }
    return trace, (1.45 if few else 1.08) * (float(shares.max()) or 100.0)


def pattern(code: int, bits: int) -> str:
    """Return the bits of a code as they are stored: two's complement where it is negative.

    >>> pattern(-3, 4), pattern(5, 4)
    ('1101', '0101')
    """
    return format(code & ((1 << bits) - 1), f"0{bits}b")
