"""A tensor too large to be held: its rows come in blocks, twice at most, and the statistics of the blocks are joined.

1. Where one range serves rows of several blocks, it comes from a first pass: extremes and counts of all values.
2. The error is a sum over blocks. Specs whose scales serve rows of one block alone are fitted there, to the bit as on
   the whole tensor; sums of squares are added in the order of the blocks.

Ranges of min–max are those of the whole tensor to the bit. Other methods choose by a histogram of 65,536 bins, which
moves a range by a bin at most. What fits neither way (a scale of the tensor beside those of blocks, vectors, codebooks
of the whole tensor, rounding at random) takes the whole tensor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from quant_engine.clipping import MinMax
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array
from quant_engine.observers import HistogramObserver, MinMaxObserver
from quant_engine.quantizer import ErrorReport, Quantizer, QuantizerSpec, fit
from quant_engine.quantizer.codecs.blockwise import BlockwiseCodec
from quant_engine.quantizer.scales import WITH_TENSOR_SCALE, block_parameters

BINS = 1 << 16
ROWS = 256  # of which blocks hold multiples: groups of channels and rectangles then lie in one

Read = Callable[[int, int], Float32Array]


@dataclass
class Found:
    """What is found of a cell: its report, or what went wrong; of how many blocks; and how long it took."""

    report: ErrorReport | Exception
    blocks: int
    seconds: float
    read_seconds: float


def in_blocks(read: Read, shape: tuple[int, int], specs: list[QuantizerSpec], max_values: int) -> list[Found]:
    """Return what each spec loses of a matrix of which at most about `max_values` are held at a time.

    `read` returns rows, from one to another.
    """
    rows, columns = shape
    step = max(max_values // columns // ROWS * ROWS, min(ROWS, rows))
    reader = _Reader(read, [(start, min(start + step, rows)) for start in range(0, rows, step)])
    fitted = _fitted(reader, shape, specs, step)
    found = [Found(ErrorReport(0, 0.0, 0.0, 0, 0.0, 0.0, 0.0), len(reader.places), 0.0, 0.0) for _ in specs]
    for x in reader.blocks():
        for one, spec, quantizer in zip(found, specs, fitted, strict=True):
            _add(one, x, spec, quantizer)
    whole = [place for place, spec in enumerate(specs) if fitted[place] is WHOLE]
    if whole:
        x = reader.timed(0, rows)
        for place in whole:
            found[place] = Found(found[place].report, 1, 0.0, 0.0)
            _add(found[place], x, specs[place], None)
    for one in found:
        one.read_seconds = reader.seconds
    return found


WHOLE, RANGED = "whole", "ranged"  # in the place of a quantizer: the spec takes the whole tensor, or one range
Fitted = Quantizer | Exception | str | None


def _add(one: Found, x: Float32Array, spec: QuantizerSpec, quantizer: Fitted) -> None:
    """Add what a block loses to what is found so far."""
    if isinstance(quantizer, Exception):
        one.report = quantizer
    if isinstance(one.report, Exception) or quantizer is WHOLE:
        return
    started = time.perf_counter()
    try:
        held = fit(x, spec) if not isinstance(quantizer, Quantizer) else quantizer
        one.report = one.report + held.measure(x)
    except Exception as error:
        one.report = error
    one.seconds += time.perf_counter() - started


def _fitted(reader: _Reader, shape: tuple[int, int], specs: list[QuantizerSpec], step: int) -> list[Fitted]:
    """Return for each spec a quantizer that serves all blocks, None to fit one to each, or that it takes the whole."""
    kinds = [_kind(spec, shape, step) for spec in specs]
    ranged = [spec for spec, kind in zip(specs, kinds, strict=True) if kind is RANGED]
    if not ranged:
        return kinds
    counted = not all(isinstance(spec.clipping, MinMax) for spec in ranged)
    observer = HistogramObserver(BINS) if counted else MinMaxObserver()
    failure: Exception | None = None
    try:
        for x in reader.blocks():
            observer.update(x)
    except Exception as error:
        failure = error
    return [
        failure or _quantizer(observer, spec, shape) if kind is RANGED else kind
        for spec, kind in zip(specs, kinds, strict=True)
    ]


def _kind(spec: QuantizerSpec, shape: tuple[int, int], step: int) -> Fitted:
    """Return how a spec is measured in blocks of `step` rows: each by itself (None), by one range, or as a whole."""
    try:
        grid = spec.granularity.blocks(shape)
    except QuantError:
        return None  # to fit says why
    apart = grid.apart or spec.scale_format in WITH_TENSOR_SCALE or spec.rounding == "stochastic"
    known = isinstance(spec.codec, BlockwiseCodec)  # values that are known beforehand, and scaled if anything
    if not apart and (step % grid.block[0] == 0 or (known and not spec.format.scaled)):
        return None
    return RANGED if known and grid.count == 1 and not apart else WHOLE


def _quantizer(observer: HistogramObserver | MinMaxObserver, spec: QuantizerSpec, shape: tuple[int, int]) -> Fitted:
    try:
        ends = np.array([observer.range(spec)], np.float64)
        return Quantizer(spec, *block_parameters(ends, spec.granularity.blocks(shape), spec))
    except Exception as error:
        return error


@dataclass
class _Reader:
    """Reads rows, and keeps count of how long that takes."""

    read: Read
    places: list[tuple[int, int]]
    seconds: float = 0.0

    def blocks(self) -> Iterator[Float32Array]:
        """Yield the blocks, one at a time."""
        for place in self.places:
            yield self.timed(*place)

    def timed(self, start: int, stop: int) -> Float32Array:
        """Return rows."""
        started = time.perf_counter()
        x = self.read(start, stop)
        self.seconds += time.perf_counter() - started
        return x
