"""The built-in networks as models: stored weights with BatchNorm folded in, and the modules that run them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array
from quant_engine.models.architectures import NORM_SUFFIX, Architecture, Conv, Linear
from quant_engine.models.base import Model, Parameters, digest
from quant_engine.models.folding import BatchNorm, fold_batch_norm
from quant_engine.models.fx_graph import read_graph
from quant_engine.models.graph import Graph
from quant_engine.models.layer import Layer
from quant_engine.models.norms import NormStatistics
from quant_engine.models.trace import Trace, trace

if TYPE_CHECKING:
    from torch import nn

MEAN, DEVIATION = 0.2860, 0.3530  # of the pixels the networks were trained on, from 0 to 1
PIXEL_RANGE = -MEAN / DEVIATION, (1 - MEAN) / DEVIATION  # of pixels normalised to mean 0 and deviation 1
STORED = ("weight", "bias", "running_mean", "running_var")  # torch's names of γ, β, μ and σ²


class BuiltinModel:
    """A built-in network: listing its layers and reading its weights needs no torch, running it does.

    `norms` has the BatchNorm behind each layer that has one, and the layer's weight before it was folded in; those of
    layers with other parameters are gone: what they remember are the outputs of the weights as they were.
    """

    def __init__(self, name: str, architecture: Architecture, stored: Mapping[str, Float32Array]) -> None:
        """Fold every BatchNorm into the stored weights."""
        layers, self.parameters = read_layers(architecture, stored)
        self.name, self.title, self.architecture, self._stored = name, architecture.title, architecture, stored
        self.layers = MappingProxyType(layers)
        self.norms = MappingProxyType(read_norms(architecture, stored))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all layers' names, shapes and values."""
        return digest(self.parameters)

    @cached_property
    def module(self) -> nn.Module:
        """The network as a torch module."""
        return self.architecture.evaluated(self.parameters).eval()

    @cached_property
    def trace(self) -> Trace:
        """How the module runs: step by step."""
        return trace(self.module, tuple(self.layers))

    @cached_property
    def operators(self) -> Graph:
        """What the module computes, operator by operator."""
        import torch

        return read_graph(self.module, torch.zeros(1, *self.architecture.input_shape))

    @cached_property
    def statistics(self) -> NormStatistics | None:
        """What the BatchNorms remember that were folded in."""
        if not self.norms:
            return None
        return NormStatistics(
            self.architecture.with_norms(self.norms, self.parameters),
            {name: name + NORM_SUFFIX for name in self.norms},
            {name: (norm.mean, norm.deviation) for name, norm in self.norms.items()},
            self.architecture.input_shape,
            PIXEL_RANGE,
        )

    def as_inputs(self, inputs: Any) -> Float32Array:
        """Return normalised images that somebody brings, or refuse them."""
        return as_images(inputs, self.architecture.input_shape)

    def with_parameters(self, parameters: Parameters) -> BuiltinModel:
        """Return the network with other weights and biases for some layers."""
        other = BuiltinModel(self.name, self.architecture, self._stored)
        other.parameters = {**self.parameters, **parameters}
        other.norms = MappingProxyType({name: norm for name, norm in self.norms.items() if name not in parameters})
        return other


def as_builtin(model: Model) -> BuiltinModel:
    """Return a model as a built-in one.

    Raises:
        QuantError: for another.

    Example:
        >>> from quant_engine.network import load
        >>> norm = as_builtin(load("fashion-cnn").model).norms["conv1"]
        >>> norm.mean.shape, norm.weight.shape
        ((16,), (16, 1, 3, 3))
    """
    if not isinstance(model, BuiltinModel):
        raise QuantError(f"{model.name} is not a straight run of steps with BatchNorm, as the built-in networks are")
    return model


def read_layers(architecture: Architecture, stored: Mapping[str, Float32Array]) -> tuple[dict[str, Layer], Parameters]:
    """Return every layer and its folded parameters (read-only), in the order in which the layers run."""
    norms = read_norms(architecture, stored)
    layers: dict[str, Layer] = {}
    parameters: dict[str, tuple[Float32Array, Float32Array]] = {}
    for step, input_shape, nonnegative in architecture.layer_inputs():
        owner = layers[step.shares].tied_to or step.shares if step.shares else step.name
        if owner in norms:
            weight, bias = fold_batch_norm(norms[owner])
        else:
            weight, bias = stored[f"{owner}.weight"], stored[f"{owner}.bias"]
        weight.flags.writeable = bias.flags.writeable = False
        parameters[step.name] = weight, bias
        layers[step.name] = Layer(
            name=step.name,
            op="linear" if isinstance(step, Linear) else "conv2d",
            shape=weight.shape,
            tensor=f"{owner}.weight",
            has_bias=True,
            shapes=(input_shape, step.output_shape(input_shape)),
            **({} if isinstance(step, Linear) else _geometry(step)),
            tied_to=None if owner == step.name else owner,
            input_range=(0.0 if nonnegative else -math.inf, math.inf),
        )
    return layers, parameters


def _geometry(step: Conv) -> dict[str, Any]:
    ends = step.kernel // 2, step.kernel // 2
    return {"groups": step.groups, "stride": (1, 1), "padding": (ends, ends), "dilation": (1, 1)}


def read_norms(architecture: Architecture, stored: Mapping[str, Float32Array]) -> dict[str, BatchNorm]:
    """Return the BatchNorm (read-only) behind every layer that has one."""
    norms = {}
    for step, _, _ in architecture.layer_inputs():
        norm = step.name + NORM_SUFFIX
        if f"{norm}.weight" in stored:
            parts = (f"{step.name}.weight", *(f"{norm}.{part}" for part in STORED))
            arrays = [stored[part].copy() for part in parts]
            for array in arrays:
                array.flags.writeable = False
            norms[step.name] = BatchNorm(*arrays)
    return norms


def as_images(images: Any, shape: tuple[int, ...]) -> Float32Array:
    """Return images that somebody brings, as an array (n, *shape).

    Raises:
        QuantError: for another shape, none at all, and values that are not finite.
    """
    if isinstance(images, Mapping):
        raise QuantError(f"images={', '.join(map(str, images))} are arrays by name; give one array, of the only input")
    try:
        array = np.ascontiguousarray(images, np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise QuantError(f"images are no array of numbers: {error}") from error
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape or not len(array):
        raise QuantError(
            f"images have shape {array.shape}; give (n, {', '.join(map(str, shape))}) with n of 1 and more"
        )
    if not np.isfinite(array).all():
        raise QuantError(f"{int((~np.isfinite(array)).sum())} pixels of the images are not finite")
    return array
