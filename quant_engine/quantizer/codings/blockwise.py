"""Codings with a scale and a zero point for each block, whose kernels see one flat array, block after block."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quant_engine.clipping import EVEN_ONLY, Blocks, MinMax
from quant_engine.errors import QuantError
from quant_engine.formats.base import refuse_long_list
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array, Float64Array, refuse_non_finite
from quant_engine.kernels.compile import INFINITY_BITS
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer.codings.base import Fitted, Parameters
from quant_engine.quantizer.report import ErrorReport, report_from_totals
from quant_engine.quantizer.scales import block_parameters, refuse_scale_format, scale_bits
from quant_engine.quantizer.storage import Storage

if TYPE_CHECKING:
    from quant_engine.quantizer.spec import QuantizerSpec

NO_OUTPUT = np.empty(0, np.float32)


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


@dataclass(frozen=True)
class BlockwiseCoding(abc.ABC):
    """Formats whose values are known beforehand: a clipping range of every block gives its scale and zero point."""

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

    @abc.abstractmethod
    def edges(self, scale: np.float32, zero_point: np.float32) -> Float32Array:
        """Return, for each level of a block but the first, the least float32 that is given it or one above."""

    def refuse(self, spec: QuantizerSpec) -> None:
        """Check that range, scale and format go together."""
        kind = type(spec.clipping).__name__
        refuse_scale_format(spec)
        if not self.format.scaled and not isinstance(spec.clipping, MinMax):
            raise QuantError(
                f"{kind} with {self.format}: its values stand for themselves, so its range is not chosen; use MinMax()"
            )
        if self.format.even and self.format.scaled:
            return
        if not spec.symmetric:
            raise QuantError(
                f"symmetric=False with {self.format}: a zero point is an integer code, so it is for IntFormat; use "
                "symmetric=True"
            )
        if isinstance(spec.clipping, EVEN_ONLY):
            raise QuantError(
                f"{kind} with {self.format}: it reckons with codes of equal steps; use MinMSE(), which measures the "
                "error of the values themselves"
            )

    def refuse_parameters(self, fitted: Fitted) -> None:
        """Check that scales are positive (or 0, where they were rounded) and levels within float32."""
        scale = fitted.scale
        good = scale > 0 if fitted.spec.scale_format is None else scale >= 0
        if not good.all():
            raise QuantError(f"scale has {int((~good).sum())} values that are not positive; give scales > 0")
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [
                scale * (end - fitted.zero_point).astype(np.float32)
                for end in (self.format.lowest, self.format.highest)
            ]
        if not np.isfinite(ends).all():
            raise QuantError(
                f"a scale of {scale.max():.4g} puts the outermost level beyond float32's largest value; "
                "scale the tensor down"
            )

    def storage(self, spec: QuantizerSpec, shape: tuple[int, ...]) -> Storage:
        """Return codes, scales (of formats that have them) and zero points; fixed tables are free."""
        grid, values = spec.granularity.blocks(shape), math.prod(shape)
        return Storage(
            values=values,
            code_bits=values * self.format.bits,
            scale_bits=scale_bits(spec, grid),
            zero_point_bits=0 if spec.symmetric else grid.count * self.format.bits,
        )

    def fit(
        self, x: Float32Array, spec: QuantizerSpec, rng: np.random.Generator, importance: Float32Array | None
    ) -> Parameters:
        """Choose the clipping range of every block and derive scale and zero point from it."""
        if importance is not None:
            raise QuantError(
                f"importance with {self.format}: a range is chosen for all values alike; use a learned codebook such "
                "as KMeans, or importance=None"
            )
        grid = spec.granularity.blocks(x.shape)
        ranges: Float64Array = np.zeros((grid.count, 2))
        if x.size:
            blocks = Blocks(grid.flatten(x), grid)
            if not np.isfinite(blocks.extremes).all():
                refuse_non_finite(x)
            ranges = spec.clipping.ranges(blocks, self.format, spec.symmetric)
        return Parameters(*block_parameters(ranges, grid, spec))

    def encode(self, x: Float32Array, fitted: Fitted, rng: np.random.Generator | None) -> NDArray[Any]:
        """Return the codes."""
        grid = _grid(fitted, x.shape)
        flat = grid.flatten(x)
        codes = np.empty(flat.shape, self.format.dtype)
        peaks = over_ranges(flat.size, self.encode_pass(flat, _flat(fitted, grid, rng), codes))
        if max(peaks, default=0) >= INFINITY_BITS:
            refuse_non_finite(x)
        return grid.restore(codes)

    def decode(self, codes: NDArray[Any], fitted: Fitted) -> Float32Array:
        """Return x̂ of codes."""
        grid = _grid(fitted, codes.shape)
        flat = grid.flatten(codes)
        out = np.empty(flat.shape, np.float32)
        over_ranges(flat.size, self.decode_pass(flat, _flat(fitted, grid), out))
        return grid.restore(out)

    def reconstruct(
        self, x: Float32Array, fitted: Fitted, out: Float32Array | None, rng: np.random.Generator | None
    ) -> ErrorReport:
        """Run the fused kernel over the flat values."""
        grid = _grid(fitted, x.shape)
        flat = grid.flatten(x)
        written = NO_OUTPUT if out is None else grid.flatten(out)
        work = self.quantize_pass(flat, _flat(fitted, grid, rng), written)
        report = report_from_totals(over_ranges(flat.size, work), flat.size)
        if report is None:
            refuse_non_finite(x)
        assert report is not None
        if out is not None and not np.shares_memory(written, out):
            out[...] = grid.restore(written)
        return report

    def levels(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return scale · (value − zero point); ±0 of a float format are one."""
        values = self.format.values().astype(np.float32)
        levels: Float32Array = (values - np.float32(fitted.zero_point[place])) * fitted.scale[place]
        return levels

    def thresholds(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return the edges of the block's buckets."""
        refuse_long_list(self.format, self.format.bits)
        return self.edges(fitted.scale[place] or np.float32(np.inf), np.float32(fitted.zero_point[place]))

    def shape_of(self, codes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the codes: one a value."""
        return codes


def _grid(fitted: Fitted, shape: tuple[int, ...]) -> BlockGrid:
    grid = fitted.spec.granularity.blocks(shape)
    if grid.grid != fitted.scale.shape:
        raise QuantError(
            f"the quantizer was fitted to {fitted.scale.shape} blocks, but shape {shape} has {grid.grid}; fit it anew"
        )
    return grid


def _flat(fitted: Fitted, grid: BlockGrid, rng: np.random.Generator | None = None) -> Flat:
    zero_point = grid.from_grid(fitted.zero_point).astype(np.float32)
    return Flat(grid.shape, grid, grid.from_grid(fitted.scale), zero_point, rng)
