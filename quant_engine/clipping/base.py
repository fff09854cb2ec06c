"""What every clipping method answers, and the blocks it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.distribution import Distribution, WeightedValues
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array, Float64Array, as_ranges
from quant_engine.kernels import affine
from quant_engine.kernels.parallel import over_ranges

MANY_BLOCKS = 1 << 10  # so many that dividing the work between blocks divides it evenly

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Blocks:
    """A tensor's values, block after block; block i is values[offsets[i] : offsets[i + 1]].

    What methods need to know of the values is found once, and answers for every format that is asked for then.
    """

    values: Float32Array
    grid: BlockGrid
    known_extremes: Float64Array | None = None
    _found: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, question: Hashable, answer: Callable[[], T]) -> T:
        """Return what is known of the values, found when it is first asked for; of many blocks nothing is kept."""
        if self.count > 1:
            return answer()
        if question not in self._found:
            self._found[question] = answer()
        found: T = self._found[question]
        return found

    @property
    def distribution(self) -> Distribution:
        """Statistics of a block that is the only one."""
        [(low, high)] = self.extremes.tolist()
        return self.once("distribution", lambda: Distribution.between(self.values, low, high))

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

        if self.known_extremes is not None:
            return self.known_extremes
        if self.count >= MANY_BLOCKS:
            return self._extremes_of_many()
        lows, highs = zip(*over_ranges(self.values.size, work), strict=True)
        with np.errstate(invalid="ignore"):  # a signalling NaN is found out by the caller
            return np.stack([np.min(lows, axis=0), np.max(highs, axis=0)], axis=1).astype(np.float64)

    def _extremes_of_many(self) -> Float64Array:
        """Return the extremes, each part of the work writing those of its own blocks."""
        found = np.empty((2, self.count), np.float32)

        def work(first: int, last: int) -> None:
            found[0, first:last], found[1, first:last] = np.inf, -np.inf
            affine.block_extremes(self.values, self.offsets, self.offsets[first], self.offsets[last], *found)

        over_ranges(self.count, work, cost=self.values.size)
        return found.T.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Objective:
    """What a method minimises, at each of n clipping ranges: `values` (n,) of a quantity with a `name` and a `unit`."""

    name: str
    unit: str
    values: Float64Array


class Clipping(Protocol):
    """A frozen, hashable choice of how ranges are found; a spec has checked that it can take the `format`."""

    def ranges(self, blocks: Blocks, format: Any, symmetric: bool) -> Float64Array:
        """Return (lo, hi) of every block, shape (blocks, 2); all values are finite."""

    def range_of(self, values: WeightedValues, format: Any, symmetric: bool) -> tuple[float, float]:
        """Return (lo, hi) of one block of weighted values."""

    def objective(self, values: WeightedValues, format: Any, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return what the method minimises at each clipping range, (n, 2); it is least at that of `range_of`."""


def covered(ranges: ArrayLike, format: Any, symmetric: bool) -> Float64Array:
    """Return ranges (n, 2) as quantizers take them: symmetric about 0 (from 0, for unsigned codes), or holding 0.

    Raises:
        QuantError: for another shape, or values that are not finite.
    """
    array = as_ranges(ranges)
    low, high = np.minimum(array[:, 0], 0.0), np.maximum(array[:, 1], 0.0)
    if symmetric:
        high = np.maximum(-low, high)
        low = -high if format.lowest < 0 else np.zeros_like(high)
    return np.stack([low, high], axis=1)
