"""Ranges read off the values: extremes, percentiles, and ranges taken as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.checks import as_number
from quant_engine.clipping.base import Blocks, Objective, covered
from quant_engine.distribution import WeightedValues
from quant_engine.errors import QuantError
from quant_engine.formats import Format
from quant_engine.inputs import Float32Array, Float64Array, as_ranges
from quant_engine.kernels import describe
from quant_engine.kernels.parallel import over_ranges
from quant_engine.records import Record

LARGE, SAMPLE = 1 << 22, 1 << 16  # values: from which on a sample tells where a percentile lies, and how many it has
FEW = 8  # one in so many values may lie where the sample says that the percentile does


@final
@dataclass(frozen=True)
class MinMax(Record):
    """The least and the greatest value."""

    def ranges(self, blocks: Blocks, format: Format, symmetric: bool) -> Float64Array:
        """Return (min, max) of every block."""
        return blocks.extremes

    def range_of(self, values: WeightedValues, format: Format, symmetric: bool) -> tuple[float, float]:
        """Return the extremes."""
        return values.lo, values.hi

    def objective(self, values: WeightedValues, format: Format, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return the share of the values that is clipped."""
        return Objective("clipped share", "", values.share_outside(covered(ranges, format, symmetric)))


@final
@dataclass(frozen=True)
class MovingAverage(Record):
    """The moving average of the extremes of batches, as observers take it: new = old + constant · (batch − old).

    One tensor is one batch: there it equals `MinMax`.

    Raises:
        QuantError: unless 0 < constant ≤ 1.
    """

    constant: float = 0.01

    def __post_init__(self) -> None:
        """Check the field."""
        object.__setattr__(self, "constant", as_number(self.constant, "constant", high=1.0, above=0.0))

    def ranges(self, blocks: Blocks, format: Format, symmetric: bool) -> Float64Array:
        """Return (min, max) of every block."""
        return blocks.extremes

    def range_of(self, values: WeightedValues, format: Format, symmetric: bool) -> tuple[float, float]:
        """Return the extremes."""
        return values.lo, values.hi

    def objective(self, values: WeightedValues, format: Format, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return what `MinMax` does."""
        return MinMax().objective(values, format, symmetric, ranges)


@final
@dataclass(frozen=True)
class Percentile(Record):
    """A percentile of |x| if symmetric, else [100 − p, p] of x, interpolated linearly.

    Raises:
        QuantError: unless 50 < p ≤ 100.
    """

    p: float

    def __post_init__(self) -> None:
        """Check the field."""
        object.__setattr__(self, "p", as_number(self.p, "p", high=100.0, above=50.0))

    def ranges(self, blocks: Blocks, format: Format, symmetric: bool) -> Float64Array:
        """Return the percentiles of every block."""
        lengths = np.diff(blocks.offsets)
        found = np.empty((blocks.count, 2))
        if blocks.count == 1 and blocks.values.size > LARGE:
            return np.array([blocks.once((self, symmetric), lambda: _ends(blocks.values, self.p, symmetric))])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            values = blocks.values[blocks.offsets[rows][:, None] + np.arange(length)]
            if symmetric:
                reach = np.percentile(np.abs(values), self.p, axis=1)
                found[rows, 0], found[rows, 1] = -reach, reach
            else:
                found[rows] = np.percentile(values, [100.0 - self.p, self.p], axis=1).T
        return found

    def range_of(self, values: WeightedValues, format: Format, symmetric: bool) -> tuple[float, float]:
        """Return the weighted percentiles."""
        if symmetric:
            reach = values.magnitudes.percentile(self.p)
            return -reach, reach
        return values.percentile(100.0 - self.p), values.percentile(self.p)

    def objective(self, values: WeightedValues, format: Format, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return how far the clipped share is from (100 − p) %: that of |x| if symmetric, else on both ends, summed."""
        wanted = 1.0 - self.p / 100.0
        reach = covered(ranges, format, symmetric)
        if symmetric:
            off = values.magnitudes.share_outside(np.stack([0.0 * reach[:, 1], reach[:, 1]], axis=1)) - wanted
            return Objective("distance from the share to clip", "", np.abs(off))
        given = as_ranges(ranges)
        ends = (
            np.stack([given[:, 0], np.full(len(given), np.inf)], 1),
            np.stack([np.full(len(given), -np.inf), given[:, 1]], 1),
        )
        apart = [np.abs(values.share_outside(end) - wanted) for end in ends]
        return Objective("distance from the share to clip", "", apart[0] + apart[1])


@final
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
            many = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim > 0)
            object.__setattr__(self, name, tuple(as_number(v, name) for v in value) if many else as_number(value, name))
        lo, hi = np.atleast_1d(self.lo), np.atleast_1d(self.hi)
        if not (lo.size and hi.size):
            raise QuantError(f"lo={self.lo} and hi={self.hi} hold no values; give floats, or one value a block")
        if lo.size != hi.size and 1 not in (lo.size, hi.size):
            raise QuantError(f"lo has {lo.size} values and hi has {hi.size}; give one a block in both")
        if not (lo < hi).all():
            worst = int(np.argmin(np.broadcast_to(lo < hi, max(lo.shape, hi.shape))))
            raise QuantError(
                f"lo={lo[min(worst, lo.size - 1)]:g} is not below hi={hi[min(worst, hi.size - 1)]:g}; "
                "a clipping range needs lo < hi"
            )

    @property
    def ends(self) -> tuple[float, float]:
        """The range as two floats.

        Raises:
            QuantError: for tuples of several values.
        """
        lo, hi = np.atleast_1d(self.lo), np.atleast_1d(self.hi)
        if max(lo.size, hi.size) > 1:
            raise QuantError(f"the range has {max(lo.size, hi.size)} values for 1 block; give one float for lo and hi")
        return float(lo[0]), float(hi[0])

    def ranges(self, blocks: Blocks, format: Format, symmetric: bool) -> Float64Array:
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

    def range_of(self, values: WeightedValues, format: Format, symmetric: bool) -> tuple[float, float]:
        """Return the fixed values.

        Raises:
            QuantError: if there are tuples of several values, as these are one block.
        """
        return self.ends

    def objective(self, values: WeightedValues, format: Format, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return how far the farther end is from the fixed one: nothing is minimised, but this is least there."""
        fixed = np.array(self.range_of(values, format, symmetric))
        return Objective("distance from the fixed range", "", np.abs(as_ranges(ranges) - fixed).max(axis=1))


def _ends(values: Float32Array, p: float, symmetric: bool) -> tuple[float, float]:
    """Return the percentiles of many values (n,)."""
    if symmetric:
        reach = _percentile(values, p, True)
        return -reach, reach
    return _percentile(values, 100.0 - p, False), _percentile(values, p, False)


def _percentile(values: Float32Array, p: float, of_magnitudes: bool) -> float:
    """Return a percentile of many values (n,), or of their magnitudes, as numpy does, some thirty times as fast.

    A sample tells two values between which the percentile must lie; only those between them are put in order. Where
    the sample was wrong, which counting shows, all are.
    """
    sample = values[:: values.size // SAMPLE]
    sample = np.sort(np.abs(sample) if of_magnitudes else sample)
    place = p / 100 * (sample.size - 1)
    reach = 8 * np.sqrt(max(p / 100 * (1 - p / 100), 1 / sample.size) * sample.size) + 2
    first, last = int(max(place - reach, -1)), int(min(place + reach, sample.size))
    low = sample[first] if first >= 0 else np.float32(-np.inf)
    high = sample[last] if last < sample.size else np.float32(np.inf)
    rank = p / 100 * (values.size - 1)
    below, between = _between(values, low, high, of_magnitudes)
    at = int(rank) - below
    if not 0 <= at < between.size - 1:
        return float(np.percentile(np.abs(values) if of_magnitudes else values, p))
    pair = np.partition(between, [at, at + 1])[at : at + 2].astype(np.float64)
    return float(pair[0] + (pair[1] - pair[0]) * (rank - int(rank)))


def _between(values: Float32Array, low: np.float32, high: np.float32, of_magnitudes: bool) -> tuple[int, Float32Array]:
    """Return how many values, or magnitudes, lie below `low`, and those from there to `high`: none if they are many."""

    def part(start: int, stop: int) -> tuple[int, int, Float32Array]:
        room = np.empty((stop - start) // FEW, np.float32)
        return *describe.between(values[start:stop], low, high, of_magnitudes, room), room

    found = over_ranges(values.size, part)
    few = all(count <= room.size for _, count, room in found)
    return sum(below for below, *_ in found), np.concatenate([room[: few * count] for _, count, room in found])
