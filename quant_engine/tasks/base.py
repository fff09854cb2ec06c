"""What every task gives: samples in splits, and scores of what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import Outputs
from quant_engine.errors import QuantError
from quant_engine.inputs import Inputs
from quant_engine.tasks.score import Score

SPLITS = ("training", "calibration", "search", "test")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples: a model's inputs, and what the task compares the outputs with, if anything."""

    inputs: Inputs
    targets: Any = None


class Result(NamedTuple):
    """What a model makes of a batch, under a plan and in floating point (None where that was not asked for)."""

    batch: Batch
    outputs: Outputs
    plain: Outputs | None


class Logits(NamedTuple):
    """What a model predicts in a batch: logits (rows, classes), and in each row the class that is right, if known.

    Arrays, or torch's tensors with their gradients, as the outputs are.
    """

    values: Any
    classes: Any  # integers (rows,), or None


class Task(Protocol):
    """What a network is measured on."""

    @property
    def unit(self) -> str:
        """What one sample is called, such as "image" or "token"."""

    @property
    def splits(self) -> frozenset[str]:
        """The splits there are, some of `SPLITS`; no sample is in two."""

    @property
    def key(self) -> str:
        """SHA-256 of the task's kind, settings and data."""

    @property
    def compares(self) -> bool:
        """Whether the first score, which pages show, compares with floating point."""

    def count(self, split: str) -> int:
        """Return the number of samples of a split, of the unit."""

    def batches(self, split: str) -> Sequence[Batch]:
        """Return the samples of a split, as many at a time as a model takes at once; the same each time."""

    def data(self, split: str) -> tuple[Inputs, NDArray[Any]]:
        """Return the inputs (n, …) and labels (n,) of a split, or refuse where the task has none."""

    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return all scores by name, the first the most telling; outputs are read once, and not kept.

        Those against floating point are left out where a result has none.
        """


@runtime_checkable
class LogitsTask(Protocol):
    """A task that knows which outputs are logits; they have a loss where the right classes are known."""

    def logits(self, batch: Batch, outputs: Any) -> Logits:
        """Return the logits among a batch's outputs, or refuse outputs of another shape."""


def pick_output(outputs: Any, wanted: str | None, usual: str) -> Any:
    """Return the output of a name, or by default the one with the usual name, or the first of real numbers.

    Raises:
        QuantError: for a name there is not.
    """
    if not isinstance(outputs, dict):
        return outputs
    real = (name for name, values in outputs.items() if np.asarray(values).dtype.kind == "f")
    name = wanted or (usual if usual in outputs else next(real, next(iter(outputs))))
    if name not in outputs:
        raise QuantError(f"the model has no output {name!r}; choose one of {', '.join(outputs)}")
    return outputs[name]
