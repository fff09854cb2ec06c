"""Bias correction: the mean of a layer's outputs stays what it was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quant_engine.compensation.layer import as_layer_inputs, as_weight_pair, in_float32, in_groups
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_finite


def bias_correction(W: Any, W_hat: Any, mean: Any, mean_hat: Any = None) -> Float32Array:
    """Return what to add to a layer's bias so that quantization leaves the mean of every output as it was.

    E[Wx] − E[Ŵx̂] = W·E[x] − Ŵ·E[x̂], shape (out,) (Nagel et al. 2019, "Data-Free Quantization", "Quantization bias
    correction"). W and Ŵ are (out, in); E[x], (in,), is the mean of the inputs, and E[x̂], the same unless it is given,
    that of the inputs which the quantized layer gets. For a grouped convolution both are (groups, in).

    Empirical correction takes the means from data. Analytic correction takes them from the BatchNorm before, with
    `clipped_normal_mean`. A convolution's inputs are those of its patches, the zeros of the padding among them.

    Raises:
        QuantError: for shapes that do not go together, values that are not finite, and a correction beyond float32.

    Example:
        >>> bias_correction([[0.5, -0.25]], [[1.0, 0.0]], [2.0, 1.0]).tolist()
        [-1.25]
    """
    weight, other = as_weight_pair(W, W_hat)
    means = as_layer_inputs(mean, "mean", weight, 1)
    other_means = means if mean_hat is None else as_layer_inputs(mean_hat, "mean_hat", weight, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float64 is refused below
        change = _mean_outputs(weight, means) - _mean_outputs(other, other_means)
    return in_float32(change, "the correction of the bias")


def _mean_outputs(weight: Float32Array, means: Float64Array) -> Float64Array:
    outputs: Float64Array = (in_groups(weight.astype(np.float64), len(means)) @ means[:, :, None]).reshape(-1)
    return outputs


def clipped_normal_mean(beta: Any, gamma: Any) -> Float64Array:
    """Return E[max(y, 0)] of y ~ N(β, γ²): the mean of a channel behind BatchNorm and ReLU, without any data.

    γ·φ(β/γ) + β·Φ(β/γ), elementwise, with the density φ and the distribution Φ of N(0, 1) (Nagel et al. 2019, appendix
    C, "Clipped normal distribution"). BatchNorm's shift β and scale γ are the mean and the standard deviation of what
    it gives, over the training images; the sign of γ does not matter, and γ = 0 gives max(β, 0).

    Raises:
        QuantError: for values that are not finite, and shapes that do not broadcast.

    Example:
        >>> clipped_normal_mean([0.0, 3.0, -1.0], [1.0, 0.5, 0.0]).round(4).tolist()
        [0.3989, 3.0, 0.0]
    """
    mean, deviation = normal_parameters(beta, gamma)
    density, below = standard_normal(mean, deviation)
    return np.asarray(deviation * density + mean * below)


def normal_parameters(beta: Any, gamma: Any) -> tuple[Float64Array, Float64Array]:
    """Return means and standard deviations |γ| of one shape.

    Raises:
        QuantError: for values that are not finite, and shapes that do not broadcast.
    """
    mean, deviation = as_finite(beta, "beta"), np.abs(as_finite(gamma, "gamma"))
    try:
        mean, deviation = np.broadcast_arrays(mean, deviation)
    except ValueError:
        raise QuantError(
            f"beta has shape {mean.shape} and gamma {deviation.shape}; give one value for each channel in both"
        ) from None
    return mean, deviation


def standard_normal(mean: Float64Array, deviation: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return φ(β/γ) and Φ(β/γ), density and distribution of N(0, 1); γ = 0 is the limit."""
    with np.errstate(over="ignore"):  # a ratio beyond float64 is the limit too
        ratio = np.divide(mean, deviation, out=np.where(mean > 0, np.inf, -np.inf), where=deviation > 0)
        density = np.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    below = 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-ratio / math.sqrt(2))
    return density, below
