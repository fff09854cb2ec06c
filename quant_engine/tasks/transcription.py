"""Reading text from inputs: lines of writing, speech."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import Outputs, sample_count
from quant_engine.checks import as_list
from quant_engine.errors import QuantError
from quant_engine.inputs import as_model_inputs
from quant_engine.tasks.base import Batch, Result, pick_output
from quant_engine.tasks.comparison import DIVERGENCE, Comparison, as_logits, vectors
from quant_engine.tasks.pairs import pairs
from quant_engine.tasks.samples import SampledTask
from quant_engine.tasks.score import Score, mean, ratio, share_of

Decoder = Callable[[Outputs], Sequence[str]]


def ctc_decode(outputs: Outputs, characters: Sequence[str]) -> list[str]:
    """Return the texts of outputs (n, steps, classes), class 0 blank and class i the i-th character.

    The most probable class of each step, repetitions once, blanks left out (Graves et al. 2006, section 3.2).

    Raises:
        QuantError: for other shapes, and classes without a character.

    Example:
        >>> ctc_decode(np.eye(3)[[[1, 1, 0, 1, 2]]], "ab")
        ['aab']
    """
    steps = pick_output(outputs, None, "logits")
    if steps.ndim != 3 or steps.shape[2] != len(characters) + 1:
        raise QuantError(
            f"outputs have shape {steps.shape}; {len(characters)} characters need (n, steps, {len(characters) + 1}), "
            "class 0 the blank"
        )
    found = []
    for classes in steps.argmax(axis=2):
        kept = classes[np.flatnonzero(np.diff(classes, prepend=0))]
        found.append("".join(characters[place - 1] for place in kept if place))
    return found


class Transcription(SampledTask):
    """Texts that a model reads from its inputs; spaces at their ends do not count.

    Data are inputs (n, …) with `texts`, one set that is split by `seed`; or splits, {"test": (inputs, texts)}, where a
    set may be an iterable of such pairs, for inputs of several widths. `characters` are those of the model's classes,
    read by `ctc_decode`; or `decode` makes texts of outputs.
    """

    def __init__(
        self,
        data: Any,
        texts: Any = None,
        characters: Sequence[str] | None = None,
        decode: Decoder | None = None,
        unit: str = "line",
        seed: int = 0,
    ) -> None:
        """Keep inputs and texts."""
        if (characters is None) == (decode is None):
            raise QuantError("give characters, for CTC decoding with class 0 as the blank, or decode, one of the two")
        self._characters = characters
        self._decode: Decoder = decode or partial(ctc_decode, characters=characters or "")
        super().__init__(data if texts is None else (data, texts), unit, seed)

    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return exact match and character error rate (edits per character); against floating point, equal texts.

        And KL divergence, step by step, where the outputs are classes of characters: logits, or their probabilities.
        """
        exact: list[bool] = []
        same: list[bool] = []
        edits: list[int] = []
        lengths: list[int] = []
        moved = Comparison()
        for batch, outputs, plain in results:
            read, texts = self._texts(outputs, batch), [text.strip() for text in batch.targets]
            exact += [one == other for one, other in zip(read, texts, strict=True)]
            edits += [edit_distance(one, other) for one, other in zip(read, texts, strict=True)]
            lengths += map(len, texts)
            if plain is not None:
                same += [one == other for one, other in zip(read, self._texts(plain, batch), strict=True)]
                if self._characters is not None:
                    moved.add(_logits(plain), _logits(outputs))
        found = [
            share_of("exact match", exact),
            ratio("character error rate", np.array(edits, np.float64), np.array(lengths, np.float64)),
        ]
        found += [share_of("same text", same)] if same else []
        found += [] if moved.empty else [mean(DIVERGENCE, moved.divergences, "nats")]
        return {score.name: score for score in found}

    def _read(self, given: Any) -> Iterable[Batch]:
        for inputs, texts in pairs(given, "(inputs, texts)"):
            arrays = as_model_inputs(inputs)
            listed = as_list(texts, str, "texts", "give a text for each sample")
            if len(listed) != sample_count(arrays) or not all(text.strip() for text in listed):
                raise QuantError(f"{sample_count(arrays)} inputs have {len(listed)} texts; give each one, none empty")
            yield Batch(arrays, listed)

    @property
    def characters(self) -> Sequence[str] | None:
        """Those of the model's classes, from class 1 on; None where `decode` makes the texts."""
        return self._characters

    @property
    def _setting(self) -> str:
        known = self._characters
        return f"{getattr(self._decode, '__qualname__', 'ctc_decode')}|{None if known is None else list(known)}"

    def _texts(self, outputs: Outputs, batch: Batch) -> list[str]:
        found = [text.strip() for text in as_list(self._decode(outputs), str, "texts", "decode must return texts")]
        if len(found) != len(batch.targets):
            raise QuantError(f"decode returned {len(found)} texts of {len(batch.targets)} samples; it must return each")
        return found


def _logits(outputs: Outputs) -> NDArray[np.floating]:
    """Return the logits (steps, classes) of all samples."""
    logits: NDArray[np.floating] = as_logits(vectors(pick_output(outputs, None, "logits")))
    return logits


def edit_distance(one: str, other: str) -> int:
    """Return the least number of characters to insert, delete or replace (Levenshtein 1966).

    Example:
        >>> edit_distance("kitten", "sitting")
        3
    """
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        corner, row[0] = row[0], i
        for j, match in enumerate(other, 1):
            corner, row[j] = row[j], min(corner + (letter != match), row[j] + 1, row[j - 1] + 1)
    return row[-1]
