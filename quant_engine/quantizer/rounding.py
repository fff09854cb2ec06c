"""How x / scale becomes a whole number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance
from quant_engine.errors import QuantError
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array
from quant_engine.kernels import affine, rounding

LARGEST_KEY = int(np.float32(np.inf).view(np.int32))
NO_NOISE = np.empty(0, np.float32)


@dataclass(frozen=True)
class Rounding:
    """A way to round: its numpy function (none if it is random) and the number kernels know it by (none: nearest)."""

    function: Callable[..., Any] | None
    mode: int | None = None

    @property
    def encode(self) -> Callable[..., Any]:
        """The kernel that writes codes."""
        return affine.encode_blocks if self.mode is None else rounding.encode_blocks

    @property
    def fake_quantize(self) -> Callable[..., Any]:
        """The kernel that writes values and adds up the metrics."""
        return affine.fake_quantize_blocks if self.mode is None else rounding.fake_quantize_blocks

    def arguments(
        self, shape: tuple[int, ...], grid: BlockGrid, rng: np.random.Generator | None
    ) -> tuple[()] | tuple[int, Float32Array]:
        """Return what these kernels take beyond those of rounding to nearest: the mode, and one random number a value.

        The numbers are drawn in the order of the tensor's elements, whatever its blocks; `rng=None` means seed 0.
        """
        if self.mode is None:
            return ()
        if self.function is not None:
            return self.mode, NO_NOISE
        drawn = (np.random.default_rng(0) if rng is None else rng).random(shape, np.float32)
        return self.mode, grid.flatten(np.asarray(drawn, np.float32))

    def thresholds(self, reached: Float32Array, scale: np.float32) -> Float32Array:
        """Return, for each of the whole numbers, the least float32 x whose x / scale rounds to it or above.

        Raises:
            QuantError: if rounding is random.
        """
        if self.function is None:
            raise QuantError('rounding="stochastic" has no thresholds: values between two levels go to either')
        return first_reaching(self.function, reached, scale)


def validate_generator(rng: object) -> None:
    """Check that random numbers can be drawn, if they are to be.

    Raises:
        QuantError: for what is neither None nor a generator.
    """
    if rng is not None:
        as_instance(rng, np.random.Generator, "rng", "give numpy.random.default_rng(seed)")


def first_reaching(function: Callable[..., Any], reached: Float32Array, scale: np.float32) -> Float32Array:
    """Return, for each number, the least float32 x with function(x / scale) at that number or above."""
    low = np.full(reached.shape, -LARGEST_KEY, np.int64)
    high = -low
    while (high - low > 1).any():  # float32 numbers in order, by their number
        middle = (low + high) // 2
        with np.errstate(over="ignore", invalid="ignore"):  # infinity is tried too, and a scale of 0 divides as such
            enough = function(_numbered(middle) / scale) >= reached
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return _numbered(high)


def _numbered(keys: NDArray[np.int64]) -> Float32Array:
    """Return the float32 that are the keys-th above 0, or below it."""
    return np.copysign(np.abs(keys).astype(np.int32).view(np.float32), np.sign(keys).astype(np.float32))


ROUNDINGS = {
    "nearest": Rounding(np.rint),
    "floor": Rounding(np.floor, rounding.FLOOR),
    "ceil": Rounding(np.ceil, rounding.CEIL),
    "zero": Rounding(np.trunc, rounding.ZERO),
    "stochastic": Rounding(None, rounding.STOCHASTIC),
}
