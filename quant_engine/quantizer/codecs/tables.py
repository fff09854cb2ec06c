"""Any list of values, and floating point, whose rounding needs no list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.formats import FloatFormat, Format
from quant_engine.formats.base import MAX_LISTED_BITS
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import affine, floating, table
from quant_engine.quantizer.choices import SpecLike
from quant_engine.quantizer.codecs.blockwise import BlockwiseCodec
from quant_engine.quantizer.codecs.flat import Flat, Pass
from quant_engine.quantizer.rounding import first_reaching
from quant_engine.quantizer.thresholds import Thresholds, with_levels


@dataclass(frozen=True)
class TableCodec(BlockwiseCodec):
    """Any format that lists its values and numbers them: x̂ = scale · value."""

    format: Format

    def validate(self, spec: SpecLike) -> None:
        """Check that the values are rounded to the nearest."""
        if self.rounding != "nearest":
            raise QuantError(
                f"rounding={self.rounding!r} is for codes of equal steps (IntFormat, FixedPointFormat); {self.format} "
                'rounds to nearest: use rounding="nearest"'
            )
        super().validate(spec)

    @cached_property
    def unit_edges(self) -> Float32Array:
        """For each value but the first, the least float32 of the scaled domain that is given it or one above."""
        values = self.format.values()
        middle = 0.5 * (values[:-1] + values[1:])
        up = self.format.decode(self.format.encode(middle)) == values[1:].astype(np.float32)
        near = middle.astype(np.float32)
        short = (near < middle) | ((near == middle) & ~up)
        return np.where(short, np.nextafter(near, np.float32(np.inf)), near)

    @cached_property
    def searched(self) -> tuple[Thresholds, Float32Array]:
        """Thresholds and values of the scaled domain, as kernels find values soonest."""
        return with_levels(self.unit_edges, self.format.values().astype(np.float32))

    def encode_pass(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes codes, the numbers of the values."""
        given = x, flat.grid.offsets, flat.scale, self.searched[0]
        return lambda start, stop: table.encode_blocks(*given, start, stop, codes)

    def quantize_pass(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values."""
        thresholds, levels = self.searched
        given = x, flat.grid.offsets, flat.scale, levels, thresholds

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            table.fake_quantize_blocks(*given, start, stop, out, totals)
            return totals

        return work

    def decode_pass(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values of codes."""

        def work(start: int, stop: int) -> None:
            out[start:stop] = self.format.decode(codes[start:stop])
            table.scale_blocks(out, flat.grid.offsets, flat.scale, start, stop)

        return work

    def edges(self, scale: np.float32, zero_point: np.float32) -> Float32Array:
        """Return the edges of the values."""
        return first_reaching(lambda u: u, self.unit_edges, scale)


@dataclass(frozen=True)
class FloatCodec(TableCodec):
    """Floating point, whose rounding needs no table."""

    format: FloatFormat

    @cached_property
    def listed(self) -> Float32Array:
        """The value of every code."""
        return self.format.decode(np.arange(1 << self.format.bits))

    def decode_pass(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values of codes, looked up where a list of all is short."""
        if self.format.bits > MAX_LISTED_BITS:
            return super().decode_pass(codes, flat, out)

        def work(start: int, stop: int) -> None:
            out[start:stop] = self.listed[codes[start:stop]]
            table.scale_blocks(out, flat.grid.offsets, flat.scale, start, stop)

        return work

    def validate(self, spec: SpecLike) -> None:
        """Check that the format has a zero and signs, as tensors do."""
        if not self.format.signed:
            raise QuantError(f"{self.format} has neither sign nor 0: it is for scales, not for a tensor's values")
        super().validate(spec)

    @property
    def shape(self) -> tuple[int, int, float, np.float32]:
        """What the kernels need to know."""
        zero = np.float32(-0.0 if self.format.negative_zero else 0.0)
        return self.format.mantissa_bits, self.format.min_exponent, self.format.highest, zero

    def encode_pass(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes bit patterns."""
        given = x, flat.grid.offsets, flat.scale, self.shape, 1 << (self.format.bits - 1)
        return lambda start, stop: floating.encode_blocks(*given, start, stop, codes)

    def quantize_pass(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values."""
        given = x, flat.grid.offsets, flat.scale, self.shape

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            floating.fake_quantize_blocks(*given, start, stop, out, totals)
            return totals

        return work
