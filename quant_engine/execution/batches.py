"""Batches of what models take and give: arrays, or arrays by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 200  # samples whose values stay in the processor's caches from layer to layer
BATCH_VALUES = 1 << 20  # of all of them
TOKEN_VALUES = 1024  # what an integer counts for: a model makes a vector of each token

Outputs = NDArray[Any] | dict[str, NDArray[Any]]  # one array, or several by name


def sample_count(inputs: Inputs) -> int:
    """Return the number of samples of a batch."""
    return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)


def cut(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Return the samples from `start` to `stop`."""
    if isinstance(inputs, Mapping):
        return {name: array[start:stop] for name, array in inputs.items()}
    return inputs[start:stop]


def split_batch(inputs: Inputs, size: int | None = None) -> Iterator[Inputs]:
    """Yield the samples, at most `size` at a time: by default as many as suit the processor's caches, 200 at most."""
    step = size or _batch_size(inputs)
    for start in range(0, sample_count(inputs), step):
        yield cut(inputs, start, start + step)


def _batch_size(inputs: Inputs) -> int:
    arrays = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    values = max(math.prod(array.shape[1:]) * (1 if array.dtype.kind == "f" else TOKEN_VALUES) for array in arrays)
    return max(1, min(BATCH, BATCH_VALUES // max(values, 1)))


def join_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of consecutive batches as those of one."""
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)  # type: ignore[arg-type]


def as_tensors(inputs: Inputs) -> Tensor | dict[str, Tensor]:
    """Return a copy of a batch as torch's tensors."""
    import torch

    if isinstance(inputs, Mapping):
        return {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    return torch.from_numpy(inputs.copy())


def as_outputs(result: Any) -> Outputs:
    """Return what a module gave: an array for one tensor, arrays by name for several.

    Those of a tuple are called "0", "1" and so on. What are no tensors, such as a cache of keys, is left out.

    Raises:
        QuantError: for no tensor at all.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return np.asarray(result.numpy())
    named = result if isinstance(result, Mapping) else {}
    if isinstance(result, tuple | list):
        named = {str(place): value for place, value in enumerate(result)}
    arrays = {name: np.asarray(value.numpy()) for name, value in named.items() if isinstance(value, torch.Tensor)}
    if not arrays:
        raise QuantError(f"the model gives {type(result).__name__} without a tensor; it must give tensors to be scored")
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))
