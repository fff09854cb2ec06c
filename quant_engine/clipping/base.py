"""What every clipping method answers, and the blocks it is asked about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quant_engine.distribution import UniformFormat, WeightedValues
from quant_engine.errors import QuantError
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import affine
from quant_engine.kernels.parallel import over_ranges

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

    def range_of(self, values: WeightedValues, format: UniformFormat, symmetric: bool) -> tuple[float, float]:
        """Return (lo, hi) of one block of weighted values."""


def finite_number(name: str, value: Any) -> float:
    """Return a field's value as a float.

    Raises:
        QuantError: for what is no number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise QuantError(f"{name}={value!r} is no number; give a float")
    if not -LARGEST_FLOAT64 <= value <= LARGEST_FLOAT64:
        raise QuantError(f"{name}={value!r} is no finite number; give one")
    return float(value) + 0.0  # −0.0 and 0.0 have one key
