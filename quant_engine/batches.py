"""Batches of what models take and give: arrays, or arrays by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import Inputs

BATCH = 200  # samples whose values stay in the processor's caches from layer to layer
BATCH_VALUES = 1 << 20  # of all of them
TOKEN_VALUES = 1024  # what an integer counts for: a model makes a vector of each token

Outputs = NDArray[Any] | dict[str, NDArray[Any]]  # one array, or several by name


def sample_count(inputs: Inputs) -> int:
    """Return the number of samples of a batch."""
    return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)


def cut(inputs: Inputs, start: int, stop: int | None) -> Inputs:
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


def merge_like(batches: Iterable[Inputs]) -> list[Inputs]:
    """Return batches with consecutive ones joined whose samples have the same shapes."""
    return [join_batches([*group]) for _, group in itertools.groupby(batches, _sample_shapes)]


def _sample_shapes(inputs: Inputs) -> list[tuple[str, tuple[int, ...]]]:
    named = inputs if isinstance(inputs, Mapping) else {"": inputs}
    return [(name, array.shape[1:]) for name, array in named.items()]


def join_batches(parts: Sequence[Inputs]) -> Outputs:
    """Return consecutive batches as one."""
    if isinstance(parts[0], Mapping):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)  # type: ignore[arg-type]
