"""Codecs with a scale and a zero point for each block, whose kernels see one flat array, block after block."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import numpy as np

from quant_engine.clipping import EVEN_ONLY, Blocks, EditedRanges, MinMax
from quant_engine.errors import QuantError
from quant_engine.formats.base import validate_listable
from quant_engine.granularity import Granularity
from quant_engine.inputs import Float32Array, Float64Array, as_integers, raise_non_finite
from quant_engine.quantizer.choices import SpecLike
from quant_engine.quantizer.codecs.base import Fitted, Parameters, validate_unscaled
from quant_engine.quantizer.codecs.flat import FlatCodec
from quant_engine.quantizer.scales import block_parameters, scale_bits, validate_scale_format
from quant_engine.quantizer.storage import Storage

ZERO_POINTS = "not all zero points can be"


@dataclass(frozen=True)
class BlockwiseCodec(FlatCodec):
    """Formats whose values are known beforehand: a clipping range of every block gives its scale and zero point."""

    @abc.abstractmethod
    def edges(self, scale: np.float32, zero_point: np.float32) -> Float32Array:
        """Return, for each level of a block but the first, the least float32 that is given it or one above."""

    def granularity(self, chosen: Granularity) -> Granularity:
        """Return the blocks chosen."""
        return chosen

    def validate(self, spec: SpecLike) -> None:
        """Check that range, scale and format go together."""
        kind = type(spec.clipping).__name__
        validate_scale_format(spec)
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
        chosen = spec.clipping.clipping if isinstance(spec.clipping, EditedRanges) else spec.clipping
        if isinstance(chosen, EVEN_ONLY):
            raise QuantError(
                f"{kind} with {self.format}: it reckons with codes of equal steps; use MinMSE(), which measures the "
                "error of the values themselves"
            )

    def validate_parameters(self, fitted: Fitted) -> None:
        """Check that scales are positive (or 0, where they were rounded), zero points codes, levels within float32."""
        scale = fitted.scale
        self._validate_others(fitted)
        good = scale > 0 if fitted.spec.scale_format is None else scale >= 0
        if not good.all():
            raise QuantError(f"scale has {int((~good).sum())} values that are not positive; give scales > 0")
        widest, zero = (scale.max(initial=0.0), 0) if fitted.spec.symmetric else (scale, fitted.zero_point)
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [widest * np.asarray(end - zero, np.float32) for end in (self.format.lowest, self.format.highest)]
        if not np.isfinite(ends).all():
            raise QuantError(
                f"a scale of {scale.max():.4g} puts the outermost level beyond float32's largest value; "
                "scale the tensor down"
            )

    def _validate_others(self, fitted: Fitted) -> None:
        """Check zero points, and that there is nothing that formats of other kinds have."""
        if fitted.learned is not None:
            raise QuantError(f"learned of shape {fitted.learned.shape}: {self.format} learns nothing; give None")
        if not self.format.scaled:
            validate_unscaled(fitted, f"values of {self.format} stand for themselves")
        if fitted.spec.symmetric:
            remedy = f"give 0, the only one of symmetric=True with {self.format!s:.80}"
            as_integers(fitted.zero_point, ZERO_POINTS, 0, 0, remedy)
        else:
            low, high = self.format.code_range
            as_integers(fitted.zero_point, ZERO_POINTS, low, high, "give codes of the format")

    def storage(self, spec: SpecLike, shape: tuple[int, ...]) -> Storage:
        """Return codes, scales (of formats that have them) and zero points; fixed tables are free."""
        grid = spec.granularity.blocks(shape)
        return Storage(
            values=math.prod(shape),
            code_bits=grid.stored * self.format.bits,
            scale_bits=scale_bits(spec, grid),
            zero_point_bits=0 if spec.symmetric else grid.count * self.format.bits,
        )

    def fit(
        self, x: Float32Array, spec: SpecLike, rng: np.random.Generator, importance: Float32Array | None
    ) -> Parameters:
        """Choose the clipping range of every block and derive scale and zero point from it."""
        if importance is not None:
            raise QuantError(
                f"importance with {self.format}: a range is chosen for all values alike; use a learned codebook such "
                "as KMeans, or importance=None"
            )
        grid = spec.granularity.blocks(x.shape)
        return self.fit_blocks(Blocks(grid.flatten(x), grid), spec)

    def fit_blocks(self, blocks: Blocks, spec: SpecLike) -> Parameters:
        """Do the same with blocks, of which may be known what clipping methods ask for."""
        ranges: Float64Array = np.zeros((blocks.count, 2))
        if blocks.values.size:
            if not np.isfinite(blocks.extremes).all():
                raise_non_finite(blocks.grid.restore(blocks.values))
            ranges = spec.clipping.ranges(blocks, self.format, spec.symmetric)
        return Parameters(*block_parameters(ranges, blocks.grid, spec))

    def levels(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return scale · (value − zero point); ±0 of a float format are one."""
        values = self.format.values().astype(np.float32)
        levels: Float32Array = (values - np.float32(fitted.zero_point[place])) * fitted.scale[place]
        return levels

    def thresholds(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return the edges of the block's buckets."""
        validate_listable(self.format, self.format.bits)
        return self.edges(fitted.scale[place] or np.float32(np.inf), np.float32(fitted.zero_point[place]))
