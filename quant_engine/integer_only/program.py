"""A network as a list of integer steps, and their execution: codes in, sums of products out, no float on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.integer_only.accumulator import Accumulator, Bounds, Sums
from quant_engine.integer_only.steps import Add, AddUp, AddWindows, Codes, IntegerStep, Memory, MultiplyAccumulate
from quant_engine.kernels.parallel import over_ranges

AT_ONCE = 16  # images that go through all steps together, so that what a step writes is in the cache for the next one


@dataclass(frozen=True, eq=False)
class InputQuantizer:
    """Where images come in, the one place that sees floats: the first layer's quantizer, its codes from 0 on."""

    encode: Callable[[Any], Codes]
    max_code: int


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """A network compiled to integers (`compile_plan`): `quantize` images, then `run`.

    `steps` take what the steps with the numbers in `sources` give, −1 being the images' codes. `scales` are, for each
    layer, the scale of its input and those of its sums (out,); `logit_scale` is what one step of a logit stands for.
    They are for looking back; execution does not read them.
    """

    network: str
    input_shape: tuple[int, ...]
    steps: tuple[IntegerStep, ...]
    sources: tuple[tuple[int, ...], ...]
    input_quantizer: InputQuantizer
    scales: dict[str, tuple[float, NDArray[np.float64]]]
    logit_scale: float
    accumulator: Accumulator = field(default_factory=Accumulator)

    @property
    def bounds(self) -> dict[str, Bounds]:
        """The worst case of every sum, by layer (and by pooling and addition): all of them fit 32 bits, or fewer."""
        added = MultiplyAccumulate | Add | AddUp | AddWindows
        return {step.name: step.bounds for step in self.steps if isinstance(step, added)}

    @property
    def straight(self) -> bool:
        """Whether each step takes what the one before gives."""
        return self.sources == tuple((number - 1,) for number in range(len(self.steps)))

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
        return self.input_quantizer.encode(images)

    def run(self, codes: Codes) -> Sums:
        """Return the logits (n, classes) of quantized images, int32 in steps of `logit_scale`.

        Raises:
            QuantError: for what are no codes of images, and for a sum that the accumulator does not hold.
        """
        self._validate(codes)
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
        """Yield every step with what comes in (of two, the first) and what goes out.

        Raises:
            QuantError: as `run`.
        """
        self._validate(codes)
        yield from self._steps(codes, Memory())

    def _through(self, codes: Codes, memory: Memory) -> Sums:
        *_, (_, _, logits) = self._steps(codes, memory)
        return logits

    def _steps(self, codes: Codes, memory: Memory) -> Iterator[tuple[IntegerStep, NDArray[Any], NDArray[Any]]]:
        found: dict[int, NDArray[Any]] = {-1: codes}
        for number, (step, sources) in enumerate(zip(self.steps, self.sources, strict=True)):
            given = found[sources[0]]
            if isinstance(step, Add):
                found[number] = step.add(given, found[sources[1]], self.accumulator, memory)
            else:
                found[number] = step.run(given, self.accumulator, memory)
            yield step, given, found[number]

    def _validate(self, codes: Any) -> None:
        dtype = getattr(codes, "dtype", type(codes).__name__)
        if dtype != np.uint8:
            raise QuantError(f"the images are {dtype}: integer-only execution takes uint8 codes, as `quantize` gives")
        if codes.shape[1:] != self.input_shape:
            raise QuantError(f"codes of shape {codes.shape}; give (images, {', '.join(map(str, self.input_shape))})")
        if codes.size and int(codes.max()) > self.input_quantizer.max_code:
            raise QuantError(
                f"the code {int(codes.max())} is beyond the input's greatest, {self.input_quantizer.max_code}"
            )
