"""A score of the user's own, from a Python file."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_choice
from quant_engine.errors import QuantError
from quant_engine.inputs import Inputs, as_float64, as_model_inputs
from quant_engine.tasks.base import SPLITS, Batch, Result
from quant_engine.tasks.samples import split_rows
from quant_engine.tasks.score import Better, Score, mean

FORM = "def batches(): yields inputs, or tuples that begin with them; def score(outputs, batch): returns a number"


def from_file(path: str | Path, seed: int = 0) -> UserTask:
    """Return the task of a file that defines `batches()` and `score(outputs, batch)`.

    The file is run: load your own ones only, on your own machine. `batches()` yields batches of inputs, an array or
    arrays by name, or tuples that begin with inputs; `score` receives the model's outputs, as `Network.run` returns
    them, and what `batches` yielded, and returns a number, an array with one for each sample, or a dict of such. A
    score is the mean of all numbers. The file may also set `unit` (what a sample is called; "sample" by default) and
    `better` ("higher", the default, or "lower"). Eight batches or more are split by seed, 1 : 1 : 2, for calibration,
    search and test; fewer are all for test.

    Raises:
        QuantError: for a file that cannot be read or run, or that lacks one of the two functions.
    """
    file = Path(path)
    if not file.is_file():
        raise QuantError(f"{file} is not a file; give the path of a Python file with {FORM}")
    spec = importlib.util.spec_from_file_location(f"score_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise QuantError(f"{file} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise QuantError(f"{file} does not run: {type(error).__name__}: {error}") from error
    for name in ("batches", "score"):
        if not callable(getattr(module, name, None)):
            raise QuantError(f"{file} has no function {name}; it needs {FORM}")
    better = as_choice(getattr(module, "better", "higher"), ("higher", "lower"), f"better in {file}")
    digest = hashlib.sha256(file.read_bytes() + f"|{seed}".encode() * bool(seed)).hexdigest()
    return UserTask(file, module, str(getattr(module, "unit", "sample")), cast(Better, better), digest, seed)


@dataclass(frozen=True, eq=False)
class UserTask:
    """The task of a file; made by `from_file`."""

    file: Path
    module: ModuleType
    unit: str
    better: Better
    key: str
    seed: int = 0
    compares: bool = False

    @property
    def splits(self) -> frozenset[str]:
        """The names of the splits there are."""
        return frozenset(self._parts)

    def count(self, split: str) -> int:
        """Return the number of batches of a split."""
        return len(self.batches(split))

    def batches(self, split: str) -> Sequence[Batch]:
        """Return the file's batches that are for a split.

        Raises:
            QuantError: for a split there is not.
        """
        as_choice(split, [name for name in SPLITS if name in self._parts], "split")
        return self._parts[split]

    def data(self, split: str) -> tuple[Inputs, NDArray[Any]]:
        """Refuse: what the file compares with is its own matter.

        Raises:
            QuantError: always.
        """
        raise QuantError(f"the task of {self.file} has no labels; use batches, scores or evaluate")

    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return the mean of each number that the file's `score` returns, under its name, or "score" for one alone.

        Raises:
            QuantError: for what are no finite numbers, and numbers that are not in every batch.
        """
        found: dict[str, list[NDArray[np.float64]]] = {}
        total = 0
        for batch, outputs, _ in results:
            given = self.module.score(outputs, batch.targets)
            total += 1
            for name, values in (given if isinstance(given, Mapping) else {"score": given}).items():
                found.setdefault(str(name), []).append(self._numbers(name, values))
        missing = [name for name, parts in found.items() if len(parts) < total]
        if missing or not found:
            raise QuantError(f"score in {self.file} returned no {', '.join(missing) or 'number'} for some batches")
        return {name: mean(name, np.concatenate(parts), "", self.better) for name, parts in found.items()}

    def _numbers(self, name: str, values: Any) -> NDArray[np.float64]:
        subject = f"{name!r}, which score in {self.file} returned,"
        array = np.asarray(values)
        array = as_float64(array.astype(np.float64) if array.dtype == np.bool_ else values, subject).reshape(-1)
        if not array.size or not math.isfinite(array.sum()):
            raise QuantError(f"{subject} is {values!r}; it must be a finite number, or an array of such")
        return array

    @cached_property
    def _parts(self) -> dict[str, list[Batch]]:
        batches: Callable[[], Any] = self.module.batches
        given = batches()
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise QuantError(f"batches in {self.file} returned a {type(given).__name__}; it must yield batches")
        parts = [Batch(as_model_inputs(one[0] if isinstance(one, tuple) else one), one) for one in given]
        if not parts:
            raise QuantError(f"batches in {self.file} yielded nothing; it must yield at least one batch")
        return {split: [parts[row] for row in rows] for split, rows in split_rows(len(parts), self.seed).items()}
