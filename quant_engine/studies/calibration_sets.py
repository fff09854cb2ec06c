"""Sets of calibration data of several kinds: of all classes, of one class alone, and of noise or random tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import Inputs
from quant_engine.tasks import Batch, take

DRAWS = 4  # sets of each kind
IN_DOMAIN, ONE_CLASS, NOISE, TOKENS = "all", "one", "noise", "tokens"  # kinds
FLAGS = 2  # different integers at most of what marks tokens (masks, segments), and is no token


@dataclass(frozen=True, eq=False)
class CalibrationSets:
    """Sets of equally many samples, by kind: of all classes, of one class each, and of noise for real-valued inputs."""

    size: int
    sets: Mapping[str, Sequence[Inputs]]


def calibration_sets(inputs: Inputs, labels: NDArray[np.int64]) -> CalibrationSets:
    """Draw the sets from labelled samples: at random, the first of each of the most frequent classes, and noise.

    A set has as many samples as the least frequent of those classes. Noise has the mean and deviation of the inputs.

    Example:
        >>> found = calibration_sets(np.arange(12).reshape(6, 2), np.array([0, 0, 1, 1, 2, 2]))
        >>> found.size, [one.tolist() for one in found.sets[ONE_CLASS]][0]
        (2, [[0, 1], [2, 3]])
    """
    classes, counts = np.unique(labels, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:DRAWS]
    size = int(counts[frequent].min())
    sets: dict[str, list[Inputs]] = {
        IN_DOMAIN: [take(inputs, _drawn(len(labels), size, draw)) for draw in range(DRAWS)],
        ONE_CLASS: [take(inputs, np.flatnonzero(labels == classes[place])[:size]) for place in sorted(frequent)],
    }
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f":
        sets[NOISE] = [
            _noise([inputs], (size, *inputs.shape[1:]), np.random.default_rng(draw)) for draw in range(DRAWS)
        ]
    return CalibrationSets(size, sets)


def one_class(batches: Sequence[Batch]) -> list[Inputs]:
    """Return the inputs of the most frequent class, batch by batch; a batch may have none of it."""
    classes, counts = np.unique(np.concatenate([batch.targets for batch in batches]), return_counts=True)
    most = classes[counts.argmax()]
    return [take(batch.inputs, np.flatnonzero(batch.targets == most)) for batch in batches]


def random_inputs(batches: Sequence[Inputs], seed: int = 0) -> list[Inputs]:
    """Return random inputs of the same shapes.

    Real numbers are Gaussian, of the mean and deviation of all batches. Integers are uniform from the least to the
    greatest seen, but those of two different values or fewer stay: they are masks, and a model may refuse empty ones.
    """
    rng = np.random.default_rng(seed)
    if isinstance(batches[0], Mapping):
        named = {name: _random([batch[name] for batch in batches], rng) for name in batches[0]}
        return [{name: arrays[place] for name, arrays in named.items()} for place in range(len(batches))]
    return [*_random([np.asarray(batch) for batch in batches], rng)]


def has_real_inputs(inputs: Inputs) -> bool:
    """Say whether some of a model's inputs are real numbers."""
    return any(array.dtype.kind == "f" for array in (inputs.values() if isinstance(inputs, Mapping) else [inputs]))


def _random(arrays: Sequence[NDArray[Any]], rng: np.random.Generator) -> list[NDArray[Any]]:
    if arrays[0].dtype.kind == "f":
        return [_noise(arrays, array.shape, rng) for array in arrays]
    seen = np.unique(np.concatenate([array.ravel() for array in arrays]))
    if len(seen) <= FLAGS:
        return [*arrays]
    return [rng.integers(seen[0], seen[-1], array.shape, array.dtype, endpoint=True) for array in arrays]


def _noise(like: Sequence[NDArray[Any]], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    values = like[0] if len(like) == 1 else np.concatenate([array.ravel() for array in like])
    drawn = rng.normal(float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)), shape)
    return drawn.astype(values.dtype)


def _drawn(total: int, size: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).choice(total, size, replace=False))
