"""What a model's BatchNorms remember of the data it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_engine.inputs import Float32Array
from quant_engine.models.layer import Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class NormStatistics:
    """A module with its BatchNorms in place, and what these remember.

    Attributes:
        module: the module, in evaluation mode.
        parts: each BatchNorm's name in the module, by what it is called: the layer before it, or that name itself.
        moments: mean and deviation √(σ² + ε) of what each receives, (channels,), by what it is called.
        input_shape: that of one sample.
        input_range: between which values inputs of mean 0 and deviation 1 lie, where it is known that they have these.
    """

    module: nn.Module
    parts: Mapping[str, str]
    moments: Mapping[str, tuple[Float32Array, Float32Array]]
    input_shape: Shape
    input_range: tuple[float, float] | None = None


def statistics_of(module: nn.Module, input_shape: Shape) -> NormStatistics | None:
    """Return the statistics that a module's BatchNorms keep, None where it has none."""
    from torch.nn.modules.batchnorm import _BatchNorm

    moments = {}
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None:
            moments[name] = part.running_mean.numpy().copy(), (part.running_var + part.eps).sqrt().numpy()
    return NormStatistics(module, {name: name for name in moments}, moments, input_shape) if moments else None
