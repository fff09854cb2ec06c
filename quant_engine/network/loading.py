"""Networks from what people have: a built-in's name, a pack's, an ONNX file, a transformers folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_engine.batches import cut
from quant_engine.errors import QuantError
from quant_engine.execution import as_tensors
from quant_engine.inputs import Inputs, as_model_inputs
from quant_engine.models import (
    ARCHITECTURES,
    BuiltinModel,
    Model,
    TorchModel,
    fetch_from_hub,
    is_hub_name,
    read_onnx,
    read_transformers,
)
from quant_engine.network.files import BUILTIN
from quant_engine.network.images import FASHION_MNIST
from quant_engine.network.network import Network
from quant_engine.packs import PACKS, open_pack
from quant_engine.tasks import Task

if TYPE_CHECKING:
    from torch import nn

TENSOR_FILES = {  # that hold tensors without a graph, and what reads them
    ".safetensors": "safetensors.torch.load_file(path)",
    ".npz": "numpy.load(path)",
    ".npy": "numpy.load(path)",
    ".gguf": "transformers' from_pretrained(folder, gguf_file=name)",
    ".pt": "torch.load(path, weights_only=True)",
    ".pth": "torch.load(path, weights_only=True)",
    ".bin": "torch.load(path, weights_only=True)",
    ".ckpt": "torch.load(path, weights_only=True)",
}


def load(name_or_path: str | os.PathLike[str], task: Task | None = None) -> Network:
    """Return a network by a built-in's or a pack's name, or from an ONNX file, a folder of transformers, or the hub.

    A task brings data, scores and an example of the inputs; built-in networks and packs have their own. Transformers'
    models are loaded as float32, whatever type is stored.

    Raises:
        QuantError: for another name, a pack that is not installed, files without a graph, graphs without layers, and
            where a package is missing.

    Example:
        >>> load("fashion-cnn").layers()["conv3"].shape
        (64, 32, 3, 3)
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise QuantError(f"name_or_path={name_or_path!r} is neither text nor a path; give a built-in's name or a path")
    if name_or_path in ARCHITECTURES:
        return Network(_builtin(str(name_or_path)), FASHION_MNIST if task is None else task)
    if name_or_path in PACKS:
        model, own = open_pack(str(name_or_path))
        return Network(model, own if task is None else task)
    path = Path(name_or_path)
    return Network(_read(path, None if task is None else _sample(task)), task)


def from_module(module: nn.Module, task: Task | None = None, example: Any = None) -> Network:
    """Return any torch module as a network: its linear layers, convolutions and embeddings can be quantized.

    The module is put into evaluation mode and never changed otherwise. `example` is a batch of its inputs, tensors or
    arrays, one, a tuple or a mapping: it tells the order and the shapes of the layers, and where a run can begin and
    end, so that a changed layer costs only what lies behind it. A task brings data and scores.

    Raises:
        QuantError: for a module without a layer to quantize, and for arrays that are no batch of numbers.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
        >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> network = from_module(module, example=torch.ones(1, 4))
        >>> plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(IntFormat(8)))))
        >>> network.run(np.ones((3, 4), np.float32), plan).shape
        (3, 2)
    """
    return Network(TorchModel(module, _as_tensors(example)), task)


def _as_tensors(example: Any) -> Any:
    """Return an example with tensors where it has arrays."""
    if isinstance(example, np.ndarray):
        return as_tensors(as_model_inputs(example))
    if isinstance(example, tuple):
        return tuple(map(_as_tensors, example))
    return {name: _as_tensors(part) for name, part in example.items()} if isinstance(example, Mapping) else example


def _builtin(name: str) -> BuiltinModel:
    from safetensors.numpy import load as read

    return BuiltinModel(name, ARCHITECTURES[name], read((BUILTIN / f"{name}.safetensors").read_bytes()))


def _sample(task: Task) -> Inputs:
    """Return one sample of a task's inputs."""
    return cut(next(iter(task.batches(min(task.splits)))).inputs, 0, 1)


def _read(path: Path, example: Inputs | None) -> Model:
    """Return the model of a file or folder, whose layers' shapes an example tells.

    Raises:
        QuantError: as `load`.
    """
    if not path.exists() and is_hub_name(path.as_posix()):
        path = fetch_from_hub(path.as_posix())
    if not path.exists():
        raise QuantError(
            f"{str(path)!r} is neither a built-in network ({', '.join(ARCHITECTURES)}), a pack ({', '.join(PACKS)}), "
            "nor a file or folder that exists, nor a name on the hub (organisation/model)"
        )
    if path.is_dir():
        return read_transformers(path, None if example is None else as_tensors(example))
    if path.suffix == ".onnx":
        return read_onnx(path, example)
    reader = TENSOR_FILES.get(path.suffix)
    if reader is None:
        raise QuantError(f"{path} is neither an .onnx file nor a folder that transformers saved; give one of these")
    raise QuantError(
        f"{path} holds tensors, but not the graph that runs them: look into it with quant_engine.readers.open_file; to "
        f"run them, put them into their module, with {reader}, and give the module to from_module; or give the folder "
        "with their config.json"
    )
