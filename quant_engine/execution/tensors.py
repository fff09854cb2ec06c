"""Batches as torch's tensors, and what a module gives as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_engine.batches import Outputs
from quant_engine.errors import QuantError
from quant_engine.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor


def as_tensors(inputs: Inputs) -> Tensor | dict[str, Tensor]:
    """Return a copy of a batch as torch's tensors."""
    import torch

    if isinstance(inputs, Mapping):
        return {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    return torch.from_numpy(inputs.copy())


def as_outputs(result: Any) -> Outputs:
    """Return what a module gave as arrays: one, or several by name (`named_tensors`)."""
    found = named_tensors(result)
    if isinstance(found, dict):
        return {name: np.asarray(tensor.numpy()) for name, tensor in found.items()}
    return np.asarray(found.numpy())


def named_tensors(result: Any) -> Tensor | dict[str, Tensor]:
    """Return what a module gave: a tensor, or tensors by name where there are several.

    Those of a tuple are called "0", "1" and so on. What are no tensors, such as a cache of keys, is left out.

    Raises:
        QuantError: for no tensor at all.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return result
    named = result if isinstance(result, Mapping) else {}
    if isinstance(result, tuple | list):
        named = {str(place): value for place, value in enumerate(result)}
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise QuantError(f"the model gives {type(result).__name__} without a tensor; it must give tensors to be scored")
    return tensors if len(tensors) > 1 else next(iter(tensors.values()))
