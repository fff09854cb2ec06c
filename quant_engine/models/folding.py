"""BatchNorm folding."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quant_engine.inputs import Float32Array

EPSILON = 1e-5  # torch's default, with which the built-in networks were trained


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """A BatchNorm with the weight of the convolution before it: y = γ · (W ∗ x − μ)/√(σ² + ε) + β.

    `mean` μ and `variance` σ² are those of the outputs W ∗ x over the images it was trained on; arrays (out,).
    """

    weight: Float32Array
    gamma: Float32Array
    beta: Float32Array
    mean: Float32Array
    variance: Float32Array
    epsilon: float = field(default=EPSILON, kw_only=True)

    @property
    def deviation(self) -> Float32Array:
        """√(σ² + ε), by which outputs are divided."""
        return np.asarray(np.sqrt(self.variance + np.float32(self.epsilon)), np.float32)


def fold_batch_norm(norm: BatchNorm) -> tuple[Float32Array, Float32Array]:
    """Return weight and bias of the one convolution that equals a convolution without bias and its BatchNorm.

    W' = W · γ/√(σ² + ε) for each output channel, b' = β − μ · γ/√(σ² + ε), computed in float64
    (Jacob et al. 2018, equation 14).
    """
    factor = norm.gamma.astype(np.float64) / np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    folded = norm.weight * factor.reshape(-1, *[1] * (norm.weight.ndim - 1))
    return folded.astype(np.float32), (norm.beta - norm.mean * factor).astype(np.float32)
