"""The blocks of one tensor, and the order that lays them one after the other in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError


def validate_shape(shape: Any) -> None:
    """Check that a shape is one.

    Raises:
        QuantError: for what is no tuple of integers of 0 or more.
    """
    if not isinstance(shape, tuple):
        raise QuantError(f"shape={shape!r} is not a tuple; give x.shape")
    for size in shape:
        as_integer(size, f"a size of shape {shape}", 0)


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of one tensor: `block` is the shape of each, `shape` that of the tensor.

    `apart` says that every index of axis 0 is a tensor of its own, which shares nothing with the others. `padded` says
    that shorter blocks are stored as whole ones; what fills them is stored, but takes part in nothing else.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    apart: bool = False
    padded: bool = False

    def __post_init__(self) -> None:
        """Check the shape."""
        validate_shape(self.shape)

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

    @property
    def stored(self) -> int:
        """Number of codes that are stored: the values, and what fills padded blocks."""
        return self.count * math.prod(self.block) if self.padded else math.prod(self.shape)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes in the order that makes every block contiguous: single indices, split axes, whole axes."""

        def rank(axis: int) -> int:
            if self.block[axis] >= self.shape[axis]:
                return 2
            return 0 if self.block[axis] == 1 else 1

        return tuple(sorted(range(len(self.shape)), key=rank))

    def flatten(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the values block after block as one contiguous axis; a view where memory order allows."""
        moved = np.ascontiguousarray(x.transpose(self.order)).reshape(-1)
        if not self._in_tiles:
            return moved
        flat = np.empty_like(moved)
        for tiles, runs in self._tiles(moved, flat):
            runs[...] = tiles
        return flat

    def restore(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Undo `flatten`."""
        if self._in_tiles:
            moved = np.empty_like(flat)
            for tiles, runs in self._tiles(moved, flat):
                tiles[...] = runs
        else:
            moved = flat
        moved = moved.reshape([self.shape[axis] for axis in self.order])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.order))).reshape(self.shape)

    @property
    def _split_axes(self) -> list[int]:
        """The axes of which a block holds a run: neither one index nor all, in `order`."""
        return [axis for axis in self.order if 1 < self.block[axis] < self.shape[axis]]

    @property
    def _in_tiles(self) -> bool:
        return len(self._split_axes) == 2

    def _tiles(self, moved: NDArray[Any], flat: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield views of the blocks in the moved and in the flat array, both (before, blocks, blocks, rows, columns).

        They are four, where neither axis divides: whole blocks, those cut short along one axis or the other, and the
        one cut short along both.
        """
        (rows, row_block), (columns, column_block) = ((self.shape[a], self.block[a]) for a in self._split_axes)
        plane, runs = moved.reshape(-1, rows, columns), flat.reshape(-1, rows * columns)
        for row, end, height in _parts(rows, row_block):
            strip = runs[:, row * columns : end * columns].reshape(len(runs), (end - row) // height, height * columns)
            for column, stop, width in _parts(columns, column_block):
                counts = (end - row) // height, (stop - column) // width
                tiles = plane[:, row:end, column:stop].reshape(-1, counts[0], height, counts[1], width)
                held = strip[:, :, height * column : height * stop]
                yield tiles.transpose(0, 1, 3, 2, 4), held.reshape(len(runs), *counts, height, width)

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


def _parts(size: int, block: int) -> Iterator[tuple[int, int, int]]:
    """Yield where the whole blocks of an axis lie, and the shorter one behind them: start, end, block length."""
    whole = size - size % block
    yield 0, whole, block  # there is one: a split axis is longer than its blocks
    if whole < size:
        yield whole, size, size - whole
