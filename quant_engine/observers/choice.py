"""Which observer serves which clipping method."""

from __future__ import annotations

from collections.abc import Callable

from quant_engine.clipping import Clipping
from quant_engine.observers.base import Observer
from quant_engine.observers.extremes import MinMaxObserver
from quant_engine.observers.histogram import HistogramObserver

FEWEST_BINS = 2048
BINS_A_CODE = 8  # bins this much narrower than the codes' steps leave the error of a range where it was


def observer_for(clipping: Clipping, bits: int = 8) -> Observer:
    """Return a new observer that keeps what a clipping method needs: extremes, their average, or a histogram.

    The histogram has 2,048 bins, or 8 for each code of formats wider than 8 `bits`.

    Example:
        >>> from quant_engine import MinMSE
        >>> type(observer_for(MinMSE())).__name__
        'HistogramObserver'
    """
    return CHOICES.get(type(clipping).__name__, _histogram)(clipping, bits)


def _histogram(clipping: Clipping, bits: int) -> Observer:
    return HistogramObserver(max(FEWEST_BINS, BINS_A_CODE << bits))


CHOICES: dict[str, Callable[[Clipping, int], Observer]] = {
    "MinMax": lambda clipping, bits: MinMaxObserver(),
    "FixedRange": lambda clipping, bits: MinMaxObserver(),  # it needs nothing
}
