"""An axis of accuracy on which the error rate is logarithmic: a point gained near the end of the way can be seen."""

from __future__ import annotations

import math
from collections.abc import Iterable

from explorer.figures import theme
from explorer.figures.theme import LayoutPart

TICKS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99)  # per cent
APART = 0.11  # of the axis, between two ticks
FEWEST = 3  # round ticks


def place(value: float) -> float:
    """Return where an accuracy stands on the axis; all right is as far as 99.95 %.

    >>> [round(place(value), 3) for value in (0.0, 0.9, 0.99)]
    [-0.0, 1.0, 2.0]
    """
    return -math.log10(max(1.0 - value, 5e-4))


def axis(title: str, low: float, high: float) -> LayoutPart:
    """Return the axis between two places, labelled at accuracies that can be read: round ones, or each per cent."""
    chosen = _apart(TICKS, low, high)
    if len(chosen) < FEWEST:
        chosen = _apart(range(100), low, high)
    marks = {"tickvals": [place(tick / 100) for tick in chosen], "ticktext": [str(tick) for tick in chosen]}
    return theme.axis(title, range=[low, high], tickangle=0, **marks)


def _apart(ticks: Iterable[int], low: float, high: float) -> list[int]:
    """Return the ticks between two places that are far enough apart."""
    chosen: list[int] = []
    for tick in ticks:
        at = place(tick / 100)
        far = not chosen or at - place(chosen[-1] / 100) >= APART * (high - low)
        if low <= at <= high and far:
            chosen.append(tick)
    return chosen
