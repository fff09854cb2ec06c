"""Granularity: which values share one scale, as a block shape.

A granularity turns a tensor's shape into a `BlockGrid`: equal blocks, of which only the last along the split axis may
be shorter. Every block here spans one index of some axes, a run of one axis, and all of the others, so that moving
the axes into that order lays the blocks one after the other in memory; kernels see a flat array and block offsets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.records import Record

Remainder = Literal["refuse", "short"]


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of one tensor: `block` is the shape of each, `shape` that of the tensor.

    `apart` says that every index of axis 0 is a tensor of its own, which shares nothing with the others.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    apart: bool = False

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of blocks along each axis; the shape of scales and zero points."""
        return tuple(
            math.ceil(size / block) if block else 1 for size, block in zip(self.shape, self.block, strict=True)
        )

    @property
    def count(self) -> int:
        """Number of blocks."""
        return math.prod(self.grid)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes in the order that makes every block contiguous: single indices, the split axis, whole axes."""

        def rank(axis: int) -> int:
            if self.block[axis] == self.shape[axis]:
                return 2
            return 0 if self.block[axis] == 1 else 1

        return tuple(sorted(range(len(self.shape)), key=rank))

    def flatten(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the values block after block as one contiguous axis; a view where memory order allows."""
        return np.ascontiguousarray(x.transpose(self.order)).reshape(-1)

    def restore(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Undo `flatten`."""
        moved = flat.reshape([self.shape[axis] for axis in self.order])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.order))).reshape(self.shape)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each block starts in the flat array, and the end: `count + 1` positions."""
        if not any(block and size % block for size, block in zip(self.shape, self.block, strict=True)):
            return np.arange(self.count + 1) * math.prod(self.block)
        lengths = np.ones(1, np.int64)
        for axis in self.order:
            size, block = self.shape[axis], self.block[axis]
            along = np.full(self.grid[axis], block, np.int64)
            if block and size % block:
                along[-1] = size % block
            lengths = np.outer(lengths, along).reshape(-1)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])

    def to_grid(self, per_block: NDArray[Any]) -> NDArray[Any]:
        """Return one value a block, in flat order, as an array of the grid's shape."""
        moved = per_block.reshape([self.grid[axis] for axis in self.order])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.order))).reshape(self.grid)

    def from_grid(self, per_block: NDArray[Any]) -> NDArray[Any]:
        """Undo `to_grid`: one value a block, in flat order."""
        return np.ascontiguousarray(per_block.transpose(self.order)).reshape(-1)

    def slices(self, block: int) -> tuple[slice, ...]:
        """Return where block number `block` (row-major in the grid) lies in the tensor.

        Raises:
            QuantError: if there is no such block.
        """
        if not 0 <= block < self.count:
            raise QuantError(f"block {block} does not exist: shape {self.shape} has blocks 0 to {self.count - 1}")
        place = np.unravel_index(block, self.grid) if self.grid else ()
        return tuple(
            slice(int(i) * step, min((int(i) + 1) * step, size))
            for i, step, size in zip(place, self.block, self.shape, strict=True)
        )


class Granularity(Protocol):
    """A frozen, hashable choice of block shape."""

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return the blocks of a tensor of this shape."""

    def to_json(self) -> str:
        """Return the canonical text."""


def _resolve_axis(axis: int, shape: tuple[int, ...]) -> int:
    if not -len(shape) <= axis < len(shape):
        raise QuantError(f"axis {axis} does not exist in shape {shape}; choose an axis the tensor has, or PerTensor()")
    return axis % len(shape)


def _set_integer(choice: Record, name: str, least: float, what: str) -> None:
    """Check a field, and make a numpy integer a plain one, which JSON and keys can hold."""
    value = getattr(choice, name)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise QuantError(f"{name}={value!r} is no {what}")
    object.__setattr__(choice, name, int(value))


def _set_length(choice: Record, name: str) -> None:
    _set_integer(choice, name, 1, "block length; give an integer of 1 or more")


def _set_axis(choice: Record) -> None:
    _set_integer(choice, "axis", -math.inf, "axis; give an integer")


def _check_remainder(remainder: str) -> None:
    if remainder not in ("refuse", "short"):
        raise QuantError(f'remainder={remainder!r} is unknown; choose "refuse" or "short"')


def _split(shape: tuple[int, ...], axis: int, size: int, remainder: Remainder, what: str) -> int:
    """Return the block length along `axis`, or refuse one that does not divide it."""
    if shape[axis] % size and remainder == "refuse":
        raise QuantError(
            f"{what} {size} does not divide axis {axis} of shape {shape}; "
            f'choose a divisor of {shape[axis]}, or remainder="short" for a shorter last block'
        )
    return min(size, shape[axis])


@dataclass(frozen=True)
class PerTensor(Record):
    """One scale for all values (per layer).

    Example:
        >>> PerTensor().blocks((64, 32)).grid
        (1, 1)
    """

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return the one block."""
        return BlockGrid(shape, shape)


@dataclass(frozen=True)
class PerChannel(Record):
    """One scale for each index of `axis`.

    Example:
        >>> PerChannel(0).blocks((64, 32)).grid
        (64, 1)
    """

    axis: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_axis(self)

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block an index.

        Raises:
            QuantError: if the tensor has no such axis.
        """
        axis = _resolve_axis(self.axis, shape)
        return BlockGrid(shape, tuple(min(1, n) if i == axis else n for i, n in enumerate(shape)))


@dataclass(frozen=True)
class PerChannelGroup(Record):
    """One scale for each run of `channels` indices of `axis`.

    Raises:
        QuantError: on use, where `channels` does not divide the axis and `remainder` is "refuse".

    Example:
        >>> PerChannelGroup(16).blocks((64, 32)).grid
        (4, 1)
    """

    channels: int
    axis: int = 0
    remainder: Remainder = "refuse"

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_length(self, "channels")
        _set_axis(self)
        _check_remainder(self.remainder)

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block a run of channels."""
        axis = _resolve_axis(self.axis, shape)
        length = _split(shape, axis, self.channels, self.remainder, "channel group")
        return BlockGrid(shape, tuple(length if i == axis else n for i, n in enumerate(shape)))


@dataclass(frozen=True)
class PerGroup(Record):
    """One scale for each run of `size` values along `axis`, inside one index of every other axis (sub-channel).

    Raises:
        QuantError: on use, where `size` does not divide the axis and `remainder` is "refuse".

    Example:
        >>> PerGroup(16).blocks((64, 32)).grid
        (64, 2)
        >>> PerGroup(48).blocks((32, 250))
        Traceback (most recent call last):
        ...
        quant_engine.errors.QuantError: group size 48 does not divide axis 1 of shape (32, 250); \
choose a divisor of 250, or remainder="short" for a shorter last block
    """

    size: int
    axis: int = -1
    remainder: Remainder = "refuse"

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_length(self, "size")
        _set_axis(self)
        _check_remainder(self.remainder)

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block a run of values."""
        axis = _resolve_axis(self.axis, shape)
        length = _split(shape, axis, self.size, self.remainder, "group size")
        return BlockGrid(shape, tuple(length if i == axis else min(1, n) for i, n in enumerate(shape)))


@dataclass(frozen=True)
class PerToken(Record):
    """One scale for each row of the last axis: for activations, one a token (in a picture, one a row of pixels).

    A block shape like any other, so on a matrix of weights it is one scale a row. Activations take it in dynamic plans
    only, as the rows of an input that has not been seen have no scales yet.

    Example:
        >>> PerToken().blocks((8, 77, 512)).grid
        (8, 77, 1)
    """

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block a row.

        Raises:
            QuantError: if the tensor is a scalar.
        """
        last = _resolve_axis(-1, shape)
        return BlockGrid(shape, tuple(n if i == last else min(1, n) for i, n in enumerate(shape)))


@dataclass(frozen=True)
class PerSample(Record):
    """The blocks of `inner`, anew in each index of axis 0: what dynamic quantization makes of a batch.

    Example:
        >>> PerSample().blocks((8, 16, 14, 14)).grid, PerSample(PerChannel(1)).blocks((8, 16, 14, 14)).grid
        ((8, 1, 1, 1), (8, 16, 1, 1))
    """

    inner: Granularity = PerTensor()

    def __post_init__(self) -> None:
        """Check the field."""
        if not isinstance(self.inner, tuple(GRANULARITIES.values())):
            raise QuantError(f"inner={self.inner!r} is none of {', '.join(GRANULARITIES)}; give an instance of one")

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return the blocks of every sample.

        Raises:
            QuantError: if the tensor is a scalar, or `inner` does not fit one sample (whose shape keeps axis 0, as 1).
        """
        _resolve_axis(0, shape)
        return BlockGrid(shape, (min(1, shape[0]), *self.inner.blocks((1, *shape[1:])).block[1:]), apart=True)


GRANULARITIES: dict[str, type] = {
    "PerTensor": PerTensor,
    "PerChannel": PerChannel,
    "PerChannelGroup": PerChannelGroup,
    "PerGroup": PerGroup,
    "PerToken": PerToken,
    "PerSample": PerSample,
}
