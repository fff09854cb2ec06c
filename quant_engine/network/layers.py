"""The layers of a network that have a weight, and their parameters with BatchNorm folded in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32
from quant_engine.network.architectures import NORM_SUFFIX, Architecture, Linear, Shape
from quant_engine.network.folding import BatchNorm, fold_batch_norm

Op = Literal["linear", "conv1d", "conv2d", "embedding"]


@dataclass(frozen=True)
class Layer:
    """A layer that has a weight to quantize.

    Attributes:
        name: what plans call it.
        op: what it does with the weight.
        shape: the weight's: linear (out, in), convolutions (out, in/groups, …), embedding (rows, dim).
        tensor: key of the weight in the stored file.
        has_bias: whether it adds one.
        input_shape: shape of what it receives for one sample, without the batch.
        output_shape: shape of what it gives for one sample.
        groups: of a convolution.
        tied_to: the layer whose weight this is, where layers share one, which is stored once.
        input_range: between which values all it receives lies: (0, ∞) behind a ReLU, also through pooling and
            flattening.
    """

    name: str
    op: Op
    shape: Shape
    tensor: str
    has_bias: bool
    input_shape: Shape
    output_shape: Shape
    groups: int = 1
    tied_to: str | None = None
    input_range: tuple[float, float] = (-math.inf, math.inf)

    @property
    def parameters(self) -> int:
        """Number of weights, without the bias."""
        return math.prod(self.shape)

    @property
    def multiplications(self) -> int:
        """Number of multiplications for one sample: each weight once for every place of the output, padding included.

        The places are those of the last axes of a convolution's output and, of a linear layer's, all but the last: the
        tokens of a text. An embedding looks up and multiplies nothing.
        """
        if self.op == "embedding":
            return 0
        places = self.output_shape[:-1] if self.op == "linear" else self.output_shape[1:]
        return self.parameters * math.prod(places)

    @property
    def depthwise(self) -> bool:
        """Whether each of several groups of a convolution has a single input channel."""
        return self.groups > 1 and self.shape[1] == 1

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Shape of the view in which the weight is quantized: (out, everything else)."""
        return self.shape[0], math.prod(self.shape[1:])


STORED = ("weight", "bias", "running_mean", "running_var")  # torch's names of γ, β, μ and σ²

Parameters = Mapping[str, tuple[Float32Array, Float32Array]]  # each layer's folded weight and bias


def read_layers(architecture: Architecture, stored: Mapping[str, Float32Array]) -> tuple[dict[str, Layer], Parameters]:
    """Return every layer and its folded parameters (read-only), in the order in which the layers run."""
    norms = read_norms(architecture, stored)
    layers: dict[str, Layer] = {}
    parameters: dict[str, tuple[Float32Array, Float32Array]] = {}
    for step, input_shape, one_sided in architecture.layer_inputs():
        holder = layers[step.shares].tied_to or step.shares if step.shares else step.name
        if holder in norms:
            weight, bias = fold_batch_norm(norms[holder])
        else:
            weight, bias = stored[f"{holder}.weight"], stored[f"{holder}.bias"]
        weight.flags.writeable = bias.flags.writeable = False
        parameters[step.name] = weight, bias
        layers[step.name] = Layer(
            name=step.name,
            op="linear" if isinstance(step, Linear) else "conv2d",
            shape=weight.shape,
            tensor=f"{holder}.weight",
            has_bias=True,
            input_shape=input_shape,
            output_shape=step.output_shape(input_shape),
            groups=1 if isinstance(step, Linear) else step.groups,
            tied_to=None if holder == step.name else holder,
            input_range=(0.0 if one_sided else -math.inf, math.inf),
        )
    return layers, parameters


def with_others(parameters: Parameters, others: Parameters) -> Parameters:
    """Return the parameters with those of some layers replaced by copies (read-only) of others.

    Raises:
        QuantError: for arrays of other shapes.
    """
    given = dict(parameters)
    for name, (weight, bias) in others.items():
        shapes = tuple(array.shape for array in parameters[name])
        if (weight.shape, bias.shape) != shapes:
            raise QuantError(f"layer {name!r} has {shapes}; its new parameters have {weight.shape}, {bias.shape}")
        given[name] = as_float32(weight).copy(), as_float32(bias).copy()
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


def ties(layers: Mapping[str, Layer]) -> dict[str, tuple[str, ...]]:
    """Return every layer whose weight is its own, with all layers that use that weight, itself the first."""
    found: dict[str, tuple[str, ...]] = {}
    for name, layer in layers.items():
        own = layer.tied_to or name
        found[own] = (*found.get(own, ()), name)
    return found
