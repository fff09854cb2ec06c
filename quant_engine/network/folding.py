"""BatchNorm folding."""

from __future__ import annotations

import numpy as np

from quant_engine.inputs import Float32Array

EPSILON = 1e-5  # torch's default, with which the built-in networks were trained


def fold_batch_norm(
    weight: Float32Array, gamma: Float32Array, beta: Float32Array, mean: Float32Array, variance: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Return weight and bias of the one convolution that equals a convolution without bias and its BatchNorm.

    W' = W · γ/√(σ² + ε) for each output channel, b' = β − μ · γ/√(σ² + ε), computed in float64
    (Jacob et al. 2018, equation 14).
    """
    factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + EPSILON)
    folded = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    return folded.astype(np.float32), (beta - mean * factor).astype(np.float32)
