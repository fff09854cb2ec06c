"""Scores that studies keep, in a store: a study that was stopped, or whose process was killed, goes on where it was."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np

from quant_engine.store.scores import read_score, write_score
from quant_engine.store.store import Store, result_key
from quant_engine.tasks import Score

Key = tuple[str | int | None, ...]
Scores = Mapping[str, Score]
SAMPLES = "samples"


class KeptScores(MutableMapping[Any, Scores]):
    """Scores by the keys of `attribute`, of one network on one task, in a store and in memory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store, key = Store(f"{folder}/measured.sqlite"), ("search", "fc", "plan", None)
        ...     KeptScores(store, "model", "task")[key] = {"loss": Score("loss", 0.5, 2, (0.4, 0.6))}
        ...     KeptScores(store, "model", "task")[key]["loss"].value
        0.5
    """

    def __init__(self, store: Store, model: str, task: str) -> None:
        """Keep what is measured of a model with this digest on a task with this key."""
        self._store, self._about = store, (model, task)
        self._read: dict[Key, Scores] = {}

    def __getitem__(self, key: Key) -> Scores:
        """Return what was kept, with what each sample adds."""
        if key not in self._read:
            found = self._store.result(self._name(key))
            if found is None:
                raise KeyError(key)
            self._read[key] = {name: _score(record) for name, record in found.items()}
        return self._read[key]

    def __setitem__(self, key: Key, scores: Scores) -> None:
        """Keep scores; when this returns, they outlive the process."""
        self._store.keep(self._name(key), {name: _record(score) for name, score in scores.items()})
        self._read[key] = scores

    def __delitem__(self, key: Key) -> None:
        """Forget what this process has read; the store keeps it."""
        del self._read[key]

    def __iter__(self) -> Iterator[Key]:
        """Return the keys that this process has read or written."""
        return iter(self._read)

    def __len__(self) -> int:
        """Return how many there are of them."""
        return len(self._read)

    def _name(self, key: Key) -> str:
        return result_key("scores", *self._about, *("" if part is None else str(part) for part in key))


def _record(score: Score) -> dict[str, Any]:
    samples = None if score.samples is None else base64.b64encode(score.samples.astype("<f8").tobytes()).decode()
    return {**write_score(score), SAMPLES: samples}


def _score(record: dict[str, Any]) -> Score:
    samples = record.get(SAMPLES)
    values = None if samples is None else np.frombuffer(base64.b64decode(samples), "<f8")
    return replace(read_score(record), samples=values)
