"""One layer as compensation sees it: a matrix, whose rows are outputs, and what is known of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_float32, refuse_non_finite


def checked_weight(W: Any, name: str = "W") -> Float32Array:
    """Return a matrix (out, in) of finite float32.

    Raises:
        QuantError: for what is none.
    """
    weight = as_float32(W, name)
    if weight.ndim != 2:
        raise QuantError(f"{name} has shape {weight.shape}; give a matrix (out, in): W.reshape(len(W), -1)")
    if not np.isfinite(weight).all():
        refuse_non_finite(weight, name)
    return weight


def checked_inputs(given: Any, name: str, weight: Float32Array, axes: int) -> Float64Array:
    """Return what is known of the inputs of a layer, with an axis of groups in front: (groups, …, in).

    Every group of a convolution has inputs of its own; a layer without groups may leave the axis out.

    Raises:
        QuantError: for another number of inputs than the weight's, groups that do not divide the outputs, and values
            that are not finite.
    """
    array = np.asarray(as_float32(given, name) if np.asarray(given).dtype != np.float64 else given, np.float64)
    array = array[None] if array.ndim == axes else array
    outputs, inputs = weight.shape
    if array.ndim != axes + 1 or array.shape[-1] != inputs or not len(array) or outputs % len(array):
        raise QuantError(
            f"{name} has shape {np.shape(given)} for W of shape {weight.shape}; give a last axis of {inputs} and, for "
            f"a grouped convolution, a first axis of as many groups as divide the {outputs} outputs"
        )
    if not np.isfinite(array).all():
        refuse_non_finite(np.asarray(given), name)
    return array


def in_groups(matrix: Any, groups: int) -> Any:
    """Return the rows of a matrix (out, in) as (groups, out/groups, in)."""
    return matrix.reshape(groups, len(matrix) // groups, -1)


def checked_hessians(given: Any, weight: Float32Array) -> Float64Array:
    """Return H = XXᵀ of every group, (groups, in, in).

    Raises:
        QuantError: as `checked_inputs`, and for matrices that are not square and symmetric.
    """
    hessians = checked_inputs(given, "H", weight, 2)
    mirrored = hessians.transpose(0, 2, 1)
    if mirrored.shape != hessians.shape or not np.allclose(
        hessians, mirrored, rtol=1e-3, atol=1e-4 * np.abs(hessians).max(initial=0)
    ):
        raise QuantError(
            f"H of shape {np.shape(given)} is not symmetric; give X @ X.T of the inputs X (in, samples), for each group"
        )
    return hessians


def reached_weight(W: Any, cross: Any, H: Any, damping: float = 0.01) -> Float32Array:
    """Return the weight that comes nearest to WX from other inputs X̂: what to quantize where the inputs have changed.

    The least ‖WX − W*X̂‖² + λ‖W* − W‖² has W* = (W·XX̂ᵀ + λW)(X̂X̂ᵀ + λ)⁻¹, and ‖WX − ŴX̂‖² is ‖(W* − Ŵ)X̂‖² and what no
    weight can undo: so a method that keeps the outputs of W* on X̂ keeps those of W on X. (The normal equations;
    AdaRound has the same aim, Nagel et al. 2020, equation 25, and so has GPTAQ, Li et al. 2025.) λ is `damping` times
    the mean of H's diagonal.

    `cross` is XX̂ᵀ and H is X̂X̂ᵀ, both (in, in), or (groups, in, in) for a grouped convolution.

    Raises:
        QuantError: for shapes that do not go together, values that are not finite, and a damping that is not positive.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((3, 100))
        >>> X_hat = 0.5 * X  # the layers before have lost half
        >>> reached_weight([[1.0, 2.0, 3.0]], X @ X_hat.T, X_hat @ X_hat.T, damping=1e-9).round(4).tolist()
        [[2.0, 4.0, 6.0]]
    """
    weight = checked_weight(W)
    hessians = checked_hessians(H, weight)
    crossed = checked_inputs(cross, "cross", weight, 2)
    if crossed.shape != hessians.shape:
        raise QuantError(f"cross has shape {np.shape(cross)} and H {np.shape(H)}; give X @ X_hat.T, of H's shape")
    if not 0 < damping < np.inf:
        raise QuantError(f"damping={damping!r} is out of range; give more than 0, such as 0.01")
    strength = damping * np.trace(hessians, axis1=1, axis2=2) / weight.shape[1]
    ridge = np.where(strength > 0, strength, 1.0)[:, None, None] * np.eye(weight.shape[1])
    wanted = in_groups(weight.astype(np.float64), len(hessians)) @ (crossed + ridge)
    found = np.linalg.solve(hessians + ridge, wanted.transpose(0, 2, 1)).transpose(0, 2, 1)
    return np.ascontiguousarray(found, np.float32).reshape(weight.shape)


def layer_error(W: Any, W_hat: Any, H: Any) -> float:
    """Return ‖WX − ŴX‖², the squared error of a layer's outputs, from H = XXᵀ alone.

    tr((W − Ŵ) H (W − Ŵ)ᵀ), summed over the groups; W and Ŵ are (out, in), H (in, in) or (groups, in, in).

    Raises:
        QuantError: for shapes that do not go together, and values that are not finite.

    Example:
        >>> X = np.array([[1.0, 2.0], [0.0, 1.0]])  # two inputs, two samples
        >>> layer_error([[1.0, 0.0]], [[0.0, 0.0]], X @ X.T)
        5.0
    """
    weight, other = checked_weight(W), checked_weight(W_hat, "W_hat")
    hessians = checked_hessians(H, weight)
    change = in_groups(weight.astype(np.float64) - other, len(hessians))
    return float(np.sum((change @ hessians) * change))
