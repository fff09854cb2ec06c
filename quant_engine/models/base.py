"""What every model gives: its layers, their weights, and how it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Inputs, as_float32
from quant_engine.models.graph import Graph
from quant_engine.models.layer import Layer
from quant_engine.models.norms import NormStatistics
from quant_engine.models.trace import Trace

if TYPE_CHECKING:
    from torch import nn

Parameters = Mapping[str, tuple[Float32Array, Float32Array | None]]  # each layer's weight and bias


class Model(Protocol):
    """A model whose layers can be looked at, changed and run."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def title(self) -> str:
        """What a person calls it."""

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers that have a weight, in the order in which they run."""

    @property
    def parameters(self) -> Parameters:
        """Each layer's weight and bias, if it has one; read-only arrays."""

    @property
    def digest(self) -> str:
        """What tells it apart from all other models: of layers' names, shapes and values, never of its name."""

    @property
    def module(self) -> nn.Module:
        """The model as a torch module in evaluation mode, which nobody changes; a QuantError where it is none."""

    @property
    def trace(self) -> Trace:
        """How the module runs."""

    @property
    def operators(self) -> Graph:
        """What the model computes, operator by operator; a QuantError where nobody can tell."""

    @property
    def statistics(self) -> NormStatistics | None:
        """What its BatchNorms remember of their inputs; None where there is none, or the inputs' shape is not known."""

    def as_inputs(self, inputs: Any) -> Inputs:
        """Return a batch of inputs as the model takes them, one array or several by name, or refuse them."""

    def with_parameters(self, parameters: Parameters) -> Model:
        """Return the model with other weights and biases for some layers; this one stays as it is."""


def layer_of(model: Model, name: str) -> Layer:
    """Return a layer of a model.

    Raises:
        QuantError: if there is no such layer.
    """
    if not isinstance(name, str) or name not in model.layers:
        raise QuantError(f"{model.name} has no layer {name!r}; its layers are {', '.join(model.layers)}")
    return model.layers[name]


def as_parameters(model: Model, given: Any) -> Parameters:
    """Return read-only copies of weights and biases that somebody brings for some layers of a model.

    Raises:
        QuantError: for what is no mapping, layers there are not, and arrays of other shapes.
    """
    if not isinstance(given, Mapping):
        raise QuantError(f"parameters={given!r} are no mapping; give {{layer: (weight, bias)}}")
    found = {}
    for name, arrays in given.items():
        layer_of(model, name)
        shapes = tuple(a if a is None else a.shape for a in model.parameters[name])
        if not isinstance(arrays, tuple | list) or len(arrays) != len(shapes):
            raise QuantError(f"layer {name!r} has {shapes}; give its parameters as (weight, bias)")
        weight = _copied(arrays[0], f"weight of {name!r}")
        bias = None if arrays[1] is None else _copied(arrays[1], f"bias of {name!r}")
        others = weight.shape, None if bias is None else bias.shape
        if others != shapes:
            raise QuantError(f"layer {name!r} has {shapes}; its new parameters have {others[0]}, {others[1]}")
        found[name] = weight, bias
    return found


def _copied(array: Any, name: str) -> Float32Array:
    """Return a float32 copy that cannot be written."""
    copy = as_float32(array, name).copy()
    copy.flags.writeable = False
    return copy


def digest(parameters: Parameters) -> str:
    """Return the SHA-256 of all layers' names, shapes and values: models are told apart by it, never by their names."""
    found = hashlib.sha256()
    for name, arrays in parameters.items():
        for role, array in zip(("weight", "bias"), arrays, strict=True):
            if array is not None:
                found.update(f"{name}|{role}|{array.dtype}|{array.shape}|".encode())
                found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
