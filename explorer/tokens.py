"""Text and tokens of a language model, by the tokenizer in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explorer import compute
from explorer.caches import ResultKey
from explorer.sources import ModelKey
from quant_engine import QuantError
from quant_engine.extras import imported


def tokenizer_of(model: ModelKey) -> Any:
    """Return the tokenizer of a model that transformers has loaded, kept.

    Raises:
        QuantError: for a model without one.
    """
    return compute.kept(ResultKey("tokenizer", model), lambda: _read(model))


def _read(model: ModelKey) -> Any:
    folder = getattr(compute.network(model).model.module, "name_or_path", "")
    if not folder:
        raise QuantError(f"{compute.name(model)} has no tokenizer; open a folder that transformers saved")
    transformers = imported("transformers", "transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise QuantError(f"the tokenizer in {folder} cannot be loaded: {error}") from error


def tokens_of(model: ModelKey, text: str) -> list[int]:
    """Return the tokens of a text."""
    return [int(token) for token in tokenizer_of(model)(text)["input_ids"]]


def text_of(model: ModelKey, tokens: Sequence[int]) -> str:
    """Return what tokens say."""
    return str(tokenizer_of(model).decode(list(tokens)))
