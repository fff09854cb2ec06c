"""The samples of a task, in splits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import join_batches, sample_count, split_batch
from quant_engine.checks import as_choice, as_instance, as_integer
from quant_engine.errors import QuantError
from quant_engine.inputs import Inputs
from quant_engine.tasks.base import SPLITS, Batch, Result
from quant_engine.tasks.score import Score

SPLIT_FROM = 8  # samples: fewer make a test split alone
SHARES = {"calibration": 1, "search": 1, "test": 2}

Rows = slice | NDArray[np.int64]
Reader = Callable[[], Sequence[Batch]]


class SampledTask(ABC):
    """A task whose samples are arrays; what is given for a split becomes batches in `_read`.

    Data are one set, which is split by the seed (`split_rows`), or a mapping of splits to sets, each of which is a set,
    an iterable of such, or a function that returns one when it is needed.
    """

    compares = False

    def __init__(self, data: Any, unit: str, seed: int) -> None:
        """Keep the sets that are given by split, or split one."""
        self.unit = as_instance(unit, str, "unit", 'give what one sample is called, such as "image"')
        self._seed = as_integer(seed, "seed", 0)
        self._parts: dict[str, Sequence[Batch]] = {}
        self._readers: dict[str, Reader] = {}
        if isinstance(data, Mapping) and set(data) & set(SPLITS):
            self._readers = {as_choice(split, SPLITS, "split"): self._reader(given) for split, given in data.items()}
            self._validate_apart(data)
        else:
            self._parts = split_parts([*self._read(data)], self._seed)

    @property
    def splits(self) -> frozenset[str]:
        """The names of the splits there are."""
        return frozenset(self._readers or self._parts)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the task's kind, settings and data."""
        found = hashlib.sha256(f"{type(self).__name__}|{self.unit}|{self._setting}|".encode())
        for split in sorted(self.splits):
            found.update(f"{split}|".encode())
            for part in self._split(split):
                _add(found, part.inputs)
                _add(found, part.targets)
        return found.hexdigest()

    def count(self, split: str) -> int:
        """Return the number of samples of a split."""
        return sum(sample_count(part.inputs) for part in self._split(split))

    def batches(self, split: str) -> Sequence[Batch]:
        """Return the samples of a split, as many at a time as suit a model (`split_batch`).

        Raises:
            QuantError: for a split there is not.
        """
        return [batch for part in self._split(split) for batch in self._cut(part)]

    def data(self, split: str) -> tuple[Inputs, NDArray[Any]]:
        """Return the inputs (n, …) and labels (n,) of a split.

        Raises:
            QuantError: for a split there is not, and a task without labels.
        """
        parts = self._split(split)
        if not all(isinstance(part.targets, np.ndarray) for part in parts):
            raise QuantError(f"a task of {type(self).__name__} has no labels; use batches, scores or evaluate")
        return join_batches([part.inputs for part in parts]), np.concatenate([part.targets for part in parts])

    @abstractmethod
    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return all scores by name."""

    @abstractmethod
    def _read(self, given: Any) -> Iterable[Batch]:
        """Yield the samples of a set, checked."""

    @property
    @abstractmethod
    def _setting(self) -> str:
        """What else tells the task from others of its kind."""

    def _cut(self, part: Batch) -> Iterable[Batch]:
        start = 0
        for inputs in split_batch(part.inputs):
            stop = start + sample_count(inputs)
            yield Batch(inputs, take(part.targets, slice(start, stop)))
            start = stop

    def _reader(self, given: Any) -> Reader:
        return lambda: [*self._read(given() if callable(given) else given)]

    def _split(self, split: str) -> Sequence[Batch]:
        as_choice(split, [name for name in SPLITS if name in self.splits], "split")
        if split not in self._parts:
            self._parts[split] = self._readers[split]()
        return self._parts[split]

    def _validate_apart(self, data: Mapping[str, Any]) -> None:
        for split, given in data.items():
            if twin := next((name for name, other in data.items() if name != split and other is given), None):
                raise QuantError(f"{split!r} and {twin!r} are the same data; splits must have no sample in common")


def split_rows(count: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Return which of so many samples are for calibration, search and test, 1 : 1 : 2, drawn by a seed.

    Fewer than 8 are all for test.

    Example:
        >>> {split: rows.tolist() for split, rows in split_rows(8, seed=0).items()}
        {'calibration': [2, 4], 'search': [3, 6], 'test': [0, 1, 5, 7]}
    """
    if count < SPLIT_FROM:
        return {"test": np.arange(count)}
    order, each = np.random.default_rng(seed).permutation(count), count // sum(SHARES.values())
    edges = [each, 2 * each]
    return {split: np.sort(rows) for split, rows in zip(SHARES, np.split(order, edges), strict=True)}


def split_parts(parts: Sequence[Batch], seed: int) -> dict[str, Sequence[Batch]]:
    """Return samples by split, as `split_rows` draws them."""
    sizes = [sample_count(part.inputs) for part in parts]
    found: dict[str, Sequence[Batch]] = {}
    for split, rows in split_rows(sum(sizes), seed).items():
        kept, start = [], 0
        for part, size in zip(parts, sizes, strict=True):
            own = rows[(rows >= start) & (rows < start + size)] - start
            if len(own):
                kept.append(Batch(take(part.inputs, own), take(part.targets, own)))
            start += size
        found[split] = kept
    return found


def take(values: Any, rows: Rows) -> Any:
    """Return some samples of an array, of arrays by name, of a list, or of nothing."""
    if values is None:
        return None
    if isinstance(values, Mapping):
        return {name: array[rows] for name, array in values.items()}
    if isinstance(values, list):
        return values[rows] if isinstance(rows, slice) else [values[row] for row in rows]
    return values[rows]


def _add(found: Any, values: Any) -> None:
    """Add values to a digest, with what tells them from others of the same bytes."""
    if isinstance(values, Mapping):
        for name, array in values.items():
            found.update(f"{name}|".encode())
            _add(found, array)
    elif isinstance(values, np.ndarray):
        found.update(f"{values.dtype}|{values.shape}|".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    else:
        found.update(repr(values).encode())
