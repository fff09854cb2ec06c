"""Finding the document that belongs to a query, by the nearest embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import Outputs, sample_count, split_batch
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array, Inputs, as_model_inputs
from quant_engine.tasks.base import Batch, Result, pick_output
from quant_engine.tasks.comparison import DIVERGENCE, LOSS, Comparison, cross_entropy
from quant_engine.tasks.next_token import MASK
from quant_engine.tasks.pairs import pairs
from quant_engine.tasks.samples import SampledTask
from quant_engine.tasks.score import Score, mean, share_of

Pool = Callable[[Outputs, Inputs], NDArray[Any]]
QUERY, DOCUMENT = "query", "document"
SHARPNESS = 20.0  # by which sentence encoders' cosines are usually trained to be logits (Sentence-BERT's ranking loss)


def mean_pool(outputs: Outputs, inputs: Inputs) -> NDArray[Any]:
    """Return embeddings (n, width): the means of (n, tokens, width) over the tokens of the attention mask.

    Of outputs of two axes, these as they are.
    """
    hidden: NDArray[Any] = pick_output(outputs, None, "last_hidden_state")
    if hidden.ndim == 2:
        return hidden
    mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    weights = np.ones(hidden.shape[:2]) if mask is None else mask.astype(np.float64)
    return np.asarray((hidden * weights[:, :, None]).sum(axis=1) / np.maximum(weights.sum(axis=1, keepdims=True), 1))


class Retrieval(SampledTask):
    """Query i is answered by document i, the nearest by cosine among all documents of the split.

    Data are queries with `documents`, both inputs of the model (n, …), one set that is split by `seed`; or splits,
    {"test": (queries, documents)}. `pool` makes an embedding of each output (`mean_pool`).
    """

    def __init__(self, data: Any, documents: Any = None, pool: Pool = mean_pool, seed: int = 0) -> None:
        """Keep queries and documents."""
        self._pool = pool
        super().__init__(data if documents is None else (data, documents), "pair", seed)

    def scores(self, results: Iterable[Result]) -> dict[str, Score]:
        """Return recall@1 and loss; against floating point, how many queries find the same document, and KL divergence.

        Both take a query's cosines with all documents, times `SHARPNESS`, for the logits of its document.
        """
        found: dict[str, list[Float64Array]] = {QUERY: [], DOCUMENT: []}
        plain: dict[str, list[Float64Array]] = {QUERY: [], DOCUMENT: []}
        for batch, outputs, before in results:
            found[batch.targets].append(self._embedding(outputs, batch.inputs))
            if before is not None:
                plain[batch.targets].append(self._embedding(before, batch.inputs))
        logits = _logits(found)
        right, nearest = np.arange(len(logits)), logits.argmax(axis=1)
        scores = [share_of("recall@1", nearest == right), mean(LOSS, cross_entropy(logits, right), "nats")]
        if plain[QUERY]:
            moved, before = Comparison(), _logits(plain)
            moved.add(before, logits)
            scores.append(share_of("same document", nearest == before.argmax(axis=1)))
            scores.append(mean(DIVERGENCE, moved.divergences, "nats"))
        return {score.name: score for score in scores}

    def _read(self, given: Any) -> Iterable[Batch]:
        for queries, documents in pairs(given, "(queries, documents)"):
            asked, answers = as_model_inputs(queries), as_model_inputs(documents)
            if sample_count(asked) != sample_count(answers):
                counts = sample_count(asked), sample_count(answers)
                raise QuantError(f"{counts[0]} queries have {counts[1]} documents; give each its own, in order")
            yield Batch(asked, answers)

    def _cut(self, part: Batch) -> Iterable[Batch]:
        for kind, inputs in ((QUERY, part.inputs), (DOCUMENT, part.targets)):
            yield from (Batch(some, kind) for some in split_batch(inputs))

    def data(self, split: str) -> tuple[Inputs, NDArray[Any]]:
        """Refuse: there are no labels.

        Raises:
            QuantError: always.
        """
        raise QuantError("a task of Retrieval has no labels; use batches, scores or evaluate")

    @property
    def _setting(self) -> str:
        return f"{self._pool.__module__}.{self._pool.__qualname__}"

    def _embedding(self, outputs: Outputs, inputs: Inputs) -> Float64Array:
        found = np.asarray(self._pool(outputs, inputs), np.float64)
        if found.ndim != 2 or len(found) != sample_count(inputs):
            raise QuantError(f"embeddings have shape {found.shape}; pool must return ({sample_count(inputs)}, width)")
        norms: Float64Array = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.maximum(norms, np.finfo(np.float64).tiny)


def _logits(embeddings: Mapping[str, list[Float64Array]]) -> Float64Array:
    """Return how near each query is to each document (queries, documents)."""
    queries, documents = (np.concatenate(embeddings[kind]) for kind in (QUERY, DOCUMENT))
    found: Float64Array = SHARPNESS * (queries @ documents.T)
    return found
