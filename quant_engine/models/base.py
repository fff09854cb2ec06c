"""What every model gives: its layers, their weights, and how it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models.graph import Graph
from quant_engine.models.layer import Layer
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
    def module(self) -> nn.Module:
        """The model as a torch module in evaluation mode, which nobody changes; a QuantError where it is none."""

    @property
    def trace(self) -> Trace:
        """How the module runs."""

    @property
    def operators(self) -> Graph:
        """What the model computes, operator by operator; a QuantError where nobody can tell."""

    def as_inputs(self, inputs: Any) -> Inputs:
        """Return a batch of inputs as the model takes them, one array or several by name, or refuse them."""

    def with_parameters(self, parameters: Parameters) -> Model:
        """Return the model with other weights and biases for some layers; this one stays as it is."""


def digest(parameters: Parameters) -> str:
    """Return the SHA-256 of all layers' names, shapes and values: models are told apart by it, never by their names."""
    found = hashlib.sha256()
    for name, arrays in parameters.items():
        for role, array in zip(("weight", "bias"), arrays, strict=True):
            if array is not None:
                found.update(f"{name}|{role}|{array.dtype}|{array.shape}|".encode())
                found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
