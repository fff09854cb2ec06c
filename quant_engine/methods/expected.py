"""What a network's parameters alone tell of the values in it: for each channel, a normal distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from quant_engine.compensation.batch_norm import normal_range, rectified
from quant_engine.execution import LayerInputs
from quant_engine.inputs import Float64Array
from quant_engine.models import Layer, Shape, as_builtin
from quant_engine.models.builtin_model import PIXEL_RANGE
from quant_engine.network import Network

VALUES = 512  # drawn from each distribution, as many as there are calibration images


@dataclass(frozen=True, eq=False)
class Normals:
    """Values taken as normal, with a mean and a deviation for each channel, (channels,), then rectified if `relu`.

    None lies outside `limits`.
    """

    mean: Float64Array
    deviation: Float64Array
    relu: bool
    limits: tuple[float, float] = (-np.inf, np.inf)

    def moments(self) -> tuple[Float64Array, Float64Array]:
        """Return mean and deviation of the values, behind the ReLU if there is one, and as if there were no limits."""
        return rectified(self.mean, self.deviation) if self.relu else (self.mean, self.deviation)

    def range(self, reach: float) -> tuple[float, float]:
        """Return the range that all channels keep to, up to so many deviations."""
        low, high = normal_range(self.mean, self.deviation, reach, self.relu)
        return max(low, self.limits[0]), min(high, self.limits[1])

    def values(self, count: int = VALUES) -> Float64Array:
        """Return the middles of `count` equal shares of each distribution, (count, channels)."""
        shares = [NormalDist().inv_cdf((place + 0.5) / count) for place in range(count)]
        found = np.clip(self.mean + self.deviation * np.reshape(shares, (-1, 1)), *self.limits)
        return np.asarray(np.maximum(found, 0.0) if self.relu else found)

    def divided(self, factors: Float64Array) -> Normals:
        """Return the distribution of the values divided by a positive factor for each channel."""
        return replace(self, mean=self.mean / factors, deviation=self.deviation / factors)

    def lowered(self, amounts: Float64Array) -> Normals:
        """Return the distribution of the values less an amount for each channel, before the ReLU."""
        return replace(self, mean=self.mean - amounts)


def expected_outputs(network: Network) -> dict[str, Normals]:
    """Return what each layer gives.

    Behind a BatchNorm mean β and deviation γ. Behind a layer without one, mean W·m + b and variance W²·v, with mean m
    and variance v of its inputs, whose values are taken as independent.
    """
    found: dict[str, Normals] = {}
    ahead = _pixels(network)
    for step, _, _ in as_builtin(network.model).architecture.layer_inputs():
        layer = network.layers()[step.name]
        norm = as_builtin(network.model).norms.get(step.name)
        if norm is not None:
            mean, deviation = norm.beta.astype(np.float64), np.abs(norm.gamma).astype(np.float64)
        else:
            weight, (first, spread) = network.weight(step.name).astype(np.float64), ahead.moments()
            weight = weight.reshape(len(weight), -1)
            mean = _sums(weight, at_each_weight(layer, first)) + network.bias_or_zeros(step.name)
            deviation = np.sqrt(_sums(weight**2, at_each_weight(layer, spread**2)))
        found[step.name] = ahead = Normals(mean, deviation, step.nonnegative(False))
    return found


def expected_inputs(network: Network, outputs: Mapping[str, Normals]) -> dict[str, Normals]:
    """Return what each layer receives, of what each gives: that of the layer before.

    Pooling leaves it as it is. (So it is where the values of which a maximum is taken are all the same; those of a
    picture are nearer to that than to being independent.) Pixels have mean 0 and deviation 1, as the normalisation
    makes them.
    """
    return dict(zip(outputs, [_pixels(network), *outputs.values()], strict=False))


def at_each_weight(layer: Layer, means: Float64Array) -> Float64Array:
    """Return the mean of the inputs that each weight meets, (groups, in), from those of the channels, (channels,).

    As means over all places of the layer: zeros of the padding are among them.
    """
    import torch

    (rows,) = LayerInputs(layer, [torch.from_numpy(filled(means[None], layer.input_shape))]).rows()
    found: Float64Array = rows.mean(1).numpy()
    return found


def filled(values: Float64Array, shape: Shape) -> Float64Array:
    """Return inputs (n, *shape) whose channels have the same value everywhere, from (n, channels)."""
    return np.repeat(values, int(np.prod(shape)) // values.shape[1], axis=1).reshape(len(values), *shape)


def _pixels(network: Network) -> Normals:
    channels = as_builtin(network.model).architecture.input_shape[0]
    return Normals(np.zeros(channels), np.ones(channels), False, PIXEL_RANGE)


def _sums(weight: Float64Array, inputs: Float64Array) -> Float64Array:
    groups = weight.reshape(len(inputs), -1, weight.shape[1])
    return np.asarray((groups @ inputs[:, :, None]).reshape(-1))
