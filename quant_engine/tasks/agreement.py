"""Agreement with the model in floating point, where nothing says what is right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quant_engine.inputs import as_model_inputs, each_batch
from quant_engine.tasks.base import Batch, Logits, Result, pick_output
from quant_engine.tasks.comparison import Comparison, as_logits, vectors
from quant_engine.tasks.samples import SampledTask
from quant_engine.tasks.score import Score


class Agreement(SampledTask):
    """Whether a plan gives what floating point gives: no labels are needed.

    Data are inputs (n, …), a list or an iterator of such batches: one set that is split by `seed`, or {split: set}.
    Outputs are (…, classes), logits or probabilities: each vector along the last axis counts.
    """

    compares = True

    def __init__(self, data: Any, unit: str = "sample", output: str | None = None, seed: int = 0) -> None:
        """Keep the inputs; `output` names the one to compare, where a model gives several."""
        self._output = output
        super().__init__(data, unit, seed)

    def logits(self, batch: Batch, outputs: Any) -> Logits:
        """Return each vector along the last axis, as logits; nobody knows the classes."""
        return Logits(as_logits(vectors(pick_output(outputs, self._output, "logits"))), None)

    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return top-1 agreement, and KL divergence and SQNR of the logits."""
        moved = Comparison()
        for batch, outputs, plain in results:
            if plain is not None:
                moved.add(self.logits(batch, plain).values, self.logits(batch, outputs).values)
        return moved.scores()

    def _read(self, given: Any) -> Iterable[Batch]:
        for inputs in each_batch(given):
            yield Batch(as_model_inputs(inputs))

    @property
    def _setting(self) -> str:
        return f"{self._output}"
