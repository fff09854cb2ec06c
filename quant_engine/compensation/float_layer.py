"""A layer in floating point whose channels can be scaled: what equalization and its kind work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_finite, as_float32, raise_non_finite


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """A layer in floating point: weight (out, in/groups, …), bias (out,), and the channels that it reads.

    A fully connected layer behind a flattened picture reads `channels` of several values each: its inputs are the
    values of the first channel, then of the second, and so on. By default (0) every column is a channel.

    Raises:
        QuantError: for shapes that do not go together, a layer without outputs or inputs, and values that are not
            finite.
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
                raise_non_finite(array, name)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "groups", as_integer(self.groups, "groups", 1))
        shape = self.weight.shape
        if len(shape) < 2 or self.bias.shape != shape[:1] or not self.weight.size:
            raise QuantError(
                f"weight has shape {shape} and bias {self.bias.shape}; give (out, in, …) and (out,), with at least one "
                "output and one input"
            )
        channels = as_integer(self.channels, "channels", 0) or shape[1] * self.groups
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
        return replace(self, bias=bias)

    def scaled_inputs(self, factors: Any) -> FloatLayer:
        """Return the layer that gives the same for inputs whose channels are divided by `factors`, (channels,)."""
        by_channel = _as_factors(factors, self.channels).reshape(self.groups, 1, -1, 1)
        with np.errstate(over="ignore"):  # a layer that is not finite is refused
            return replace(self, weight=as_float32((self.by_input() * by_channel).reshape(self.weight.shape), "weight"))

    def scaled_outputs(self, factors: Any) -> FloatLayer:
        """Return the layer whose output channels are multiplied by `factors`, (out,)."""
        by_output = _as_factors(factors, self.outputs)
        with np.errstate(over="ignore"):  # a layer that is not finite is refused
            weight = self.weight * by_output.reshape(-1, *[1] * (self.weight.ndim - 1))
            bias = self.bias * by_output
        return replace(self, weight=as_float32(weight, "weight"), bias=as_float32(bias, "bias"))


def _as_factors(given: Any, channels: int) -> Float64Array:
    factors = as_finite(given, "factors")
    if factors.shape != (channels,) or (factors <= 0).any():
        raise QuantError(f"factors has shape {factors.shape} for {channels} channels; give a positive one for each")
    return factors
