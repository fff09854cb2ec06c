"""Scalar codebooks that every block learns for itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.distribution import WeightedValues, optimal_codebooks, quantile_codebooks
from quant_engine.errors import QuantError
from quant_engine.formats import KMeans, Quantiles, ScalarCodebook
from quant_engine.granularity import BlockGrid, Granularity
from quant_engine.inputs import Float32Array, Float64Array, raise_non_finite
from quant_engine.kernels import affine, codebooks
from quant_engine.quantizer.choices import SpecLike
from quant_engine.quantizer.codecs.base import Fitted, Parameters, validate_choices, validate_unscaled
from quant_engine.quantizer.codecs.flat import Flat, FlatCodec, Pass
from quant_engine.quantizer.storage import Storage

ENTRY_BITS = 32

LEARNERS: dict[type, Callable[..., Float32Array]] = {KMeans: optimal_codebooks, Quantiles: quantile_codebooks}


@dataclass(frozen=True)
class ScalarCodebookCodec(FlatCodec):
    """x̂ = the nearest codeword of the block. Scale 1, zero point 0.

    `learned`, (*grid, levels), are the codewords of every block, ascending, filled up with NaN where the block has
    fewer distinct values.
    """

    format: ScalarCodebook

    def granularity(self, chosen: Granularity) -> Granularity:
        """Return the blocks chosen."""
        return chosen

    def validate(self, spec: SpecLike) -> None:
        """Check that nothing is asked for that codewords replace: range, scale, zero point, rounding."""
        validate_choices(spec, "codewords are learned where the values are, and values go to the nearest")

    def validate_parameters(self, fitted: Fitted) -> None:
        """Check that every block has codewords, ascending, with NaN after them, and no scale or zero point."""
        shape = (*fitted.scale.shape, self.format.levels)
        if fitted.learned is None or fitted.learned.shape != shape:
            given = "nothing" if fitted.learned is None else f"of shape {fitted.learned.shape}"
            raise QuantError(f"learned is {given}; give shape {shape}: the codewords of every block")
        rows = fitted.learned
        held = np.isfinite(rows)
        ascending = ~held[..., 1:] | (held[..., :-1] & (rows[..., 1:] > rows[..., :-1]))
        if not (held[..., 0].all() and ascending.all() and (held | np.isnan(rows)).all()):
            raise QuantError("the codewords of some block are not finite and ascending, with NaN only after the last")
        validate_unscaled(fitted, "codewords stand for themselves")

    def storage(self, spec: SpecLike, shape: tuple[int, ...]) -> Storage:
        """Return codes, and a codebook of 32-bit entries for every block."""
        grid, values = spec.granularity.blocks(shape), math.prod(shape)
        entries = grid.count * self.format.levels if values else 0
        return Storage(values, grid.stored * self.format.bits, 0, 0, codebook_bits=entries * ENTRY_BITS)

    def fit(
        self, x: Float32Array, spec: SpecLike, rng: np.random.Generator, importance: Float32Array | None
    ) -> Parameters:
        """Learn the codewords of every block."""
        grid = spec.granularity.blocks(x.shape)
        self._validate_size(x.size, x.shape)
        if not np.isfinite(x).all():
            raise_non_finite(x)
        weights = None if importance is None else grid.flatten(importance)
        return self._parameters(grid.flatten(x), grid.offsets, weights, grid)

    def fit_observed(self, blocks: Sequence[WeightedValues], grid: BlockGrid) -> Parameters:
        """Learn the codewords of every block from values with counts, such as those of a histogram."""
        offsets = np.cumsum([0, *(block.values.size for block in blocks)])
        values = np.concatenate([block.values for block in blocks])
        return self._parameters(values, offsets, np.concatenate([block.counts for block in blocks]), grid)

    def _parameters(
        self, values: NDArray[Any], offsets: NDArray[np.int64], weights: NDArray[Any] | None, grid: BlockGrid
    ) -> Parameters:
        found = LEARNERS[type(self.format)](values, offsets, self.format.levels, weights)
        learned = found[grid.to_grid(np.arange(grid.count))]
        return Parameters(np.ones(grid.grid, np.float32), np.zeros(grid.grid, np.int32), learned)

    def _validate_size(self, size: int, shape: tuple[int, ...]) -> None:
        if not size:
            raise QuantError(f"a tensor of shape {shape} has no values that {self.format} could learn from")

    def encode_pass(self, x: Float32Array, flat: Flat, codes: NDArray[Any]) -> Pass:
        """Return what writes numbers of codewords."""
        given = x, flat.grid.offsets, _padded(thresholds_of(_rows(flat)))
        return lambda start, stop: codebooks.encode_blocks(*given, start, stop, codes)

    def quantize_pass(self, x: Float32Array, flat: Flat, out: Float32Array) -> Pass:
        """Return what writes codewords."""
        rows = _rows(flat)
        counts = np.count_nonzero(~np.isnan(rows), axis=1)
        given = x, flat.grid.offsets, rows, counts, _padded(thresholds_of(rows))

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            codebooks.fake_quantize_blocks(*given, start, stop, out, totals)
            return totals

        return work

    def decode_pass(self, codes: NDArray[Any], flat: Flat, out: Float32Array) -> Pass:
        """Return what writes the codewords of their numbers."""
        given = codes, flat.grid.offsets, _rows(flat)

        def work(start: int, stop: int) -> None:
            codebooks.decode_blocks(*given, start, stop, out)
            if np.isnan(out[start:stop]).any():
                raise QuantError("some codes are of codewords that their blocks, with fewer distinct values, have not")

        return work

    def levels(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return the codewords of a block: fewer than `levels` where it had fewer distinct values."""
        assert fitted.learned is not None  # as a quantizer has checked
        row = fitted.learned[place]
        found: Float32Array = row[~np.isnan(row)]
        return found

    def thresholds(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return the edges of the block's buckets."""
        return thresholds_of(self.levels(fitted, place))


def thresholds_of(levels: Float32Array) -> Float32Array:
    """Return, for each level but the first, the least float32 above the middle between it and the one before."""
    middle = 0.5 * (levels[..., :-1].astype(np.float64) + levels[..., 1:])
    near = middle.astype(np.float32)
    return np.where(near <= middle, np.nextafter(near, np.float32(np.inf)), near)


def _padded(thresholds: Float32Array) -> Float32Array:
    """Return rows of thresholds filled up with NaN to one less than a power of two."""
    blocks, count = thresholds.shape
    padded = np.full((blocks, (1 << count.bit_length()) - 1), np.nan, np.float32)
    padded[:, :count] = thresholds
    return padded


def _rows(flat: Flat) -> Float32Array:
    """Return the codewords of every block in flat order, (blocks, levels)."""
    assert flat.learned is not None  # as a quantizer has checked
    places = flat.grid.from_grid(np.arange(flat.grid.count).reshape(flat.grid.grid))
    rows: Float32Array = flat.learned.reshape(flat.grid.count, -1)[places]
    return rows
