"""Running a model on the splits of its task."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from quant_engine.batches import Outputs, cut, merge_like, sample_count
from quant_engine.checks import as_choice, as_integer
from quant_engine.errors import QuantError
from quant_engine.execution.executor import Executor
from quant_engine.execution.finite import finite_outputs
from quant_engine.execution.layer_change import LayerChange
from quant_engine.execution.prefix import PrefixRunner
from quant_engine.inputs import Inputs
from quant_engine.models import Model
from quant_engine.tasks import SPLITS, Batch, Result, Task

PLAIN_BYTES = 64 << 20  # of a split's outputs in floating point: more of them are not kept, but computed again


class SplitRunner:
    """Runs a model on the splits of its task, from the first changed layer on; safe to call from several threads.

    Outputs in floating point, with which those of plans are compared, are kept if they are small.
    """

    def __init__(self, model: Model, executor: Executor, task: Task) -> None:
        """Keep the model, what runs it and its task."""
        self._model, self._executor, self._task = model, executor, task
        self._runs: dict[str, tuple[Sequence[Batch], PrefixRunner]] = {}
        self._plain: dict[str, list[Outputs]] = {}
        self._lock = threading.Lock()

    def batches(self, split: str) -> Sequence[Batch]:
        """Return the batches of a split.

        Raises:
            QuantError: for a split there is not.
        """
        return self._run_of(split)[0]

    def inputs(self, split: str, start: int = 0, stop: int | None = None) -> list[Inputs]:
        """Return the inputs of the samples `start` to `stop` of a split, consecutive ones of the same shape together.

        Raises:
            QuantError: for a split there is not, and where no sample lies between `start` and `stop`.
        """
        ends = as_integer(start, "start"), None if stop is None else as_integer(stop, "stop")
        given = merge_like(batch.inputs for batch in self.batches(split))
        total, before, found = sum(map(sample_count, given)), 0, []
        first, last, _ = slice(*ends).indices(total)
        for part in given:
            found.append(cut(part, max(first - before, 0), max(last - before, 0)))
            before += sample_count(part)
        if not any(map(sample_count, found)):
            raise QuantError(f"no sample lies in [{start}:{stop}] of the {total} of {split!r}; widen the range")
        return [part for part in found if sample_count(part)]

    def outputs(
        self, split: str, changes: Mapping[str, LayerChange], following: Collection[str] | None = None
    ) -> Iterator[Outputs]:
        """Yield the outputs for each batch of a split; layers before the first changed one are not run again.

        `following` are the layers that will be changed next, each alone, where that is known.

        Raises:
            QuantError: for a split there is not, and outputs that are not finite.
        """
        overrides = {name: change.override(name) for name, change in changes.items()}
        runner = self._run_of(split)[1]
        results = runner.outputs(overrides, {name: change.key for name, change in changes.items()}, following)
        return finite_outputs(self._executor, self._model.layers, overrides, runner.batches, results)

    def results(
        self,
        split: str,
        changes: Mapping[str, LayerChange] | None,
        against_float: bool = True,
        following: Collection[str] | None = None,
    ) -> Iterator[Result]:
        """Yield what the model makes of each batch; compared with floating point only if asked for.

        Without changes, as None, outputs are those in floating point. `following` is as for `outputs`.
        """
        batches = self.batches(split)
        plain = self._plain_outputs(split, following) if against_float or changes is None else [None] * len(batches)
        changed = [None] * len(batches) if changes is None else self.outputs(split, changes, following)
        for batch, before, after in zip(batches, plain, changed, strict=True):
            outputs = before if after is None else after
            assert outputs is not None
            yield Result(batch, outputs, before if against_float else None)

    def _plain_outputs(self, split: str, following: Collection[str] | None = None) -> Iterator[Outputs]:
        """Yield the outputs for each batch of a split in floating point, and keep them if they are small."""
        with self._lock:
            kept = self._plain.get(split)
        if kept is not None:
            yield from kept
            return
        found: list[Outputs] = []
        size = 0
        for outputs in self.outputs(split, {}, following):
            size += sum(array.nbytes for array in (outputs.values() if isinstance(outputs, dict) else [outputs]))
            found = [*found, outputs] if size <= PLAIN_BYTES else []
            yield outputs
        if size <= PLAIN_BYTES:
            with self._lock:
                self._plain[split] = found

    def _run_of(self, split: str) -> tuple[Sequence[Batch], PrefixRunner]:
        """Return the batches of a split, and what runs the model on them."""
        as_choice(split, [name for name in SPLITS if name in self._task.splits], "split")
        with self._lock:
            if split not in self._runs:
                batches = self._task.batches(split)
                inputs = [self._model.as_inputs(batch.inputs) for batch in batches]
                self._runs[split] = batches, PrefixRunner(self._executor, inputs)
            return self._runs[split]
