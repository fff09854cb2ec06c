"""What a model brings besides its layers: all its tensors, and the folder that transformers loaded it from."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from quant_engine.errors import QuantError
from quant_engine.network import Network

TOKENIZER = ("*token*.json", "vocab*", "merges.txt", "*.model", "generation_config.json", "*.jinja", "*processor*.json")


def given_of(network: Network) -> Any:
    """Return the module that somebody gave, None for a model that is none."""
    return getattr(network.model, "given", None)


def folder_of(network: Network) -> pathlib.Path | None:
    """Return the folder that transformers loaded a model from, None for other models and models of no folder."""
    name = getattr(given_of(network), "name_or_path", "")
    folder = pathlib.Path(name) if isinstance(name, str) and name else None
    return folder if folder is not None and (folder / "config.json").is_file() else None


def config_of(network: Network) -> dict[str, Any]:
    """Return the config.json of a model of transformers, without an older quantization; nothing of others."""
    folder, given = folder_of(network), given_of(network)
    if folder is not None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    elif hasattr(given, "config") and hasattr(given.config, "to_diff_dict"):
        config = {**given.config.to_diff_dict(), "architectures": [type(given).__name__]}
    else:
        return {}
    return {key: value for key, value in config.items() if key not in ("quantization_config", "torch_dtype")}


def tokenizer_files(network: Network) -> list[pathlib.Path]:
    """Return the files of the folder that are needed beside weights and config.json."""
    folder = folder_of(network)
    found = () if folder is None else {file for pattern in TOKENIZER for file in folder.glob(pattern)}
    return sorted(file for file in found if file.is_file())


def state_of(network: Network) -> dict[str, Any]:
    """Return all tensors of a model by name; those of a graph that is no module are its layers'."""
    import torch

    try:
        state = network.model.module.state_dict()
    except QuantError:
        arrays = {
            f"{name}.{role}": array
            for name, parts in network.model.parameters.items()
            for role, array in zip(("weight", "bias"), parts, strict=True)
            if array is not None
        }
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    found, seen = {}, set[int]()
    for name, tensor in state.items():  # what layers share is stored once
        if tensor.data_ptr() not in seen or not tensor.numel():
            found[name] = tensor.detach().contiguous().clone()
        seen.add(tensor.data_ptr())
    return found
