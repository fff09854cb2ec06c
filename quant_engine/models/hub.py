"""Folders of transformers by their names on a hub; huggingface_hub's settings for mirrors and offline use hold."""

from __future__ import annotations

import re
from pathlib import Path

from quant_engine.errors import QuantError
from quant_engine.extras import imported

NAME = re.compile(r"[\w.-]+/[\w.-]+")
OF_FILES = (".onnx", ".safetensors", ".npz", ".npy", ".gguf", ".pt", ".pth", ".bin", ".ckpt", ".py", ".txt")
FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # no pickles, and no code


def is_hub_name(text: str) -> bool:
    """Say whether a text has the form organisation/model.

    >>> [is_hub_name(text) for text in ("org/small-1.5", "a/b/c", "../x", "model", "folder/model.onnx")]
    [True, False, False, False, False]
    """
    parts = text.split("/")
    return bool(NAME.fullmatch(text)) and all(part.strip(".") for part in parts) and not text.endswith(OF_FILES)


def fetch_from_hub(name: str) -> Path:
    """Return the local folder of a model on the hub, fetched unless the cache of huggingface_hub has it.

    Only configuration, tokenizer and safetensors are fetched.

    Raises:
        QuantError: if it cannot be fetched, and for a model without safetensors.
    """
    hub = imported("huggingface_hub", "transformers")
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=FILES))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise QuantError(
            f"{name} cannot be fetched from the hub: {said[0]}; check the name and the network, set HF_ENDPOINT for a "
            "mirror, or give the path of a folder that you have"
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise QuantError(
            f"{name} on the hub has no safetensors beside its config.json; convert it, and give the path of the folder"
        )
    return folder
