"""The block shapes that can be chosen, each a frozen record that turns a tensor's shape into blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

from quant_engine.checks import as_integer, as_member
from quant_engine.errors import QuantError
from quant_engine.granularity.grid import BlockGrid, validate_shape
from quant_engine.records import Record

Remainder = Literal["refuse", "short", "pad"]
REMAINDERS = ("refuse", "short", "pad")


class Granularity(Protocol):
    """A frozen, hashable choice of block shape."""

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return the blocks of a tensor of this shape."""

    def to_json(self) -> str:
        """Return the canonical text."""


def _resolve_axis(axis: int, shape: tuple[int, ...]) -> int:
    validate_shape(shape)
    if not -len(shape) <= axis < len(shape):
        there = f"choose one from {-len(shape)} to {len(shape) - 1}, or use PerTensor()" if shape else "use PerTensor()"
        raise QuantError(f"axis {axis} does not exist in shape {shape}; {there}")
    return axis % len(shape)


def _set_integers(choice: Record, names: tuple[str, ...], low: int | None = None) -> None:
    """Check fields, and make numpy integers plain ones, which JSON and keys can hold."""
    for name in names:
        object.__setattr__(choice, name, as_integer(getattr(choice, name), name, low))


def _validate_remainder(remainder: Any) -> None:
    if not isinstance(remainder, str) or remainder not in REMAINDERS:
        raise QuantError(f'remainder={remainder!r} is unknown; choose "refuse", "short" or "pad"')


def _split(shape: tuple[int, ...], axis: int, size: int, remainder: Remainder, what: str, first: str = "") -> int:
    """Return the block length along `axis`, or refuse one that does not divide it; `first` is what to try first."""
    if shape[axis] % size and remainder == "refuse":
        raise QuantError(
            f"{what} {size} does not divide axis {axis} of shape {shape}; {first}"
            f'choose a divisor of {shape[axis]}, or remainder="short" for a shorter last block, "pad" to store it as a '
            "whole one"
        )
    return size if remainder == "pad" and shape[axis] else min(size, shape[axis])


def matrix_rows(shape: tuple[int, ...]) -> int:
    """Return the length of a weight's rows as a matrix (out, everything else), or 0 where they stay what they are."""
    row = math.prod(shape[1:])
    return row if len(shape) > 2 and shape[0] and row > shape[-1] else 0


@final
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


@final
@dataclass(frozen=True)
class PerChannel(Record):
    """One scale for each index of `axis`.

    In a tensor of one axis (a bias, a norm's weight) every value is a channel, and its scale takes more than it did:
    four bits make 36, which `fit` warns of. `PerTensor()` or a `PerGroup` is for these.

    Example:
        >>> PerChannel(0).blocks((64, 32)).grid
        (64, 1)
    """

    axis: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_integers(self, ("axis",))

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block an index.

        Raises:
            QuantError: if the tensor has no such axis.
        """
        axis = _resolve_axis(self.axis, shape)
        return BlockGrid(shape, tuple(min(1, n) if i == axis else n for i, n in enumerate(shape)))


@final
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
        _set_integers(self, ("channels",), 1)
        _set_integers(self, ("axis",))
        _validate_remainder(self.remainder)

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block a run of channels."""
        axis = _resolve_axis(self.axis, shape)
        length = _split(shape, axis, self.channels, self.remainder, "channel group")
        block = tuple(length if i == axis else n for i, n in enumerate(shape))
        return BlockGrid(shape, block, padded=self.remainder == "pad")


@final
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
choose a divisor of 250, or remainder="short" for a shorter last block, "pad" to store it as a whole one
    """

    size: int
    axis: int = -1
    remainder: Remainder = "refuse"

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_integers(self, ("size",), 1)
        _set_integers(self, ("axis",))
        _validate_remainder(self.remainder)

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block a run of values."""
        axis = _resolve_axis(self.axis, shape)
        matrix = ""
        if (row := matrix_rows(shape)) and axis == len(shape) - 1:
            also = ' and remainder="short"' if row % self.size else ""
            matrix = f"give w.reshape(len(w), -1){also}, for rows of {row}; or "
        length = _split(shape, axis, self.size, self.remainder, "group size", matrix)
        block = tuple(length if i == axis else min(1, n) for i, n in enumerate(shape))
        return BlockGrid(shape, block, padded=self.remainder == "pad")


@final
@dataclass(frozen=True)
class PerBlock(Record):
    """One scale for each rectangle of `rows` × `columns` values along two axes, inside one index of every other axis.

    Where a rectangle does not divide an axis, `remainder` decides: "refuse"; "short", the last one is smaller; or
    "pad", the last one is stored whole: what fills it is counted as stored, but has no part in scale and error.

    Raises:
        QuantError: for lengths and axes of the wrong kind; on use, where both axes are the same, or a length does not
            divide its axis and `remainder` is "refuse".

    Example:
        >>> PerBlock(32, 16).blocks((64, 32)).grid
        (2, 2)
        >>> PerBlock(8, 8, axes=(0, 1)).blocks((32, 16, 3, 3)).grid  # output and input channels of a convolution
        (4, 2, 3, 3)
    """

    rows: int
    columns: int
    axes: tuple[int, int] = (0, -1)
    remainder: Remainder = "refuse"

    def __post_init__(self) -> None:
        """Check the fields."""
        _set_integers(self, ("rows", "columns"), 1)
        try:
            row, column = (as_integer(axis, "axis") for axis in self.axes)
        except (QuantError, TypeError, ValueError) as error:
            raise QuantError(f"axes={self.axes!r} are not two axes; give two integers, such as (0, -1)") from error
        object.__setattr__(self, "axes", (row, column))
        _validate_remainder(self.remainder)

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return one block a rectangle."""
        row, column = (_resolve_axis(axis, shape) for axis in self.axes)
        if row == column:
            raise QuantError(
                f"axes={self.axes} are the same one in shape {shape}; choose two, or "
                f'PerGroup({self.columns}, {row}, "short")'
            )
        block = [min(1, n) for n in shape]
        block[row] = _split(shape, row, self.rows, self.remainder, "block of rows")
        block[column] = _split(shape, column, self.columns, self.remainder, "block of columns")
        return BlockGrid(shape, tuple(block), padded=self.remainder == "pad")


@final
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


@final
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
        as_member(self.inner, GRANULARITIES, "inner")

    def blocks(self, shape: tuple[int, ...]) -> BlockGrid:
        """Return the blocks of every sample.

        Raises:
            QuantError: if the tensor is a scalar, or `inner` does not fit one sample (whose shape keeps axis 0, as 1).
        """
        _resolve_axis(0, shape)
        inner = self.inner.blocks((1, *shape[1:]))
        return BlockGrid(shape, (min(1, shape[0]), *inner.block[1:]), apart=True, padded=inner.padded)


GRANULARITIES: dict[str, type] = {
    "PerTensor": PerTensor,
    "PerChannel": PerChannel,
    "PerChannelGroup": PerChannelGroup,
    "PerGroup": PerGroup,
    "PerBlock": PerBlock,
    "PerToken": PerToken,
    "PerSample": PerSample,
}
