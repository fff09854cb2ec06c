"""Bias correction: the mean of a layer's outputs stays what it was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quant_engine.compensation.layer import checked_inputs, checked_weight, in_groups
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array


def bias_correction(W: Any, W_hat: Any, mean: Any, mean_hat: Any = None) -> Float32Array:
    """Return what to add to a layer's bias so that quantization leaves the mean of every output as it was.

    E[Wx] − E[Ŵx̂] = W·E[x] − Ŵ·E[x̂], shape (out,) (Nagel et al. 2019, "Data-Free Quantization", "Quantization bias
    correction"). W and Ŵ are (out, in); E[x], (in,), is the mean of the inputs, and E[x̂], the same unless it is given,
    that of the inputs which the quantized layer gets. For a grouped convolution both are (groups, in).

    Empirical correction takes the means from data. Analytic correction takes them from the BatchNorm before, with
    `clipped_normal_mean`. A convolution's inputs are those of its patches, the zeros of the padding among them.

    Raises:
        QuantError: for shapes that do not go together, and values that are not finite.

    Example:
        >>> bias_correction([[0.5, -0.25]], [[1.0, 0.0]], [2.0, 1.0]).tolist()
        [-1.25]
    """
    weight, other = checked_weight(W), checked_weight(W_hat, "W_hat")
    if weight.shape != other.shape:
        raise QuantError(f"W has shape {weight.shape} and W_hat {other.shape}; give both as (out, in)")
    means = checked_inputs(mean, "mean", weight, 1)
    other_means = means if mean_hat is None else checked_inputs(mean_hat, "mean_hat", weight, 1)
    return (_mean_outputs(weight, means) - _mean_outputs(other, other_means)).astype(np.float32)


def _mean_outputs(weight: Float32Array, means: Float64Array) -> Float64Array:
    outputs: Float64Array = (in_groups(weight.astype(np.float64), len(means)) @ means[:, :, None]).reshape(-1)
    return outputs


def clipped_normal_mean(beta: Any, gamma: Any) -> Float64Array:
    """Return E[max(y, 0)] of y ~ N(β, γ²): the mean of a channel behind BatchNorm and ReLU, without any data.

    γ·φ(β/γ) + β·Φ(β/γ), elementwise, with the density φ and the distribution Φ of N(0, 1) (Nagel et al. 2019, appendix
    C, "Clipped normal distribution"). BatchNorm's shift β and scale γ are the mean and the standard deviation of what
    it gives, over the training images; the sign of γ does not matter, and γ = 0 gives max(β, 0).

    Example:
        >>> clipped_normal_mean([0.0, 3.0, -1.0], [1.0, 0.5, 0.0]).round(4).tolist()
        [0.3989, 3.0, 0.0]
    """
    mean, deviation = np.broadcast_arrays(np.asarray(beta, np.float64), np.abs(np.asarray(gamma, np.float64)))
    ratio = np.divide(mean, deviation, out=np.where(mean > 0, np.inf, -np.inf), where=deviation > 0)
    density = np.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    below = 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-ratio / math.sqrt(2))
    return np.asarray(deviation * density + mean * below)
