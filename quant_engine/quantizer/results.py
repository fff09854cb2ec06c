"""Fitted quantizers and quantized tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.formats.base import refuse_long_list
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array, as_float32, refuse_non_finite
from quant_engine.kernels.compile import INFINITY_BITS
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer.coding import Coding, Flat, coding_of
from quant_engine.quantizer.report import ErrorReport, report_from_totals
from quant_engine.quantizer.rounding import refuse_no_generator
from quant_engine.quantizer.spec import QuantizerSpec
from quant_engine.quantizer.storage import Storage

NO_OUTPUT = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """Codes with the scales and zero points (of the block grid's shape) that give them meaning."""

    codes: NDArray[Any]
    scale: Float32Array
    zero_point: NDArray[np.int32]
    spec: QuantizerSpec

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.codes.shape

    @property
    def storage(self) -> Storage:
        """All that is stored."""
        return self.spec.storage(self.shape)

    @property
    def bits_per_value(self) -> float:
        """All that is stored, divided by the number of values."""
        return self.storage.bits_per_value

    def dequantize(self) -> Float32Array:
        """Return x̂ = scale · (code − zero_point), float32."""
        return Quantizer(self.spec, self.scale, self.zero_point).decode(self)


@dataclass(frozen=True, eq=False)
class Quantizer:
    """A spec with its fitted numbers: `scale` (float32) and `zero_point` (int32), shaped as the block grid.

    code = saturate(rint(x / scale) + zero_point), half to even, in float32 with a true division: ONNX QuantizeLinear
    bit for bit; other roundings of the spec take the place of rint. x̂ = scale · (code − zero_point).

    Formats that are not integers have zero point 0 and code = encode(x / scale), saturated: of fixed point, integers;
    of floats, bit patterns; of codebooks, numbers of the values. x̂ = scale · decode(code).

    `rng` is for stochastic rounding alone; None means seed 0, so that the same values get the same codes.

    Raises:
        QuantError: for a scale that is not positive, or levels beyond float32.
    """

    spec: QuantizerSpec
    scale: Float32Array
    zero_point: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check and freeze the arrays."""
        scale = np.array(self.scale, np.float32)
        zero_point = np.array(self.zero_point, np.int32)
        if scale.shape != zero_point.shape:
            raise QuantError(f"scale has shape {scale.shape} and zero_point {zero_point.shape}; they must be equal")
        if not (scale > 0).all():
            raise QuantError(f"scale has {int((~(scale > 0)).sum())} values that are not positive; give scales > 0")
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [
                scale * (end - zero_point).astype(np.float32)
                for end in (self.spec.format.lowest, self.spec.format.highest)
            ]
        if not np.isfinite(ends).all():
            raise QuantError(
                f"a scale of {scale.max():.4g} puts the outermost level beyond float32's largest value; "
                "scale the tensor down"
            )
        scale.flags.writeable = zero_point.flags.writeable = False
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)

    def encode(self, x: Any, rng: np.random.Generator | None = None) -> QuantizedTensor:
        """Return the codes of `x`.

        Raises:
            QuantError: for another block grid than the fitted one, values that are not finite, or an `rng` that is no
                generator.
        """
        array = as_float32(x)
        grid = self._grid(array.shape)
        flat = grid.flatten(array)
        codes = np.empty(flat.shape, self.spec.format.dtype)
        peaks = over_ranges(flat.size, self._coding.encode(flat, self._flat(array.shape, grid, rng), codes))
        if max(peaks, default=0) >= INFINITY_BITS:
            refuse_non_finite(array)
        return QuantizedTensor(grid.restore(codes), self.scale, self.zero_point, self.spec)

    def decode(self, q: QuantizedTensor | NDArray[Any]) -> Float32Array:
        """Return x̂ of a quantized tensor, or of an array of codes.

        Raises:
            QuantError: for another block grid than the fitted one, and numbers that are no codes of a float format or a
                codebook.
        """
        codes = q.codes if isinstance(q, QuantizedTensor) else np.asarray(q)
        grid = self._grid(codes.shape)
        flat = grid.flatten(codes)
        out = np.empty(flat.shape, np.float32)
        over_ranges(flat.size, self._coding.decode(flat, self._flat(codes.shape, grid), out))
        return grid.restore(out)

    def fake_quantize(self, x: Any, rng: np.random.Generator | None = None) -> Float32Array:
        """Return decode(encode(x)) in one pass, without the codes."""
        return self.reconstruct(x, rng=rng)[0]

    def reconstruct(
        self, x: Any, out: Float32Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Float32Array, ErrorReport]:
        """Return x̂ and what it loses, in one pass.

        x̂ is written to `out` if that is given, a contiguous float32 array of the shape of `x`: memory that is used
        again saves a third of the time.

        Raises:
            QuantError: as `encode`, and for an `out` of another shape, type or memory layout.
        """
        array = as_float32(x)
        grid = self._grid(array.shape)
        flat = grid.flatten(array)
        if out is None:
            written = np.empty_like(flat)
            report = self._pass(array, grid, flat, written, rng)
            return grid.restore(written), report
        if out.shape != array.shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
            raise QuantError(
                f"out has shape {out.shape} and dtype {out.dtype}; give a writeable, contiguous float32 array of shape "
                f"{array.shape}"
            )
        written = grid.flatten(out)
        report = self._pass(array, grid, flat, written, rng)
        if not np.shares_memory(written, out):
            out[...] = grid.restore(written)
        return out, report

    def measure(self, x: Any, rng: np.random.Generator | None = None) -> ErrorReport:
        """Return what quantizing `x` loses, in one pass that writes nothing.

        Raises:
            QuantError: as `encode`.
        """
        array = as_float32(x)
        grid = self._grid(array.shape)
        return self._pass(array, grid, grid.flatten(array), NO_OUTPUT, rng)

    def levels(self, block: int | tuple[int, ...] = 0) -> Float32Array:
        """Return the codewords of a block (row-major number or grid index), ascending.

        That is the order of integer codes and of a codebook's. ±0 of a float format are one.

        Raises:
            QuantError: if there is no such block, or for a format of more than 16 bits.
        """
        place = self._place(block)
        codes = self.spec.format.values().astype(np.float32)
        levels: Float32Array = (codes - np.float32(self.zero_point[place])) * self.scale[place]
        return levels

    def thresholds(self, block: int | tuple[int, ...] = 0) -> Float32Array:
        """Return the edges between buckets: for each level but the first, the least float32 that is given it.

        Raises:
            QuantError: if there is no such block, rounding is stochastic, or the format has more than 16 bits.
        """
        place = self._place(block)
        refuse_long_list(self.spec.format, self.spec.format.bits)
        return self._coding.thresholds(self.scale[place], np.float32(self.zero_point[place]))

    def storage(self, shape: tuple[int, ...]) -> Storage:
        """Return all that is stored for a tensor of this shape."""
        return self.spec.storage(shape)

    def _grid(self, shape: tuple[int, ...]) -> BlockGrid:
        grid = self.spec.granularity.blocks(shape)
        if grid.grid != self.scale.shape:
            raise QuantError(
                f"the quantizer was fitted to {self.scale.shape} blocks, but shape {shape} has {grid.grid}; fit it anew"
            )
        return grid

    @property
    def _coding(self) -> Coding:
        return coding_of(self.spec.format, self.spec.rounding)

    def _flat(self, shape: tuple[int, ...], grid: BlockGrid, rng: np.random.Generator | None = None) -> Flat:
        refuse_no_generator(rng)
        zero_point = grid.from_grid(self.zero_point).astype(np.float32)
        return Flat(shape, grid, grid.from_grid(self.scale), zero_point, rng)

    def _place(self, block: int | tuple[int, ...]) -> tuple[int, ...]:
        try:
            if isinstance(block, tuple):
                self.scale[block].item()
                return block
            return tuple(int(i) for i in np.unravel_index(block, self.scale.shape)) if self.scale.shape else ()
        except (IndexError, ValueError) as error:
            raise QuantError(f"block {block} does not exist in a grid of shape {self.scale.shape}") from error

    def _pass(
        self,
        x: Float32Array,
        grid: BlockGrid,
        flat: Float32Array,
        out: Float32Array,
        rng: np.random.Generator | None,
    ) -> ErrorReport:
        """Run the fused kernel over the flat values."""
        work = self._coding.fake_quantize(flat, self._flat(x.shape, grid, rng), out)
        report = report_from_totals(over_ranges(flat.size, work), flat.size)
        if report is None:
            refuse_non_finite(x)
        assert report is not None
        return report
