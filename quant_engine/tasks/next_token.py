"""Predicting the next token, as a language model does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array, Inputs, as_model_inputs, each_batch
from quant_engine.tasks.base import Batch, Logits, Result, pick_output
from quant_engine.tasks.comparison import Comparison, cross_entropy
from quant_engine.tasks.samples import SampledTask
from quant_engine.tasks.score import Score, exp_mean, mean, quantile

TOKENS, MASK = "input_ids", "attention_mask"
LOG_RATIO, MEAN_DIVERGENCE = "ln(PPL(Q)/PPL(base))", "mean KLD"


class NextToken(SampledTask):
    """Every token of a text is predicted from those before it; scores are called what llama.cpp calls them.

    Data are tokens (n, length), or (length,) of one text, a list or an iterator of such, or arrays by name with
    "input_ids" and "attention_mask", where tokens under a mask of 0 do not count: one set that is split by `seed`, text
    by text, or {split: set}. Logits (n, length, vocabulary) are read batch by batch and not kept.
    """

    def __init__(self, data: Any, output: str | None = None, seed: int = 0) -> None:
        """Keep the tokens; `output` names that of the logits, where a model gives several."""
        self._output = output
        super().__init__(data, "token", seed)

    def count(self, split: str) -> int:
        """Return the number of tokens that are predicted."""
        return sum(int(counted(part.inputs).sum()) for part in self._split(split))

    def logits(self, batch: Batch, outputs: Any) -> Logits:
        """Return the logits (tokens, vocabulary) of the tokens that count, and these tokens.

        Raises:
            QuantError: for outputs of another shape, and tokens beyond the vocabulary.
        """
        tokens, counts = tokens_of(batch.inputs), counted(batch.inputs)
        logits = pick_output(outputs, self._output, "logits")
        if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
            raise QuantError(
                f"outputs have shape {tuple(logits.shape)}, tokens {tokens.shape}; give (n, length, vocabulary)"
            )
        targets = tokens[:, 1:][counts]
        if len(targets) and targets.max() >= logits.shape[2]:
            raise QuantError(f"token {targets.max()} lies beyond the vocabulary of {logits.shape[2]}; check the tokens")
        return Logits(logits[:, :-1][counts], targets)

    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return the perplexity; against floating point, the log of the perplexities' ratio and KL divergences.

        The ratio's interval is that of the paired difference, token by token.
        """
        losses: list[Float64Array] = []
        rises: list[Float64Array] = []
        moved = Comparison()
        for batch, outputs, plain in results:
            logits, targets = self.logits(batch, outputs)
            losses.append(cross_entropy(logits, targets))
            if plain is not None:
                before, _ = self.logits(batch, plain)
                rises.append(losses[-1] - cross_entropy(before, targets))
                moved.add(before, logits)
        found = [exp_mean("perplexity", np.concatenate(losses))]
        if not moved.empty:
            found += [
                mean(LOG_RATIO, np.concatenate(rises)),
                mean(MEAN_DIVERGENCE, moved.divergences, "nats"),
                quantile("median KLD", moved.divergences, 0.5, "nats"),
                quantile("99.9% KLD", moved.divergences, 0.999, "nats"),
                moved.same_top("same top p"),
            ]
        return {score.name: score for score in found}

    def _read(self, given: Any) -> Iterable[Batch]:
        for inputs in each_batch(given):
            arrays = as_model_inputs(inputs)
            if isinstance(arrays, np.ndarray) and arrays.ndim == 1:
                arrays = arrays[None]
            tokens = tokens_of(arrays)
            if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.shape[1] < 2:
                raise QuantError(
                    f"tokens have shape {tokens.shape} and dtype {tokens.dtype}; give integers (n, length), length ≥ 2"
                )
            yield Batch(arrays)

    @property
    def _setting(self) -> str:
        return f"{self._output}"


def tokens_of(inputs: Inputs) -> NDArray[Any]:
    """Return the tokens among inputs.

    Raises:
        QuantError: where no input is called "input_ids".
    """
    if not isinstance(inputs, Mapping):
        return inputs
    if TOKENS not in inputs:
        raise QuantError(f"inputs are {', '.join(inputs)}; one must be the tokens, {TOKENS!r}")
    return inputs[TOKENS]


def counted(inputs: Inputs) -> NDArray[np.bool_]:
    """Return which tokens are predicted (n, length − 1): not the first, masked ones, nor those behind one."""
    tokens = tokens_of(inputs)
    mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    if mask is None:
        return np.ones((len(tokens), tokens.shape[1] - 1), np.bool_)
    return np.asarray((mask[:, 1:] != 0) & (mask[:, :-1] != 0))
