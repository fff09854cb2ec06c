"""Cross-layer equalization: channels between two layers are scaled so that both layers' weights have like ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_float32, refuse_non_finite

ABSORBED = 3.0  # standard deviations, below which 0.13 % of a normal distribution lie
ROUNDS = 100
SETTLED = 1e-4  # relative change of a scale at which nothing is gained any more


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """A layer in floating point: weight (out, in/groups, …), bias (out,), and the channels that it reads.

    A fully connected layer behind a flattened picture reads `channels` of several values each: its inputs are the
    values of the first channel, then of the second, and so on. By default (0) every column is a channel.

    Raises:
        QuantError: for shapes that do not go together, and values that are not finite.
    """

    weight: Float32Array
    bias: Float32Array
    groups: int = 1
    channels: int = 0

    def __post_init__(self) -> None:
        """Check the shapes and fill in the channels."""
        for name in ("weight", "bias"):
            array = as_float32(getattr(self, name), name)
            if not np.isfinite(array).all():
                refuse_non_finite(array, name)
            object.__setattr__(self, name, array)
        shape = self.weight.shape
        if len(shape) < 2 or self.bias.shape != shape[:1]:
            raise QuantError(f"weight has shape {shape} and bias {self.bias.shape}; give (out, in, …) and (out,)")
        channels = self.channels or shape[1] * self.groups
        inputs = self.weight[0].size * self.groups
        if shape[0] % self.groups or channels % self.groups or inputs % channels:
            raise QuantError(
                f"weight of shape {shape} with groups={self.groups} has {inputs} inputs, which are no {channels} "
                "channels in as many groups; give the number of the channels before the layer"
            )
        object.__setattr__(self, "channels", channels)

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return len(self.weight)

    def by_input(self) -> Float32Array:
        """Return the weight as (groups, out/groups, channels/groups, values of a channel)."""
        return self.weight.reshape(self.groups, self.outputs // self.groups, self.channels // self.groups, -1)

    def input_ranges(self) -> Float32Array:
        """Return max|w| of the weights that read each input channel, (channels,)."""
        ranges: Float32Array = np.abs(self.by_input()).max(axis=(1, 3)).reshape(-1)
        return ranges

    def output_ranges(self) -> Float32Array:
        """Return max|w| of the weights that make each output channel, (out,)."""
        ranges: Float32Array = np.abs(self.weight.reshape(self.outputs, -1)).max(axis=1)
        return ranges

    def with_bias(self, bias: Any) -> FloatLayer:
        """Return the layer with another bias, (out,)."""
        return FloatLayer(self.weight, np.asarray(bias, np.float32), self.groups, self.channels)

    def scaled_inputs(self, factors: Any) -> FloatLayer:
        """Return the layer that gives the same for inputs whose channels are divided by `factors`, (channels,)."""
        by_input = self.by_input() * np.reshape(factors, (self.groups, 1, -1, 1))
        return FloatLayer(by_input.astype(np.float32).reshape(self.weight.shape), self.bias, self.groups, self.channels)

    def scaled_outputs(self, factors: Any) -> FloatLayer:
        """Return the layer whose output channels are multiplied by `factors`, (out,)."""
        weight = self.weight * np.reshape(factors, (-1, *[1] * (self.weight.ndim - 1)))
        bias = (self.bias * factors).astype(np.float32)
        return FloatLayer(weight.astype(np.float32), bias, self.groups, self.channels)


class Equalization(NamedTuple):
    """An equalized chain, and what the channels of each joint were divided by: (channels,) for every layer but one."""

    layers: tuple[FloatLayer, ...]
    scales: tuple[Float64Array, ...]


def equalize(layers: Sequence[FloatLayer]) -> tuple[FloatLayer, ...]:
    """Return a chain of layers that computes the same, with the ranges of weights made equal across every joint.

    Between two layers, channel i is divided by s_i in the first and multiplied by it in the second,
    s_i = √(r_i⁽¹⁾ r_i⁽²⁾)/r_i⁽²⁾, with r⁽¹⁾ and r⁽²⁾ the greatest |weight| that makes and that reads the channel
    (Nagel et al. 2019, "Data-Free Quantization", appendix A); both ranges are then √(r⁽¹⁾ r⁽²⁾). All pairs in turn,
    again and again until nothing changes: a depthwise convolution has a joint on either side.

    The layers must be joined by what commutes with a positive factor for each channel: ReLU, maximum or average
    pooling, flattening. Channels that nothing makes or nothing reads stay as they are.

    Raises:
        QuantError: for layers of which one does not read as many channels as the one before makes.

    Example:
        >>> first = FloatLayer([[8.0], [0.5]], [1.0, 1.0])
        >>> second = FloatLayer([[0.5, 2.0]], [0.0])
        >>> one, two = equalize([first, second])
        >>> one.weight.tolist(), two.weight.tolist()
        ([[2.0], [1.0]], [[2.0, 1.0]])
    """
    return equalization(layers).layers


def equalization(layers: Sequence[FloatLayer]) -> Equalization:
    """Return what `equalize` comes to, with the scales that it found.

    Raises:
        QuantError: as `equalize`.
    """
    chain = list(layers)
    scales = [np.ones(layer.outputs) for layer in chain[:-1]]
    for first, second in pairwise(chain):
        if first.outputs != second.channels:
            raise QuantError(
                f"a layer of {first.outputs} outputs is followed by one that reads {second.channels} channels; give "
                "layers in the order in which they run, with `channels` where a picture is flattened"
            )
    for _ in range(ROUNDS):
        moved = 0.0
        for at in range(len(chain) - 1):
            factors = equalizing_factors(chain[at].output_ranges(), chain[at + 1].input_ranges())
            chain[at], chain[at + 1] = chain[at].scaled_outputs(1 / factors), chain[at + 1].scaled_inputs(factors)
            scales[at] *= factors
            moved = max(moved, float(np.abs(factors - 1).max()))
        if moved < SETTLED:
            break
    return Equalization(tuple(chain), tuple(scales))


def equalizing_factors(made: Any, read: Any) -> Float64Array:
    """Return s = √(r⁽¹⁾ r⁽²⁾)/r⁽²⁾ = √(r⁽¹⁾/r⁽²⁾) of every channel, 1 where either range is 0."""
    first, second = np.asarray(made, np.float64), np.asarray(read, np.float64)
    alive = (first > 0) & (second > 0)
    return np.sqrt(np.divide(first, second, out=np.ones(first.shape), where=alive))


def absorb(first: FloatLayer, second: FloatLayer, amounts: Any) -> tuple[FloatLayer, FloatLayer]:
    """Return two layers between which every channel is smaller by an amount: high biases move into the second.

    b⁽¹⁾ − c and b⁽²⁾ + W⁽²⁾c, for r(Wx + b − c) = r(Wx + b) − c wherever Wx + b ≥ c (Nagel et al. 2019, "Absorbing high
    biases"). `amounts` are c ≥ 0, (channels,), such as `absorbable`; the range between the layers shrinks by them.
    The layers are joined by a ReLU, pooling or flattening. Where the second layer pads with zeros, its outputs at the
    border change: they read c there too, which had read nothing.

    Raises:
        QuantError: for amounts that are negative, not finite, or not one for each channel of both layers.

    Example:
        >>> one, two = absorb(FloatLayer([[1.0]], [5.0]), FloatLayer([[2.0]], [0.0]), [4.0])
        >>> one.bias.tolist(), two.bias.tolist()
        ([1.0], [8.0])
    """
    c = np.asarray(amounts, np.float64)
    if not first.outputs == second.channels == c.size or c.ndim != 1:
        raise QuantError(
            f"amounts has shape {c.shape}, for a layer of {first.outputs} outputs and one that reads {second.channels} "
            "channels; give one for each channel between the two"
        )
    if not np.isfinite(c).all() or (c < 0).any():
        raise QuantError(f"amounts of shape {c.shape} has values that are negative or not finite; give 0 or more")
    read = np.einsum("goiv,gi->go", second.by_input().astype(np.float64), c.reshape(second.groups, -1)).reshape(-1)
    return first.with_bias(first.bias - c), second.with_bias(second.bias + read)


def absorbable(mean: Any, deviation: Any) -> Float64Array:
    """Return c = max(0, β − 3γ), which all but 0.13 % of normal values with mean β and deviation γ exceed.

    (Nagel et al. 2019, "Absorbing high biases", with β and γ of the BatchNorm before.)

    Example:
        >>> absorbable([5.0, 1.0], [1.0, 1.0]).tolist()
        [2.0, 0.0]
    """
    return np.maximum(np.asarray(mean, np.float64) - ABSORBED * np.abs(np.asarray(deviation, np.float64)), 0.0)
