"""A file of tensors as a model: its weights can be looked at and quantized, and nothing says how they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32, raise_non_finite
from quant_engine.kernels.describe import largest_magnitude
from quant_engine.kernels.parallel import over_ranges
from quant_engine.models.base import Parameters
from quant_engine.models.layer import Layer
from quant_engine.readers import TensorFile


class TensorModel:
    """Each tensor of real numbers in a file is a layer of its name; values are read when asked for and not kept.

    Raises:
        QuantError: for a file without any.
    """

    def __init__(self, file: TensorFile, name: str = "") -> None:
        """Take the tensors of real numbers."""
        self.file, self.name = file, name or file.path.name
        self.title = self.name
        if not self.layers:
            raise QuantError(f"{self.name} holds no tensor of real numbers; give a file with weights")
        self.parameters: Parameters = _Weights(file, self.layers)

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """The tensors, in the file's order."""
        real = (info for info in self.file.tensors.values() if info.is_real)
        return {info.name: Layer(info.name, "tensor", info.shape, info.name, has_bias=False) for info in real}

    @property
    def digest(self) -> str:
        """The file's."""
        return self.file.digest

    @property
    def module(self) -> NoReturn:
        """There is none."""
        raise self._no_graph()

    @property
    def trace(self) -> NoReturn:
        """There is none."""
        raise self._no_graph()

    @property
    def operators(self) -> NoReturn:
        """There are none."""
        raise self._no_graph()

    @property
    def statistics(self) -> None:
        """There are none."""
        return None

    def as_inputs(self, inputs: Any) -> NoReturn:
        """Refuse any: there is nothing to run."""
        raise self._no_graph()

    def with_parameters(self, parameters: Parameters) -> NoReturn:
        """Refuse other weights: there is nothing to run with them."""
        raise self._no_graph()

    def _no_graph(self) -> QuantError:
        return QuantError(
            f"{self.name} holds tensors, but not the graph that runs them; put them into their module and give that to "
            "from_module"
        )


class _Weights(Mapping[str, tuple[Float32Array, None]]):
    """Weights that are read from the file each time."""

    def __init__(self, file: TensorFile, layers: Mapping[str, Layer]) -> None:
        self._file, self._layers = file, layers

    def __getitem__(self, name: str) -> tuple[Float32Array, None]:
        if name not in self._layers:
            raise KeyError(name)
        values = as_float32(self._file.load(name), name)
        if not _is_finite(values):
            raise_non_finite(values, name)
        return values, None

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _is_finite(values: Float32Array) -> bool:
    """Say whether all values are finite, in one pass without a copy: a large file is read once."""
    flat = np.ascontiguousarray(values).reshape(-1)
    largest = over_ranges(flat.size, lambda start, stop: largest_magnitude(flat, start, stop))
    return bool(np.isfinite(largest).all())
