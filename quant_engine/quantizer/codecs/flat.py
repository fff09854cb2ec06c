"""Codecs whose kernels see one flat array, block after block."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.granularity import BlockGrid, Granularity
from quant_engine.inputs import Float32Array, raise_non_finite
from quant_engine.kernels.compile import INFINITY_BITS
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer.codecs.base import Fitted, grid_of
from quant_engine.quantizer.report import ErrorReport, report_from_totals

NO_OUTPUT = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class Flat:
    """One tensor, block after block: its shape and grid, scale and zero point of each block, and random numbers.

    What was `learned` stays in the shape it was learned in.
    """

    shape: tuple[int, ...]
    grid: BlockGrid
    scale: Float32Array
    zero_point: Float32Array
    learned: Float32Array | None = None
    rng: np.random.Generator | None = None


class Pass(Protocol):
    """Work on the values `start` to `stop`."""

    def __call__(self, start: int, stop: int) -> Any:
        """Do it."""


@dataclass(frozen=True)
class FlatCodec(abc.ABC):
    """Codes, values and error by passes over a flat array, of which every thread takes a part."""

    format: Any
    rounding: str

    @abc.abstractmethod
    def encode_pass(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes codes and returns the largest bit pattern of |x|."""

    @abc.abstractmethod
    def quantize_pass(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes x̂ to `out` (unless it is empty) and returns the totals of the metrics."""

    @abc.abstractmethod
    def decode_pass(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes x̂ of codes."""

    def encode(self, x: Float32Array, fitted: Fitted, rng: np.random.Generator | None) -> NDArray[Any]:
        """Return the codes."""
        grid = self._grid(fitted, x.shape)
        flat = grid.flatten(x)
        codes = np.empty(flat.shape, self.format.dtype)
        max_sizes = over_ranges(flat.size, self.encode_pass(flat, _flat(fitted, grid, rng), codes))
        if max(max_sizes, default=0) >= INFINITY_BITS:
            raise_non_finite(x)
        return grid.restore(codes)

    def decode(self, codes: NDArray[Any], fitted: Fitted) -> Float32Array:
        """Return x̂ of codes."""
        grid = self._grid(fitted, codes.shape)
        flat = grid.flatten(codes)
        out = np.empty(flat.shape, np.float32)
        over_ranges(flat.size, self.decode_pass(flat, _flat(fitted, grid), out))
        return grid.restore(out)

    def reconstruct(
        self, x: Float32Array, fitted: Fitted, out: Float32Array | None, rng: np.random.Generator | None
    ) -> ErrorReport:
        """Run the fused kernel over the flat values."""
        grid = self._grid(fitted, x.shape)
        flat = grid.flatten(x)
        written = NO_OUTPUT if out is None else grid.flatten(out)
        work = self.quantize_pass(flat, _flat(fitted, grid, rng), written)
        report = report_from_totals(over_ranges(flat.size, work), flat.size)
        if report is None:
            raise_non_finite(x)
        assert report is not None
        if out is not None and not np.shares_memory(written, out):
            out[...] = grid.restore(written)
        return report

    def measuring(self, x: Float32Array, fitted: Fitted) -> tuple[Float32Array, Pass]:
        """Return the values in the order of their blocks, and what returns the totals of a part of them."""
        grid = self._grid(fitted, x.shape)
        flat = grid.flatten(x)
        return flat, self.quantize_pass(flat, _flat(fitted, grid), NO_OUTPUT)

    def shape_of(self, codes: tuple[int, ...], length: int | None = None) -> tuple[int, ...]:
        """Return the shape of the codes: one a value."""
        if length is not None and (length,) != codes[-1:]:
            raise QuantError(
                f"length={length} of codes of shape {codes}: {self.format} has a code for every value; use length=None"
            )
        return codes

    def blocks(self, granularity: Granularity, shape: tuple[int, ...]) -> BlockGrid:
        """Return the blocks of a tensor of this shape."""
        return granularity.blocks(shape)

    def _grid(self, fitted: Fitted, shape: tuple[int, ...]) -> BlockGrid:
        return grid_of(fitted, self.blocks(fitted.spec.granularity, shape))


def _flat(fitted: Fitted, grid: BlockGrid, rng: np.random.Generator | None = None) -> Flat:
    zero_point = grid.from_grid(fitted.zero_point).astype(np.float32)
    return Flat(grid.shape, grid, grid.from_grid(fitted.scale), zero_point, fitted.learned, rng)
