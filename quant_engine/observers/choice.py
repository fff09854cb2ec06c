"""Which observer serves which clipping method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quant_engine.checks import as_member
from quant_engine.clipping import (
    ACIQ,
    CLIPPINGS,
    Clipping,
    EditedRanges,
    FixedRange,
    MinKL,
    MinMax,
    MinMSE,
    MovingAverage,
    Percentile,
)
from quant_engine.observers.base import Observer
from quant_engine.observers.extremes import MinMaxObserver, MovingAverageObserver
from quant_engine.observers.histogram import HistogramObserver
from quant_engine.quantizer import QuantizerSpec
from quant_engine.quantizer.codecs import ScalarCodebookCodec

MIN_BINS = 2048
BINS_A_CODE = 8  # bins this much narrower than the codes' steps leave the error of a range where it was
BINS_A_BIN = 16  # that another histogram is to be made from; fewer would give its bins very unequal shares


def observer_for(clipping: Clipping, bits: int = 8) -> Observer:
    """Return a new observer that keeps what a clipping method needs: extremes, their average, or a histogram.

    The histogram has 2,048 bins, or 8 for each code of formats wider than 8 `bits`; for `MinKL`, which makes one of its
    own from it, 16 for each bin of that.

    Raises:
        QuantError: for what is not one of the clipping methods.

    Example:
        >>> from quant_engine import MinMSE
        >>> type(observer_for(MinMSE())).__name__
        'HistogramObserver'
    """
    return CHOICES[type(as_member(clipping, CLIPPINGS, "clipping"))](clipping, bits)


def observer_of(spec: QuantizerSpec) -> Observer:
    """Return a new observer that keeps what a spec needs: a histogram for codebooks that are learned from it.

    Example:
        >>> from quant_engine import KMeans, QuantizerSpec
        >>> type(observer_of(QuantizerSpec(KMeans(16)))).__name__
        'HistogramObserver'
    """
    if isinstance(spec.codec, ScalarCodebookCodec):
        return _histogram(spec.clipping, spec.format.bits)
    return observer_for(spec.clipping, spec.format.bits)


def _histogram(clipping: Clipping, bits: int) -> Observer:
    return HistogramObserver(max(MIN_BINS, BINS_A_CODE << bits))


CHOICES: dict[type, Callable[[Any, int], Observer]] = {
    MinMax: lambda clipping, bits: MinMaxObserver(),
    Percentile: _histogram,
    MinMSE: _histogram,
    MinKL: lambda clipping, bits: HistogramObserver(BINS_A_BIN * clipping.bins),
    ACIQ: _histogram,
    MovingAverage: lambda clipping, bits: MovingAverageObserver(clipping.constant),
    FixedRange: lambda clipping, bits: MinMaxObserver(),  # it needs nothing
    EditedRanges: lambda clipping, bits: observer_for(clipping.clipping, bits),
}
