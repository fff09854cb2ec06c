"""The simple GGUF blocks, with ggml's own fit and rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.clipping import Blocks
from quant_engine.errors import QuantError
from quant_engine.formats import BlockFormat
from quant_engine.granularity import BlockGrid, Granularity, PerGroup, PerSample, PerTensor
from quant_engine.granularity.shapes import matrix_rows
from quant_engine.inputs import Float32Array, Float64Array, raise_non_finite
from quant_engine.kernels import affine, ggml
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer.choices import SpecLike
from quant_engine.quantizer.codecs.base import Fitted, Parameters, validate_choices
from quant_engine.quantizer.codecs.flat import Flat, FlatCodec, Pass
from quant_engine.quantizer.rounding import first_reaching
from quant_engine.quantizer.storage import Storage

NO_MINIMUM = np.float32(-0.0)  # added, it changes nothing, not even −0
ONE = np.float32(1)


@dataclass(frozen=True)
class GgmlCodec(FlatCodec):
    """Blocks of 32: `scale` is d as float16 has it; `learned`, (…, 1) or (…, 2), is d and m before that rounding."""

    format: BlockFormat

    def granularity(self, chosen: Granularity) -> Granularity:
        """Return the format's own blocks, which nothing chosen (`PerTensor()`) stands for too."""
        if isinstance(chosen, PerSample):
            return PerSample(self.granularity(chosen.inner))
        own = PerGroup(self.format.block)
        if isinstance(chosen, PerTensor):
            return own
        if chosen not in (own, short := self._short(own)):
            raise QuantError(
                f"granularity={chosen} with {self.format}: its blocks are runs of {self.format.block} along the last "
                f"axis; use {own}, or use {short} for a shorter last block"
            )
        return chosen

    def blocks(self, granularity: Granularity, shape: tuple[int, ...]) -> BlockGrid:
        """Return the blocks of a tensor of this shape, whose length cannot be chosen."""
        size, short = self.format.block, self._short(granularity)
        if not shape:
            raise QuantError(
                f"a tensor of shape () has no axis for runs of {size}; give w.reshape(1), and granularity={short}"
            )
        if shape[-1] % size and granularity != short:
            row = matrix_rows(shape) if granularity == PerGroup(size) else 0
            matrix = f"give w.reshape(len(w), -1), with rows of {row}, {'and' if row % size else 'or'} " if row else ""
            raise QuantError(
                f"group size {size} does not divide axis {len(shape) - 1} of shape {shape}, and blocks of "
                f"{self.format.name} are always {size}; {matrix}use granularity={short}"
            )
        return granularity.blocks(shape)

    def _short(self, granularity: Granularity) -> Granularity:
        if isinstance(granularity, PerSample):
            return PerSample(self._short(granularity.inner))
        return PerGroup(self.format.block, remainder="short")

    def validate(self, spec: SpecLike) -> None:
        """Check that all is left to the format."""
        validate_choices(spec, "the format has a fit and a rounding of its own")

    def validate_parameters(self, fitted: Fitted) -> None:
        """Check that there are d and m of every block, within float16, and that the scale is what it makes of d."""
        shape = (*fitted.scale.shape, 1 + self.format.has_minimum)
        if fitted.learned is None or fitted.learned.shape != shape:
            given = "nothing" if fitted.learned is None else f"of shape {fitted.learned.shape}"
            raise QuantError(f"learned is {given}; give shape {shape}: d and, if there is one, m of every block")
        stored = _stored(fitted.learned)
        if not np.isfinite(stored).all():
            raise QuantError(
                f"a scale or minimum of {np.abs(fitted.learned).max():.4g} is beyond float16, in which blocks of "
                f"{self.format.name} store it: up to 65504; scale the tensor down"
            )
        if not np.array_equal(stored[..., 0], fitted.scale):
            raise QuantError("scale is not learned[..., 0] rounded to float16; give both of one fit")
        if fitted.zero_point.any():
            raise QuantError(f"zero_point is not 0 everywhere, but {self.format} has none; give zeros")

    def storage(self, spec: SpecLike, shape: tuple[int, ...]) -> Storage:
        """Return whole blocks, and float16 scales and minima."""
        blocks = self.blocks(spec.granularity, shape).count if math.prod(shape) else 0
        return Storage(
            values=math.prod(shape),
            code_bits=blocks * self.format.block * self.format.bits,
            scale_bits=blocks * self.format.parameter_bits,
            zero_point_bits=0,
        )

    def fit(
        self, x: Float32Array, spec: SpecLike, rng: np.random.Generator, importance: Float32Array | None
    ) -> Parameters:
        """Return d and m as ggml finds them."""
        if importance is not None:
            raise QuantError(f"importance with {self.format}, which has a fit of its own; use importance=None")
        grid = self.blocks(spec.granularity, x.shape)
        found = np.zeros((grid.count, 1 + self.format.has_minimum), np.float32)
        if x.size:
            blocks = Blocks(grid.flatten(x), grid)
            if not np.isfinite(blocks.extremes).all():
                raise_non_finite(x)
            found = self._found(blocks)
        learned = np.stack([grid.to_grid(column) for column in found.T], axis=-1)
        return Parameters(_stored(learned)[..., 0], np.zeros(grid.grid, np.int32), learned)

    def _found(self, blocks: Blocks) -> Float32Array:
        """Return d and the minimum, if there is one, of every block."""
        if self.format.has_minimum:
            low, high = np.asarray(blocks.extremes.T, np.float32)
            with np.errstate(over="ignore"):
                return np.stack([(high - low) / np.float32(self.format.qmax), low], axis=1)
        extremes = np.empty(blocks.count, np.float32)

        def work(start: int, stop: int) -> None:
            ggml.first_extremes(blocks.values, blocks.offsets, start, stop, extremes)

        over_ranges(blocks.count, work, cost=blocks.values.size)
        d = extremes / np.float32(-self.format.offset or self.format.qmax)
        return np.asarray(np.abs(d) if self.format.signed else d, np.float32).reshape(-1, 1)

    def encode_pass(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes codes."""
        given = x, flat.grid.offsets, _blocks(flat), self._shape
        return lambda start, stop: ggml.encode_blocks(*given, start, stop, codes)

    def quantize_pass(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values."""
        given = x, flat.grid.offsets, _blocks(flat), self._shape

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            ggml.fake_quantize_blocks(*given, start, stop, out, totals)
            return totals

        return work

    def decode_pass(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes values of codes."""
        given = codes, flat.grid.offsets, _blocks(flat), self._shape
        return lambda start, stop: ggml.decode_blocks(*given, start, stop, out)

    def levels(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return the values of all codes; those that are equal, where d is 0 or far below m, are one."""
        scale, minimum, *_ = _given(_of(fitted)[place])
        return np.unique(np.asarray(self.format.values(), np.float32) * scale + minimum)

    def thresholds(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return the edges of the block's buckets."""
        scale, minimum, inverse, origin, _ = _given(_of(fitted)[place])

        def value(x: Float32Array) -> Float32Array:
            steps = self.format.decode(self.format.encode((x - origin) * inverse))
            return np.asarray(steps * scale + minimum)

        return first_reaching(value, self.levels(fitted, place)[1:], ONE)

    @property
    def _shape(self) -> tuple[np.float32, np.float32, np.float32, bool]:
        """What the kernels need to know of the format."""
        ends = np.float32(self.format.qmin), np.float32(self.format.qmax)
        return np.float32(self.format.offset), *ends, self.format.signed


def _of(fitted: Fitted) -> Float32Array:
    """Return what was learned, which a quantizer has checked to be there."""
    assert fitted.learned is not None
    return fitted.learned


def _stored(learned: Float32Array) -> Float32Array:
    """Return d and m as float16 has them."""
    with np.errstate(over="ignore"):
        return np.asarray(learned.astype(np.float16), np.float32)


def _given(learned: Any) -> Float32Array:
    """Return what the kernels need to know of blocks, (…, 5): scale, minimum, inverse, origin and d.

    Where 1/d is beyond float32, d is 0 as float16, so that it does not matter which codes the values are given.
    """
    d, stored = learned[..., 0], _stored(learned)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / d
    inverse = np.where(np.isfinite(inverse), inverse, np.float32(0))
    if learned.shape[-1] == 1:
        return np.stack([stored[..., 0], np.full_like(d, NO_MINIMUM), inverse, np.zeros_like(d), d], axis=-1)
    return np.stack([stored[..., 0], stored[..., 1], inverse, learned[..., 1], d], axis=-1)


def _blocks(flat: Flat) -> Float32Array:
    """Return `_given` of every block, in flat order, (blocks, 5)."""
    columns = np.moveaxis(_given(flat.learned), -1, 0)
    return np.stack([flat.grid.from_grid(column) for column in columns], axis=-1)
