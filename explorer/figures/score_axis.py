"""Scores on an axis: shares in per cent, others in their unit, on a logarithmic one where lower values are better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from explorer.figures import theme
from explorer.figures.theme import LayoutPart
from explorer.notation import is_share, short
from quant_engine.network import Score

REACH = 12  # decades on either side of 1 that are told apart: a perplexity may be infinite
MANY = 3  # decades, from which on only powers of ten are labelled


def axis_title(score: Score) -> str:
    """Return what an axis of a score is called."""
    unit = "%" if is_share(score) else score.unit
    return f"{score.name}{f', {unit}' if unit else ''}"


def scaled_value(score: Score, value: float | None = None) -> float:
    """Return a score, or another value of its kind, as figures have it: shares in per cent."""
    return (score.value if value is None else value) * (100 if is_share(score) else 1)


def scaled_interval(score: Score) -> tuple[float, float]:
    """Return the interval of a score as figures have it: shares in per cent."""
    low, high = score.interval
    return scaled_value(score, low), scaled_value(score, high)


def place(score: Score, value: float | None = None) -> float:
    """Return where a score, or another value of its kind, lies on its axis: the logarithm where lower is better.

    >>> place(Score("perplexity", 100.0, 1696, (90.0, 110.0), better="lower"))
    2.0
    """
    scaled = scaled_value(score, value)
    if is_share(score) or score.better == "higher":
        return scaled
    return math.log10(min(max(scaled, 10.0**-REACH), 10.0**REACH))


def error_bars(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the 95 % intervals of scores as Plotly's error bars."""
    ends = [[place(score, end) for end in score.interval] for score in scores]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - place(score) for score, (_, high) in zip(scores, ends, strict=True)],
        "arrayminus": [place(score) - low for score, (low, _) in zip(scores, ends, strict=True)],
    }


def score_axis(title: str, scores: Sequence[Score], **shares: Any) -> LayoutPart:
    """Return the axis of scores of one kind; `shares` are options for one in per cent, whose title is given."""
    if not scores:  # nor is it known what is scored
        return theme.axis("", **shares, showticklabels=False)
    if is_share(scores[0]):
        return theme.axis(title, **shares)
    ends = [place(score, end) for score in scores for end in (score.value, *score.interval)]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 0.1
    options = {name: option for name, option in shares.items() if name not in ("range", "nticks")}
    if scores[0].better == "lower":
        steps = (1,) if high - low > MANY else (1, 2, 5)
        ticks = [step * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]
        options |= {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [short(tick, 1) for tick in ticks]}
    return theme.axis(axis_title(scores[0]), range=[low - pad, high + pad], **options)
