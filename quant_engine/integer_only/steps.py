"""The steps of an integer-only program: codes in, sums of products out, no float on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.integer_only.accumulator import WORD, Accumulator, Bounds, Sums
from quant_engine.kernels import integer

Codes = NDArray[np.uint8]
Padding = tuple[tuple[int, int], tuple[int, int]]  # (before, after) by rows and columns


class Memory:
    """What the steps of a program write to, kept from one batch to the next, since new memory costs as much as a step.

    Each step has one array, which the next batch of the same size overwrites.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._arrays: dict[object, NDArray[Any]] = {}

    def array(self, step: object, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Return a step's array (n, channels, …), of whatever values; a channel of all images lies together."""
        images, channels, *places = shape
        found = self._arrays.get(step)
        if found is None or found.shape != (channels, images, *places):
            found = self._arrays[step] = np.empty((channels, images, *places), dtype)
        return found.swapaxes(0, 1)


@dataclass(frozen=True, eq=False)
class MultiplyAccumulate:
    """A layer's sums: bias − z · Σ w + Σ w · code for every place, where z is the code of the input's 0.

    `weight` (out, in/groups, height, width) or (out, in); `bias` counts steps of input scale · weight scale; codes of
    the input lie between 0 and `max_code`. `stride` and `padding` (before, after) by rows and columns.
    """

    name: str
    weight: NDArray[np.int8]
    bias: Sums
    zero_point: int
    max_code: int
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))

    @cached_property
    def correction(self) -> NDArray[np.int64]:
        """What the zero point takes from each channel: −z · Σ w."""
        found: NDArray[np.int64] = -self.zero_point * _matrix(self.weight).sum(axis=1, dtype=np.int64)
        return found

    @cached_property
    def offset(self) -> Sums:
        """Where each channel's sum starts: bias and correction."""
        return (self.bias.astype(np.int64) + self.correction).astype(np.int32)

    @cached_property
    def pairs(self) -> Sums:
        """A convolution's weights (out, …), two in each number, as its kernel takes them."""
        found: Sums = integer.paired(self.weight)
        return found

    @cached_property
    def bounds(self) -> Bounds:
        """The worst case: all codes 0 where the weight pulls one way, all at the top where it pulls the other."""
        weights = _matrix(self.weight).astype(np.int64)
        start = self.bias.astype(np.int64) + self.correction
        low, high = (self.max_code * np.where(one, weights, 0).sum(axis=1) for one in (weights < 0, weights > 0))
        return Bounds(self.name, start + low, start + high)

    def run(self, codes: Codes, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the sums, of the shape of the layer's outputs."""
        if self.weight.ndim == 2:
            sums = memory.array(self, (len(codes), len(self.weight)), np.int32)
            integer.multiply(np.ascontiguousarray(codes), self.weight, self.offset, _by_channel(sums))
            return accumulator.held(sums, self.name)
        shape, size = _pooled(codes.shape[2:], self.weight.shape[2:], self.stride, self.padding), self.weight.shape[2:]
        sums = memory.array(self, (len(codes), len(self.weight), *shape), np.int32)
        given, before = _by_channel(codes), tuple(ends[0] for ends in self.padding)
        if any(sum(ends) >= length for ends, length in zip(self.padding, size, strict=True)):  # wider than the kernel
            given = np.pad(given, ((0, 0), (0, 0), *self.padding), constant_values=self.zero_point)
            before = (0, 0)
        given, zero_point = np.ascontiguousarray(given), np.int32(self.zero_point)
        out = _by_channel(sums)
        integer.convolve(given, self.pairs, self.bias, self.groups, size, zero_point, self.stride, before, out)
        return accumulator.held(sums, self.name)


@dataclass(frozen=True, eq=False)
class Requantize:
    """Sums become codes of the next layer's input: multiplier · 2^(shift − 31), zero point, clamp to [lowest, highest].

    A ReLU is in the clamp: `lowest` is then the zero point. One multiplier and shift a channel. `once`: the product is
    rounded once, not to its high half first.
    """

    multiplier: Sums
    shift: Sums
    once: bool
    zero_point: int
    lowest: int
    highest: int

    def run(self, sums: Sums, accumulator: Accumulator, memory: Memory) -> Codes:
        """Return the codes."""
        codes = memory.array(self, sums.shape, np.uint8)
        integer.requantize(
            _by_channel(sums).reshape(sums.shape[1], -1),
            self.multiplier,
            self.shift,
            self.once,
            self.zero_point,
            self.lowest,
            self.highest,
            _by_channel(codes).reshape(sums.shape[1], -1),
        )
        return codes


@dataclass(frozen=True, eq=False)
class Rescale:
    """Sums (n, channels, …) on one scale for all, so that they can be compared or added; they stay int32."""

    multiplier: Sums
    shift: Sums
    once: bool

    def run(self, sums: Sums, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the rescaled sums."""
        found = memory.array(self, sums.shape, np.int32)
        given, out = (_by_channel(x).reshape(sums.shape[1], -1) for x in (sums, found))
        integer.rescale(np.ascontiguousarray(given), self.multiplier, self.shift, self.once, out)
        return found


@dataclass(frozen=True, eq=False)
class Add:
    """The sum of two that count in the same steps: a residual connection."""

    name: str
    bounds: Bounds

    def add(self, sums: Sums, others: Sums, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the sums."""
        found = memory.array(self, sums.shape, np.int32)
        np.add(sums, others, out=found)
        return accumulator.held(found, self.name)


@dataclass(frozen=True, eq=False)
class Clamp:
    """Sums (n, channels, …) between a least and a greatest of each channel: a ReLU6 that no requantization follows."""

    lowest: Sums
    highest: Sums

    def run(self, sums: Sums, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the clamped sums."""
        found = memory.array(self, sums.shape, np.int32)
        ends = (end.reshape(-1, *[1] * (sums.ndim - 2)) for end in (self.lowest, self.highest))
        np.clip(sums, *ends, out=found)
        return found


@dataclass(frozen=True, eq=False)
class AddUp:
    """Sum over the picture, (n, c, h, w) → (n, c), with `relu` of what is above 0; the next multiplier divides it."""

    name: str
    bounds: Bounds
    relu: bool = True

    def run(self, sums: Sums, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the sums."""
        totals = memory.array(self, sums.shape[:2], np.int32)
        lowest = np.int32(0 if self.relu else -(1 << WORD - 1))
        integer.add_up(_by_channel(sums).reshape(sums.shape[1], len(sums), -1), lowest, _by_channel(totals))
        return accumulator.held(totals, self.name)


@dataclass(frozen=True, eq=False)
class AddWindows:
    """Sum over windows of the picture, what is outside of it being 0; the multiplier that follows divides it."""

    name: str
    bounds: Bounds
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def run(self, sums: Sums, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the sums."""
        windows = _windows(sums, self.size, self.stride, self.padding, 0)
        totals = memory.array(self, windows.shape[:-2], np.int32)
        np.sum(windows, axis=(-2, -1), dtype=np.int32, out=totals)
        return accumulator.held(totals, self.name)


@dataclass(frozen=True, eq=False)
class Largest:
    """Max pooling: the largest code of every window, which is the code of the largest value; of sums likewise."""

    name: str
    size: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: tuple[int, int] = (0, 0)

    @property
    def halving(self) -> bool:
        """Whether the windows are 2 × 2, one next to the other."""
        return (self.size, self.stride, self.padding) == ((2, 2), (2, 2), (0, 0))

    def run(self, x: NDArray[Any], accumulator: Accumulator, memory: Memory) -> NDArray[Any]:
        """Return the largest."""
        images, channels, height, width = x.shape
        ends = tuple((padding, padding) for padding in self.padding)
        shape = _pooled((height, width), self.size, self.stride, ends)
        out = memory.array(self, (images, channels, *shape), x.dtype.type)
        if self.halving:
            integer.largest(_by_channel(x).reshape(-1, height, width), _by_channel(out).reshape(-1, *shape))
        else:
            minimum = np.iinfo(x.dtype).min
            np.max(_windows(x, self.size, self.stride, self.padding, minimum), axis=(-2, -1), out=out)
        return out


@dataclass(frozen=True, eq=False)
class FlattenCodes:
    """One axis in place of channels, height and width."""

    name: str

    def run(self, x: NDArray[Any], accumulator: Accumulator, memory: Memory) -> NDArray[Any]:
        """Return the same numbers, (n, everything else)."""
        return x.reshape(len(x), -1)


IntegerStep = MultiplyAccumulate | Requantize | Rescale | Add | Clamp | AddUp | AddWindows | Largest | FlattenCodes


def _pooled(shape: Sequence[int], size: Sequence[int], stride: Sequence[int], padding: Any) -> tuple[int, ...]:
    """Return how many windows there are, by rows and columns."""
    ends = zip(shape, size, stride, padding, strict=True)
    return tuple((length + sum(frame) - window) // step + 1 for length, window, step, frame in ends)


def _windows(x: NDArray[Any], size: Any, stride: Any, padding: Any, outside: int) -> NDArray[Any]:
    """Return the windows (n, channels, rows, columns, *size) of pictures framed by a number."""
    frame = ((0, 0), (0, 0), *((number, number) for number in padding))
    framed = np.pad(x, frame, constant_values=outside)
    windows = np.lib.stride_tricks.sliding_window_view(framed, size, (2, 3))
    return windows[:, :, :: stride[0], :: stride[1]]


def _by_channel(x: NDArray[Any]) -> NDArray[Any]:
    """Return what has channels in its second axis with them in its first, as it lies in memory."""
    return x.swapaxes(0, 1)


def _matrix(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    return weight.reshape(len(weight), -1)
