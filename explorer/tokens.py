"""Text and tokens of a language model, by the tokenizer in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explorer import compute
from explorer.caches import ResultKey
from explorer.sources import ModelKey
from explorer.tokenizer_files import read_tokenizer


def tokenizer_of(model: ModelKey) -> Any:
    """Return the tokenizer of a model that transformers has loaded, kept.

    Raises:
        QuantError: for a model without one.
    """
    return compute.kept(ResultKey("tokenizer", model), lambda: read_tokenizer(compute.network(model)))


def tokens_of(model: ModelKey, text: str) -> list[int]:
    """Return the tokens of a text."""
    return [int(token) for token in tokenizer_of(model)(text)["input_ids"]]


def text_of(model: ModelKey, tokens: Sequence[int]) -> str:
    """Return what tokens say."""
    return str(tokenizer_of(model).decode(list(tokens)))
