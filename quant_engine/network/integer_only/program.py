"""A network as a list of integer steps, and their execution: codes in, sums of products out, no float on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_choice, as_integer
from quant_engine.errors import QuantError
from quant_engine.kernels import integer
from quant_engine.kernels.parallel import over_ranges

Codes = NDArray[np.uint8]
Sums = NDArray[np.int32]
AT_ONCE = 16  # images that go through all steps together, so that what a step writes is in the cache for the next one

WORD = 32  # bits of the accumulator that every program is proved to fit
FEWEST = 8
OVERFLOWS = ("refuse", "wrap")


@dataclass(frozen=True)
class Accumulator:
    """The register in which products are added up: its bits, and whether a sum beyond them is refused or wraps.

    Two's complement: a sum is right if it fits in the end, wherever it has been on the way.

    Raises:
        QuantError: for a width outside 8 to 32 bits, and for another word.
    """

    bits: int = WORD
    overflow: str = "refuse"

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "bits", as_integer(self.bits, "accumulator bits", FEWEST, WORD))
        as_choice(self.overflow, OVERFLOWS, "overflow")

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the greatest number that it holds."""
        return -(1 << self.bits - 1), (1 << self.bits - 1) - 1

    def held(self, sums: Sums, name: str) -> Sums:
        """Return what is left of sums (n, channels, …) in this register.

        Raises:
            QuantError: for a sum beyond it that is not to wrap, naming the layer, the channel and the sum.
        """
        low, high = self.ends
        if self.bits == WORD or (sums.min(initial=0) >= low and sums.max(initial=0) <= high):
            return sums
        if self.overflow == "refuse":
            image, channel, *_ = (int(i) for i in np.argwhere((sums < low) | (sums > high))[0])
            beyond = sums[image, channel][(sums[image, channel] < low) | (sums[image, channel] > high)].flat[0]
            raise QuantError(
                f"layer {name!r}, channel {channel}: the sum {int(beyond)} of an image needs {bits_of(int(beyond))} "
                f"bits, but the accumulator has {self.bits}; take more bits, or overflow='wrap' to see what comes out"
            )
        spare = np.int32(WORD - self.bits)
        kept: Sums = np.right_shift(np.left_shift(sums, spare), spare)
        return kept

    def wrapped(self, total: int) -> int:
        """Return what is left of one sum.

        >>> Accumulator(16).wrapped(40000), Accumulator(16).wrapped(-5)
        (-25536, -5)
        """
        low, _ = self.ends
        return (as_integer(total, "total") - low) % (1 << self.bits) + low


def bits_of(number: int) -> int:
    """Return the least bits of two's complement that hold a number.

    >>> bits_of(127), bits_of(128), bits_of(-128), bits_of(0)
    (8, 9, 8, 1)
    """
    whole = as_integer(number, "number")
    return (whole if whole >= 0 else ~whole).bit_length() + 1


@dataclass(frozen=True, eq=False)
class Bounds:
    """What the sums of each channel can be at worst, for any codes: no order of adding up leaves [low, high]."""

    name: str
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @property
    def channel(self) -> int:
        """The channel that needs the most bits."""
        return int(np.argmax(np.maximum(self.high, ~self.low)))

    @property
    def bits(self) -> int:
        """Bits of an accumulator that cannot overflow."""
        return max(bits_of(int(self.low.min())), bits_of(int(self.high.max())))


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

    `weight` (out, in/groups, height, width) or (out, in); `bias` counts steps of input scale · weight scale; `top` is
    the input's greatest code, the least is 0.
    """

    name: str
    weight: NDArray[np.int8]
    bias: Sums
    zero_point: int
    top: int
    groups: int = 1

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
        low, high = (self.top * np.where(one, weights, 0).sum(axis=1) for one in (weights < 0, weights > 0))
        return Bounds(self.name, start + low, start + high)

    def run(self, codes: Codes, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the sums, of the shape of the layer's outputs."""
        sums = memory.array(self, (len(codes), len(self.weight), *codes.shape[2:]), np.int32)
        if self.weight.ndim == 2:
            integer.multiply(np.ascontiguousarray(codes), self.weight, self.offset, _by_channel(sums))
            return accumulator.held(sums, self.name)
        before, zero_point = (self.weight.shape[2] // 2, self.weight.shape[3] // 2), np.int32(self.zero_point)
        given, size = np.ascontiguousarray(_by_channel(codes)), self.weight.shape[2:]
        out = _by_channel(sums)
        integer.convolve(given, self.pairs, self.bias, self.groups, size, zero_point, (1, 1), before, out)
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
    """The last sums (n, classes) on one scale for all, so that they can be compared; they stay int32."""

    multiplier: Sums
    shift: Sums
    once: bool

    def run(self, sums: Sums, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the logits."""
        logits = memory.array(self, sums.shape, np.int32)
        integer.rescale(_by_channel(sums), self.multiplier, self.shift, self.once, _by_channel(logits))
        return logits


@dataclass(frozen=True, eq=False)
class AddUp:
    """ReLU and sum over the picture, (n, c, h, w) → (n, c); the division is in the multiplier that follows."""

    name: str
    bounds: Bounds

    def run(self, sums: Sums, accumulator: Accumulator, memory: Memory) -> Sums:
        """Return the sums."""
        totals = memory.array(self, sums.shape[:2], np.int32)
        integer.add_up(_by_channel(sums).reshape(sums.shape[1], len(sums), -1), _by_channel(totals))
        return accumulator.held(totals, self.name)


@dataclass(frozen=True, eq=False)
class Largest:
    """Max pooling: the largest code of every 2 × 2, which is the code of the largest value."""

    name: str

    def run(self, codes: Codes, accumulator: Accumulator, memory: Memory) -> Codes:
        """Return the codes."""
        images, channels, height, width = codes.shape
        out = memory.array(self, (images, channels, height // 2, width // 2), np.uint8)
        integer.largest(
            _by_channel(codes).reshape(-1, height, width), _by_channel(out).reshape(-1, height // 2, width // 2)
        )
        return out


@dataclass(frozen=True, eq=False)
class Flatten:
    """One axis in place of channels, height and width."""

    name: str

    def run(self, x: NDArray[Any], accumulator: Accumulator, memory: Memory) -> NDArray[Any]:
        """Return the same numbers, (n, everything else)."""
        return x.reshape(len(x), -1)


IntegerStep = MultiplyAccumulate | Requantize | Rescale | AddUp | Largest | Flatten


@dataclass(frozen=True, eq=False)
class Door:
    """Where images come in, the one place that sees floats: the first layer's quantizer, its codes from 0 on."""

    encode: Callable[[Any], Codes]
    top: int


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """A network compiled to integers (`compile_plan`): quantize images at the door, then `run`.

    `scales` are, for each layer, the scale of its input and those of its sums (out,); `logit_scale` is what one step of
    a logit stands for. They are for looking back; execution does not read them.
    """

    network: str
    input_shape: tuple[int, ...]
    steps: tuple[IntegerStep, ...]
    door: Door
    scales: dict[str, tuple[float, NDArray[np.float64]]]
    logit_scale: float
    accumulator: Accumulator = field(default_factory=Accumulator)

    @property
    def bounds(self) -> dict[str, Bounds]:
        """The worst case of every sum, by layer (and by average pooling): all of them fit 32 bits, or fewer."""
        return {step.name: step.bounds for step in self.steps if isinstance(step, MultiplyAccumulate | AddUp)}

    def accumulating(self, bits: int, overflow: str = "refuse") -> IntegerProgram:
        """Return the same program with another accumulator.

        Raises:
            QuantError: as `Accumulator`.
        """
        return replace(self, accumulator=Accumulator(bits, overflow))

    def layer(self, name: str) -> MultiplyAccumulate:
        """Return a layer's step.

        Raises:
            QuantError: if there is no such layer.
        """
        layers = {step.name: step for step in self.steps if isinstance(step, MultiplyAccumulate)}
        if not isinstance(name, str) or name not in layers:
            raise QuantError(f"{self.network} has no layer {name!r}; its layers are {', '.join(layers)}")
        return layers[name]

    def quantize(self, images: Any) -> Codes:
        """Return the codes of normalised images (n, channels, height, width): the last time that a float is seen."""
        return self.door.encode(images)

    def run(self, codes: Codes) -> Sums:
        """Return the logits (n, classes) of quantized images, int32 in steps of `logit_scale`.

        Raises:
            QuantError: for what are no codes of images, and for a sum that the accumulator does not hold.
        """
        self._check(codes)
        if not len(codes):
            return self._through(codes, Memory())

        def work(start: int, stop: int) -> list[Sums]:
            memory = Memory()
            batches = (codes[i : min(i + AT_ONCE, stop)] for i in range(start, stop, AT_ONCE))
            return [self._through(batch, memory).copy() for batch in batches]

        each = sum(step.weight.size for step in self.steps if isinstance(step, MultiplyAccumulate))
        parts = [part for found in over_ranges(len(codes), work, cost=len(codes) * each) for part in found]
        return np.concatenate(parts)

    def predict(self, codes: Codes) -> NDArray[np.int64]:
        """Return the labels: the largest logit, of equal ones the first.

        Raises:
            QuantError: as `run`.
        """
        labels: NDArray[np.int64] = self.run(codes).argmax(axis=1)
        return labels

    def trace(self, codes: Codes) -> Iterator[tuple[IntegerStep, NDArray[Any], NDArray[Any]]]:
        """Yield every step with what comes in and what goes out.

        Raises:
            QuantError: as `run`.
        """
        self._check(codes)
        x: NDArray[Any] = codes
        memory = Memory()
        for step in self.steps:
            out = step.run(x, self.accumulator, memory)
            yield step, x, out
            x = out

    def _through(self, codes: Codes, memory: Memory) -> Sums:
        x: NDArray[Any] = codes
        for step in self.steps:
            x = step.run(x, self.accumulator, memory)
        return x

    def _check(self, codes: Any) -> None:
        dtype = getattr(codes, "dtype", type(codes).__name__)
        if dtype != np.uint8:
            raise QuantError(f"the images are {dtype}: integer-only execution takes uint8 codes, as `quantize` gives")
        if codes.shape[1:] != self.input_shape:
            raise QuantError(f"codes of shape {codes.shape}; give (images, {', '.join(map(str, self.input_shape))})")
        if codes.size and int(codes.max()) > self.door.top:
            raise QuantError(f"the code {int(codes.max())} is beyond the input's greatest, {self.door.top}")


def _by_channel(x: NDArray[Any]) -> NDArray[Any]:
    """Return what has channels in its second axis with them in its first, as it lies in memory."""
    return x.swapaxes(0, 1)


def _matrix(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    return weight.reshape(len(weight), -1)
