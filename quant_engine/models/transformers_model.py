"""Folders as transformers saves models: config.json and weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.models.torch_model import TorchModel

if TYPE_CHECKING:
    from torch import nn

TOKENS = "input_ids"


def read_transformers(path: Path, example: Any = None) -> TorchModel:
    """Return the model of a folder in float32, of the class that its config names.

    Without an example, a model of tokens is tried on some.

    Raises:
        QuantError: if transformers cannot load it.
    """
    if not (path / "config.json").is_file():
        raise QuantError(f"the folder {path} has no config.json, as transformers saves it; give one that has")
    transformers = imported("transformers", "transformers")
    import torch

    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        names = config.architectures or ["AutoModel"]
        kind = getattr(transformers, names[0], transformers.AutoModel)
        module = kind.from_pretrained(path, config=config, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise QuantError(f"transformers cannot load the folder {path}: {error}") from error
    _use_linear(module)
    module.config.use_cache = False  # what a causal model remembers of past tokens is no output to score
    if example is None and module.main_input_name == TOKENS:
        example = dict(module.dummy_inputs)
    return TorchModel(module, example, path.name)


def _use_linear(module: nn.Module) -> None:
    """Put linear layers where a model has transformers' own, which store the weight as (in, out)."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    for name, part in list(module.named_modules()):
        if isinstance(part, Conv1D):
            inputs, outputs = part.weight.shape
            linear = nn.Linear(inputs, outputs, device="meta")
            linear.weight, linear.bias = nn.Parameter(part.weight.detach().T.contiguous()), part.bias
            module.set_submodule(name, linear)
