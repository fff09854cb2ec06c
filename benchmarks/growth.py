"""How times grow with the number of values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

import quant_engine as qe
from benchmarks.data import Sizes, weights
from benchmarks.timing import interleave

STEADY_FROM = 1_000_000  # values: below, a call costs more than its values, and one thread does the work
ROUNDS = 7
BITS, CLIPS = range(2, 9), 200
ROW = 1_000  # values, of what has rows; divides all sizes

Work = Callable[[], object]


@dataclass(frozen=True)
class Curve:
    """Median milliseconds of an operation at each size, and the slope of log time over log size from a million on."""

    operation: str
    sizes: tuple[int, ...]
    ms: tuple[float, ...]
    slope: float | None


def curves(sizes: Sizes) -> list[Curve]:
    """Measure every operation at every size, those of one size in turn."""
    found: dict[str, list[float]] = {}
    for size in sizes.growth:
        print(f"growth, {size:,} values …", file=sys.stderr, flush=True)
        times = interleave(dict(_operations(weights(size // ROW, ROW))), ROUNDS, 0.0)
        for operation, seconds in times.items():
            found.setdefault(operation, []).append(1e3 * median(seconds))
    return [Curve(name, sizes.growth, tuple(ms), slope(sizes.growth, ms)) for name, ms in found.items()]


def slope(sizes: tuple[int, ...], times: list[float]) -> float | None:
    """Return the slope of the line (least squares) through the logarithms from a million on; None for one size.

    >>> slope((1_000, 1_000_000, 10_000_000), [7.0, 1.0, 10.0])
    1.0
    """
    steady = [(size, time) for size, time in zip(sizes, times, strict=True) if size >= STEADY_FROM]
    if len(steady) < 2:
        return None
    x, y = np.log10(steady).T
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def _operations(x: NDArray[np.float32]) -> Iterator[tuple[str, Work]]:
    int4 = qe.IntFormat(4)
    whole, out = qe.fit(x, qe.QuantizerSpec(int4)), np.empty_like(x)
    yield "quantize, dequantize, all metrics", lambda: whole.reconstruct(x, out)
    yield "metrics only", lambda: whole.measure(x)
    yield "encode", lambda: whole.encode(x)
    yield "histogram build", lambda: qe.Distribution(x)
    yield "sorted index build", lambda: qe.Distribution(x, exact=True)
    quick, exact = qe.Distribution(x), qe.Distribution(x, exact=True)
    clips = np.geomspace(2.0 * float(x.std()), float(np.abs(x).max()), CLIPS)
    yield "histogram surface", lambda: quick.error_surface(BITS, clips)
    yield "sorted index surface", lambda: exact.error_surface(BITS, clips)
    rows = qe.QuantizerSpec(int4, qe.PerChannel(0), clipping=qe.MinMSE())
    yield "clip search, rows of 1,000", lambda: qe.fit(x, rows)
    nf4 = qe.QuantizerSpec(qe.NF4, qe.PerGroup(50))
    yield "NF4 encode, groups of 50", lambda: qe.quantize(x, nf4)
