"""Integer codes of equal steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.formats import FixedPointFormat, IntFormat
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import affine
from quant_engine.quantizer.codecs.blockwise import BlockwiseCodec
from quant_engine.quantizer.codecs.flat import Flat, Pass
from quant_engine.quantizer.rounding import ROUNDINGS


@dataclass(frozen=True)
class AffineCodec(BlockwiseCodec):
    """Integers of equal steps: x̂ = scale · step · (code − zero point), under any rounding."""

    format: IntFormat | FixedPointFormat

    def encode_pass(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes codes."""
        kernel, given = ROUNDINGS[self.rounding].encode, self._given(flat)
        rest = ROUNDINGS[self.rounding].arguments(flat.shape, flat.grid, flat.rng)
        return lambda start, stop: kernel(x, *given, start, stop, codes, *rest)

    def quantize_pass(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values."""
        kernel, given = ROUNDINGS[self.rounding].fake_quantize, self._given(flat)
        rest = ROUNDINGS[self.rounding].arguments(flat.shape, flat.grid, flat.rng)

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            kernel(x, *given, start, stop, out, totals, *rest)
            return totals

        return work

    def decode_pass(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values of codes."""
        offsets, step, zero, *_ = self._given(flat)
        return lambda start, stop: affine.decode_blocks(codes, offsets, step, zero, start, stop, out)

    def edges(self, scale: np.float32, zero_point: np.float32) -> Float32Array:
        """Return the edges of the codes."""
        reached = np.arange(self.format.qmin + 1, self.format.qmax + 1).astype(np.float32) - zero_point
        return ROUNDINGS[self.rounding].thresholds(reached, scale * np.float32(self.format.step))

    def _given(self, flat: Flat) -> tuple[Any, ...]:
        step = flat.scale if self.format.step == 1.0 else flat.scale * np.float32(self.format.step)
        return flat.grid.offsets, step, flat.zero_point, np.float32(self.format.qmin), np.float32(self.format.qmax)
