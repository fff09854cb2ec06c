"""How a file stores real values as codes: the scale of each block, and which values the codes can stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError

Float32Array = NDArray[np.float32]
MAX_BITS = 16  # of codes whose numbers are listed
BF16_BITS = 16  # of a float32 that bfloat16 leaves out


@final
@dataclass(frozen=True, eq=False)
class StoredQuantization:
    """A tensor's codes and scales as a file has them: x̂ = scale · (code − zero_point) + minimum, in float32.

    Parameters of blocks have the shape of the grid, ⌈shape / block⌉. Types whose blocks are not so simple, such as
    GGUF's I-quants, have no scale: `read` then gives what the blocks stand for, and their levels are those that occur.

    Attributes:
        name: the type of the codes in the file's words.
        shape: the tensor's.
        block: the shape of the values that share a scale.
        bits: width of a code.
        size_bits: codes and all parameters of blocks.
        read: returns the codes; None where the file holds the real values that the codes would stand for.
        scale: one a block.
        zero_point: the code that stands for 0, one a block; 0 if None.
        minimum: what is added, one a block; nothing if None.
        numbers: what a code can be, ascending; None for more than 16 bits.
        dtype: the type to which x̂ is rounded.
    """

    name: str
    shape: tuple[int, ...]
    block: tuple[int, ...]
    bits: int
    size_bits: int
    read: Callable[[], NDArray[Any]] | None
    scale: Float32Array | None = None
    zero_point: NDArray[np.int32] | None = None
    minimum: Float32Array | None = None
    numbers: Float32Array | None = None
    dtype: str = "float32"

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return grid_of(self.shape, self.block)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return math.prod(self.grid)

    @property
    def bits_per_value(self) -> float:
        """All that is stored, divided by the number of values."""
        return self.size_bits / max(math.prod(self.shape), 1)

    @property
    def has_scale(self) -> bool:
        """Whether levels follow from a scale and what a code can be."""
        return self.scale is not None and self.numbers is not None

    def codes(self) -> NDArray[Any]:
        """Return the codes, of the tensor's shape: integers, or small floats.

        Raises:
            QuantError: where there are none: the file holds real values, or its blocks are no codes with one scale.
        """
        if self.read is None or self.scale is None:
            raise QuantError(f"{self.name} of shape {self.shape} has no codes with one scale; give the values")
        return self.read()

    def dequantize(self) -> Float32Array:
        """Return x̂.

        Raises:
            QuantError: where the file holds real values instead of codes.
        """
        if self.read is None:
            raise QuantError(f"{self.name} of shape {self.shape} is a range beside real values; load these")
        found = self.read()
        if self.scale is None:
            return found.astype(np.float32, copy=False)
        parts = (self._spread(part) for part in (self.scale, self.zero_point, self.minimum))
        return self._affine(found, *parts)

    def levels(self, block: int, values: NDArray[Any] | None = None) -> Float32Array:
        """Return what the codes of a block (row-major in the grid) can stand for, ascending.

        Of blocks without a scale they are those that occur among the tensor's `values`.

        Raises:
            QuantError: if there is no such block.
        """
        place = self.slices(block)
        if self.scale is None or self.numbers is None:
            return np.unique((self.dequantize() if values is None else values)[place]).astype(np.float32)
        at = np.unravel_index(block, self.grid)
        given = (None if part is None else part[at] for part in (self.scale, self.zero_point, self.minimum))
        return np.unique(self._affine(self.numbers, *given))

    def ends(self) -> tuple[Float32Array, Float32Array]:
        """Return the outermost levels of all blocks, each of the grid's shape.

        Raises:
            QuantError: for blocks without a scale.
        """
        if self.scale is None or self.numbers is None:
            raise QuantError(f"blocks of {self.name} have no scale of which ranges follow; ask for levels(block)")
        first, last = (
            self._affine(np.float32(number), self.scale, self.zero_point, self.minimum)
            for number in self.numbers[[0, -1]]
        )
        return np.minimum(first, last), np.maximum(first, last)

    def slices(self, block: int) -> tuple[slice, ...]:
        """Return where a block lies in the tensor.

        Raises:
            QuantError: if there is no such block.
        """
        if not 0 <= block < self.blocks:
            raise QuantError(f"block {block} does not exist: shape {self.shape} has blocks 0 to {self.blocks - 1}")
        place = np.unravel_index(block, self.grid)
        return tuple(slice(int(i) * step, (int(i) + 1) * step) for i, step in zip(place, self.block, strict=True))

    def transposed(self) -> StoredQuantization:
        """Return the same of the transposed tensor."""
        read, zero_point, minimum = self.read, self.zero_point, self.minimum
        return replace(
            self,
            shape=self.shape[::-1],
            block=self.block[::-1],
            read=None if read is None else lambda: read().T,
            scale=None if self.scale is None else self.scale.T,
            zero_point=None if zero_point is None else zero_point.T,
            minimum=None if minimum is None else minimum.T,
        )

    def _affine(self, codes: Any, scale: Any, zero_point: Any, minimum: Any) -> Float32Array:
        with np.errstate(all="ignore"):  # scales may be NaN, which is said where the values are used
            found = np.asarray(codes, np.float32)
            if zero_point is not None:
                found = found - np.asarray(zero_point, np.float32)
            found = found * scale
            return _rounded(found if minimum is None else found + minimum, self.dtype)

    def _spread(self, part: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return one number a block so that it meets the block's values; axes that blocks do not split broadcast."""
        if part is None:
            return None
        for axis, (size, block) in enumerate(zip(self.shape, self.block, strict=True)):
            if 1 < block < size:
                part = np.repeat(part, block, axis)[(slice(None),) * axis + (slice(size),)]
        return part


def grid_of(shape: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of blocks along each axis.

    >>> grid_of((4, 100), (1, 32))
    (4, 4)
    """
    return tuple(-(-size // step) if step else 1 for size, step in zip(shape, block, strict=True))


def integers(bits: int, signed: bool) -> Float32Array | None:
    """Return the integers of a width, ascending; None if they are too many to be listed.

    >>> integers(2, signed=True).tolist()
    [-2.0, -1.0, 0.0, 1.0]
    """
    if bits > MAX_BITS:
        return None
    low = -(1 << bits - 1) if signed else 0
    return np.arange(low, low + (1 << bits), dtype=np.float32)


def _rounded(values: NDArray[Any], dtype: str) -> Float32Array:
    """Return float32 values rounded to another type, half to even."""
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float32)
    if dtype != "bfloat16":
        return values.astype(np.float32, copy=False)
    whole = np.ascontiguousarray(values, np.float32).view(np.uint32)
    up = (whole >> BF16_BITS & 1) + np.uint32((1 << BF16_BITS - 1) - 1)
    cut = (whole + up) >> BF16_BITS << BF16_BITS
    return np.where(np.isfinite(values), cut.view(np.float32), values).astype(np.float32, copy=False)
