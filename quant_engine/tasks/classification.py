"""Inputs with a label each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from quant_engine.batches import sample_count
from quant_engine.errors import QuantError
from quant_engine.inputs import as_integers, as_model_inputs
from quant_engine.tasks.base import Batch, Logits, Result, pick_output
from quant_engine.tasks.comparison import LOSS, Comparison, as_logits, cross_entropy
from quant_engine.tasks.pairs import pairs
from quant_engine.tasks.samples import SampledTask
from quant_engine.tasks.score import Accuracy, Score, mean, share_of

TOP = 5


class Classification(SampledTask):
    """Labels (n,), each the place of its class in the outputs (n, classes), logits or probabilities.

    Data are inputs (n, …) with `labels` (n,), one set that is split by `seed`; or splits, {"test": (inputs, labels)},
    where a set may also be an iterable of such pairs, or a function that returns one when it is needed.

    Example:
        >>> task = Classification(np.zeros((16, 3), np.float32), np.arange(16) % 4)
        >>> sorted(task.splits), task.count("test")
        (['calibration', 'search', 'test'], 8)
    """

    def __init__(
        self, data: Any, labels: Any = None, unit: str = "sample", output: str | None = None, seed: int = 0
    ) -> None:
        """Keep the data; `output` names that of the logits, where a model gives several."""
        self._output = output
        super().__init__(data if labels is None else (data, labels), unit, seed)

    def logits(self, batch: Batch, outputs: Any) -> Logits:
        """Return the logits (n, classes), of probabilities their log, and the labels.

        Raises:
            QuantError: for outputs of another shape, and labels beyond the classes.
        """
        logits, labels = pick_output(outputs, self._output, "logits"), batch.targets
        if logits.ndim != 2 or logits.shape[1] <= labels.max():
            raise QuantError(
                f"outputs have shape {tuple(logits.shape)}, labels go up to {labels.max()}; "
                "give a model with outputs (n, classes) and labels from 0 to classes − 1"
            )
        return Logits(as_logits(logits), labels)

    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return accuracy, cross entropy and top-5 accuracy; against floating point, agreement, KL and SQNR."""
        correct, top, losses, moved = [], [], [], Comparison()
        for batch, outputs, plain in results:
            logits, labels = self.logits(batch, outputs)
            own = logits[np.arange(len(labels)), labels]
            correct.append(logits.argmax(axis=1) == labels)
            top.append((logits > own[:, None]).sum(axis=1) < TOP)
            losses.append(cross_entropy(logits, labels))
            if plain is not None:
                moved.add(self.logits(batch, plain).values, logits)
        right = np.concatenate(correct)
        found: list[Score] = [
            Accuracy(int(right.sum()), len(right), right.astype(np.float64)),
            mean(LOSS, np.concatenate(losses), "nats"),
            share_of(f"top-{TOP} accuracy", np.concatenate(top)),
        ]
        return {score.name: score for score in found} | moved.scores()

    def _read(self, given: Any) -> Iterable[Batch]:
        for inputs, labels in pairs(given, "(inputs, labels)"):
            arrays = as_model_inputs(inputs)
            places = as_integers(labels, "labels", 0, np.iinfo(np.int64).max, "give the places of the classes, from 0")
            if places.shape != (sample_count(arrays),):
                raise QuantError(f"{sample_count(arrays)} inputs have labels of shape {places.shape}; give (n,)")
            yield Batch(arrays, places.astype(np.int64))

    @property
    def _setting(self) -> str:
        return f"{self._output}"
