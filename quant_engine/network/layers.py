"""The layers of a network that have a weight, and their parameters with BatchNorm folded in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32
from quant_engine.network.architectures import NORM_SUFFIX, Architecture, Linear, Shape, Weighted
from quant_engine.network.folding import BatchNorm, fold_batch_norm


@dataclass(frozen=True)
class LayerInfo:
    """A layer that has a weight: `shape` is the weight's, (out, in) or (out, in/groups, height, width).

    `input_shape` and `output_shape` are the shapes of its input and output for one image. `one_sided` says that its
    input holds no negative value, because it comes from a ReLU, directly or through pooling and flattening. `holder` is
    the layer whose weight this is: another one where layers share a weight, which is stored once.
    """

    name: str
    kind: str
    shape: Shape
    input_shape: Shape
    one_sided: bool
    output_shape: Shape
    holder: str

    @property
    def shared(self) -> bool:
        """Whether the weight is another layer's."""
        return self.holder != self.name

    @property
    def parameters(self) -> int:
        """Number of weights, without the bias."""
        return math.prod(self.shape)

    @property
    def multiplications(self) -> int:
        """Number of multiplications for one image: each weight once for every place of the output, padding included."""
        return self.parameters * math.prod(self.output_shape[1:])

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Shape of the view in which the weight is quantized: (out, everything else)."""
        return self.shape[0], math.prod(self.shape[1:])


STORED = ("weight", "bias", "running_mean", "running_var")  # torch's names of γ, β, μ and σ²

Parameters = Mapping[str, tuple[Float32Array, Float32Array]]  # each layer's folded weight and bias


def read_layers(
    architecture: Architecture, stored: Mapping[str, Float32Array]
) -> tuple[dict[str, LayerInfo], Parameters]:
    """Return every layer and its folded parameters (read-only), in the order in which the layers run."""
    norms = read_norms(architecture, stored)
    layers: dict[str, LayerInfo] = {}
    parameters: dict[str, tuple[Float32Array, Float32Array]] = {}
    for step, input_shape, one_sided in architecture.layer_inputs():
        holder = layers[step.shares].holder if step.shares else step.name
        if holder in norms:
            weight, bias = fold_batch_norm(norms[holder])
        else:
            weight, bias = stored[f"{holder}.weight"], stored[f"{holder}.bias"]
        weight.flags.writeable = bias.flags.writeable = False
        parameters[step.name] = weight, bias
        layers[step.name] = LayerInfo(
            step.name, _kind(step), weight.shape, input_shape, one_sided, step.output_shape(input_shape), holder
        )
    return layers, parameters


def with_others(parameters: Parameters, others: Parameters) -> Parameters:
    """Return the parameters with those of some layers replaced by copies (read-only) of others.

    Raises:
        QuantError: for arrays of other shapes.
    """
    given = dict(parameters)
    for name, pair in others.items():
        shapes = tuple(array.shape for array in parameters[name])
        if not isinstance(pair, tuple | list) or len(pair) != len(shapes):
            raise QuantError(f"layer {name!r} has {shapes}; give its parameters as (weight, bias)")
        weight, bias = as_float32(pair[0], f"weight of {name!r}"), as_float32(pair[1], f"bias of {name!r}")
        if (weight.shape, bias.shape) != shapes:
            raise QuantError(f"layer {name!r} has {shapes}; its new parameters have {weight.shape}, {bias.shape}")
        given[name] = weight.copy(), bias.copy()
        for array in given[name]:
            array.flags.writeable = False
    return given


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


def holders(layers: Mapping[str, LayerInfo]) -> dict[str, tuple[str, ...]]:
    """Return every layer that holds a weight, with all layers that use it, itself the first."""
    found: dict[str, tuple[str, ...]] = {}
    for name, info in layers.items():
        found[info.holder] = (*found.get(info.holder, ()), name)
    return found


def _kind(step: Weighted) -> str:
    if isinstance(step, Linear):
        return "linear"
    return "depthwise convolution" if step.groups == step.inputs > 1 else "convolution"
