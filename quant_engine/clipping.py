"""Clipping: how the range [lo, hi] of each block is chosen.

A method gets all blocks of a tensor at once, flat with offsets, and returns one range a block. The quantizer turns a
range into scale and zero point: it widens asymmetric ranges to hold 0 and takes max(−lo, hi) of symmetric ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quant_engine.distribution import Distribution, UniformFormat
from quant_engine.errors import QuantError
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import affine, search
from quant_engine.kernels.parallel import over_ranges
from quant_engine.records import Record

LARGE_BLOCK = 1 << 18  # values; from here a histogram of the block beats trying candidates on its values
SEARCH_STEPS = 100  # candidates for each smaller block
LARGEST_FLOAT64 = float(np.finfo(np.float64).max)


@dataclass(frozen=True, eq=False)
class Blocks:
    """A tensor's values, block after block; block i is values[offsets[i] : offsets[i + 1]]."""

    values: Float32Array
    grid: BlockGrid

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each block starts, and the end."""
        return self.grid.offsets

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self.grid.count

    def each(self) -> Iterator[Float32Array]:
        """Yield the values of every block."""
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.values[start:stop]

    @cached_property
    def extremes(self) -> Float64Array:
        """The least and greatest value of every block, shape (blocks, 2); not finite where some value is not."""

        def work(start: int, stop: int) -> tuple[Float32Array, Float32Array]:
            low = np.full(self.count, np.inf, np.float32)
            high = np.full(self.count, -np.inf, np.float32)
            affine.block_extremes(self.values, self.offsets, start, stop, low, high)
            return low, high

        lows, highs = zip(*over_ranges(self.values.size, work), strict=True)
        return np.stack([np.min(lows, axis=0), np.max(highs, axis=0)], axis=1).astype(np.float64)


class Clipping(Protocol):
    """A frozen, hashable choice of how ranges are found."""

    def ranges(self, blocks: Blocks, format: UniformFormat, symmetric: bool) -> Float64Array:
        """Return (lo, hi) of every block, shape (blocks, 2); all values are finite."""


@dataclass(frozen=True)
class MinMax(Record):
    """The least and the greatest value."""

    def ranges(self, blocks: Blocks, format: UniformFormat, symmetric: bool) -> Float64Array:
        """Return (min, max) of every block."""
        return blocks.extremes


@dataclass(frozen=True)
class Percentile(Record):
    """A percentile of |x| if symmetric, else [100 − p, p] of x, interpolated linearly.

    Raises:
        QuantError: unless 50 < p ≤ 100.
    """

    p: float

    def __post_init__(self) -> None:
        """Check the field."""
        object.__setattr__(self, "p", _number("p", self.p))
        if not 50.0 < self.p <= 100.0:
            raise QuantError(f"p={self.p} is out of range; a percentile of clipping lies above 50 and up to 100")

    def ranges(self, blocks: Blocks, format: UniformFormat, symmetric: bool) -> Float64Array:
        """Return the percentiles of every block."""
        lengths = np.diff(blocks.offsets)
        found = np.empty((blocks.count, 2))
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            values = blocks.values[blocks.offsets[rows][:, None] + np.arange(length)]
            if symmetric:
                reach = np.percentile(np.abs(values), self.p, axis=1)
                found[rows, 0], found[rows, 1] = -reach, reach
            else:
                found[rows] = np.percentile(values, [100.0 - self.p, self.p], axis=1).T
        return found


@dataclass(frozen=True)
class MinMSE(Record):
    """The range with the least mean squared error of the quantized block."""

    def ranges(self, blocks: Blocks, format: UniformFormat, symmetric: bool) -> Float64Array:
        """Search every block: large ones through their histogram, small ones by trying candidates on the values."""
        lengths = np.diff(blocks.offsets)
        if lengths.max() >= LARGE_BLOCK:
            return np.array([Distribution(block).best_range(format, symmetric) for block in blocks.each()])
        offsets, steps = blocks.offsets, np.zeros(blocks.count)
        if symmetric:
            least, greatest = np.float32(format.qmin), np.float32(format.qmax)

            def scale_only(start: int, stop: int) -> None:
                search.best_even_steps(blocks.values, offsets, SEARCH_STEPS, least, greatest, start, stop, steps)

            over_ranges(blocks.count, scale_only, cost=blocks.values.size)
            reach = steps * format.qmax
            return np.stack([-reach if format.qmin < 0 else 0.0 * reach, reach], axis=1)
        span, zeros = format.qmax - format.qmin, np.zeros(blocks.count, np.int64)

        def scale_and_zero(start: int, stop: int) -> None:
            search.best_offset_steps(blocks.values, offsets, SEARCH_STEPS, span, start, stop, steps, zeros)

        over_ranges(blocks.count, scale_and_zero, cost=blocks.values.size)
        return np.stack([-zeros * steps, (span - zeros) * steps], axis=1)


@dataclass(frozen=True)
class FixedRange(Record):
    """A range taken as it is; floats for every block, or tuples with one value a block (row-major in the grid).

    Raises:
        QuantError: for values that are not finite, lo ≥ hi, or tuples that do not match the blocks.
    """

    lo: float | tuple[float, ...]
    hi: float | tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("lo", "hi"):
            value = getattr(self, name)
            many = isinstance(value, tuple | list | np.ndarray)
            object.__setattr__(self, name, tuple(_number(name, v) for v in value) if many else _number(name, value))
        lo, hi = np.atleast_1d(self.lo), np.atleast_1d(self.hi)
        if lo.size != hi.size and 1 not in (lo.size, hi.size):
            raise QuantError(f"lo has {lo.size} values and hi has {hi.size}; give one a block in both")
        if not (lo < hi).all():
            worst = int(np.argmin(np.broadcast_to(lo < hi, max(lo.shape, hi.shape))))
            raise QuantError(
                f"lo={lo[min(worst, lo.size - 1)]:g} is not below hi={hi[min(worst, hi.size - 1)]:g}; "
                "a clipping range needs lo < hi"
            )

    def ranges(self, blocks: Blocks, format: UniformFormat, symmetric: bool) -> Float64Array:
        """Return the fixed values.

        Raises:
            QuantError: if there are tuples of another length than the number of blocks.
        """
        columns = []
        for name, value in (("lo", self.lo), ("hi", self.hi)):
            column = np.atleast_1d(np.asarray(value, np.float64))
            if column.size not in (1, blocks.count):
                raise QuantError(
                    f"{name} has {column.size} values for {blocks.count} blocks; give one float, or one value a block"
                )
            columns.append(blocks.grid.from_grid(np.broadcast_to(column, blocks.count).reshape(blocks.grid.grid)))
        return np.stack(columns, axis=1)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise QuantError(f"{name}={value!r} is no number; give a float")
    if not -LARGEST_FLOAT64 <= value <= LARGEST_FLOAT64:
        raise QuantError(f"{name}={value!r} is no finite number; give one")
    return float(value) + 0.0  # −0.0 and 0.0 have one key


CLIPPINGS: dict[str, type] = {
    "MinMax": MinMax,
    "Percentile": Percentile,
    "MinMSE": MinMSE,
    "FixedRange": FixedRange,
}
