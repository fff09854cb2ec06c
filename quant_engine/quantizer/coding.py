"""Which kernels serve which format: each `Coding` gives blocks of values their codes and reconstructions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.formats import FixedPointFormat, FloatFormat, Format, IntFormat
from quant_engine.formats.base import MOST_LISTED_BITS, checked_codes
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import affine, floating, table
from quant_engine.quantizer.rounding import ROUNDINGS, least_reaching


@dataclass(frozen=True, eq=False)
class Flat:
    """One tensor, block after block: its shape and grid, scale and zero point of each block, and random numbers."""

    shape: tuple[int, ...]
    grid: BlockGrid
    scale: Float32Array
    zero_point: Float32Array
    rng: np.random.Generator | None = None


class Pass(Protocol):
    """Work on the values `start` to `stop`."""

    def __call__(self, start: int, stop: int) -> Any:
        """Do it."""


class Coding(Protocol):
    """How values become codes and levels under one format."""

    def encode(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes codes and returns the largest bit pattern of |x|."""

    def fake_quantize(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes x̂ to `out` (unless it is empty) and returns the totals of the metrics."""

    def decode(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes x̂ of codes."""

    def thresholds(self, scale: np.float32, zero_point: np.float32) -> Float32Array:
        """Return, for each level but the first, the least float32 that is given it or one above."""


@dataclass(frozen=True)
class AffineCoding:
    """Integers of equal steps: x̂ = scale · step · (code − zero point), under any rounding."""

    format: IntFormat | FixedPointFormat
    rounding: str

    def encode(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes codes."""
        kernel, given = ROUNDINGS[self.rounding].encode, self._given(flat)
        rest = ROUNDINGS[self.rounding].arguments(flat.shape, flat.grid, flat.rng)
        return lambda start, stop: kernel(x, *given, start, stop, codes, *rest)

    def fake_quantize(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values."""
        kernel, given = ROUNDINGS[self.rounding].fake_quantize, self._given(flat)
        rest = ROUNDINGS[self.rounding].arguments(flat.shape, flat.grid, flat.rng)

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            kernel(x, *given, start, stop, out, totals, *rest)
            return totals

        return work

    def decode(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values of codes."""
        offsets, step, zero, *_ = self._given(flat)
        return lambda start, stop: affine.decode_blocks(codes, offsets, step, zero, start, stop, out)

    def thresholds(self, scale: np.float32, zero_point: np.float32) -> Float32Array:
        """Return the edges of the codes."""
        reached = np.arange(self.format.qmin + 1, self.format.qmax + 1).astype(np.float32) - zero_point
        return ROUNDINGS[self.rounding].thresholds(reached, scale * np.float32(self.format.step))

    def _given(self, flat: Flat) -> tuple[Any, ...]:
        step = flat.scale if self.format.step == 1.0 else flat.scale * np.float32(self.format.step)
        return flat.grid.offsets, step, flat.zero_point, np.float32(self.format.qmin), np.float32(self.format.qmax)


@dataclass(frozen=True)
class TableCoding:
    """Any format that lists its values: x̂ = scale · value."""

    format: Format

    @cached_property
    def edges(self) -> Float32Array:
        """For each value but the first, the least float32 of the scaled domain that is given it or one above."""
        values = self.format.values()
        middle = 0.5 * (values[:-1] + values[1:])
        up = self.format.decode(self.format.encode(middle)) == values[1:].astype(np.float32)
        near = middle.astype(np.float32)
        short = (near < middle) | ((near == middle) & ~up)
        return np.where(short, np.nextafter(near, np.float32(np.inf)), near)

    @cached_property
    def padded_edges(self) -> Float32Array:
        """The edges, filled up with NaN to one less than a power of two."""
        padded = np.full((1 << self.edges.size.bit_length()) - 1, np.nan, np.float32)
        padded[: self.edges.size] = self.edges
        return padded

    @cached_property
    def levels(self) -> Float32Array:
        """The values as float32."""
        return self.format.values().astype(np.float32)

    def encode(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes codes."""
        code_of, given = self.format.encode(self.format.values()), (x, flat.grid.offsets, flat.scale)
        return lambda start, stop: table.encode_blocks(*given, code_of, self.padded_edges, start, stop, codes)

    def fake_quantize(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values."""
        given = x, flat.grid.offsets, flat.scale, self.levels, self.padded_edges

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            table.fake_quantize_blocks(*given, start, stop, out, totals)
            return totals

        return work

    def decode(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values of codes."""

        def work(start: int, stop: int) -> None:
            out[start:stop] = self.format.decode(codes[start:stop])
            table.scale_blocks(out, flat.grid.offsets, flat.scale, start, stop)

        return work

    def thresholds(self, scale: np.float32, zero_point: np.float32) -> Float32Array:
        """Return the edges of the values."""
        return least_reaching(lambda u: u, self.edges, scale)


@dataclass(frozen=True)
class FloatCoding(TableCoding):
    """Floating point, whose rounding needs no table."""

    format: FloatFormat

    @cached_property
    def listed(self) -> Float32Array:
        """The value of every code."""
        return self.format.decode(np.arange(1 << self.format.bits))

    def decode(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values of codes, looked up where a list of all is short."""
        if self.format.bits > MOST_LISTED_BITS:
            return super().decode(codes, flat, out)

        def work(start: int, stop: int) -> None:
            out[start:stop] = self.listed[checked_codes(codes[start:stop], 0, self.listed.size - 1, self.format)]
            table.scale_blocks(out, flat.grid.offsets, flat.scale, start, stop)

        return work

    @property
    def shape(self) -> tuple[int, int, float, np.float32]:
        """What the kernels need to know."""
        zero = np.float32(-0.0 if self.format.negative_zero else 0.0)
        return self.format.mantissa_bits, self.format.least_exponent, self.format.highest, zero

    def encode(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes bit patterns."""
        given = x, flat.grid.offsets, flat.scale, self.shape, 1 << (self.format.bits - 1)
        return lambda start, stop: floating.encode_blocks(*given, start, stop, codes)

    def fake_quantize(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values."""
        given = x, flat.grid.offsets, flat.scale, self.shape

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            floating.fake_quantize_blocks(*given, start, stop, out, totals)
            return totals

        return work


@lru_cache(maxsize=256)
def coding_of(format: Any, rounding: str) -> Coding:
    """Return the coding of a format: of its values as a table, where no quicker one is known.

    Raises:
        QuantError: for a rounding that the format does not take.
    """
    if format.even:
        return AffineCoding(format, rounding)
    if rounding != "nearest":
        raise QuantError(
            f"rounding={rounding!r} is for codes of equal steps (IntFormat, FixedPointFormat); {format} rounds to "
            'nearest: use rounding="nearest"'
        )
    return FloatCoding(format) if isinstance(format, FloatFormat) else TableCoding(format)
