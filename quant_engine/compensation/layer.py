"""One layer as compensation sees it: a matrix, whose rows are outputs, and what is known of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_number
from quant_engine.errors import QuantError
from quant_engine.inputs import LARGEST_FLOAT32, Float32Array, Float64Array, as_finite, as_float32, raise_non_finite

NO_EXPONENT = -(1 << 14)  # of zeros: below every exponent of float64, and of products of two


def as_weight(W: Any, name: str = "W") -> Float32Array:
    """Return a matrix (out, in) of finite float32.

    Raises:
        QuantError: for what is none.
    """
    weight = as_float32(W, name)
    if weight.ndim != 2:
        raise QuantError(f"{name} has shape {weight.shape}; give a matrix (out, in): W.reshape(len(W), -1)")
    if not np.isfinite(weight).all():
        raise_non_finite(weight, name)
    return weight


def as_layer(W: Any) -> Float32Array:
    """Return a matrix (out, in) of finite float32 with at least one output and one input.

    Raises:
        QuantError: for what is none.
    """
    weight = as_weight(W)
    if not weight.size:
        raise QuantError(f"W has shape {weight.shape}; give a layer with at least one output and one input")
    return weight


def as_layer_inputs(given: Any, name: str, weight: Float32Array, axes: int) -> Float64Array:
    """Return what is known of the inputs of a layer, with an axis of groups in front: (groups, …, in).

    Every group of a convolution has inputs of its own; a layer without groups may leave the axis out.

    Raises:
        QuantError: for another number of inputs than the weight's, groups that do not divide the outputs, and values
            that are not finite.
    """
    array = as_finite(given, name)
    array = array[None] if array.ndim == axes else array
    outputs, inputs = weight.shape
    if array.ndim != axes + 1 or array.shape[-1] != inputs or not len(array) or outputs % len(array):
        raise QuantError(
            f"{name} has shape {np.shape(given)} for W of shape {weight.shape}; give a last axis of {inputs} and, for "
            f"a grouped convolution, a first axis of as many groups as divide the {outputs} outputs"
        )
    return array


def exponents(x: NDArray[Any], axis: int | tuple[int, ...] | None = None) -> Any:
    """Return the least k with max|x| < 2^k, over all axes or some, which stay with length 1.

    Dividing by 2^k (`numpy.ldexp`) is exact, and what is learned or compared then does not depend on the unit of x.
    """
    largest = np.abs(x).max(axis=axis, keepdims=axis is not None, initial=0)
    return np.where(largest > 0, np.frexp(largest)[1], NO_EXPONENT)


def in_float32(found: Float64Array, name: str) -> Float32Array:
    """Return what was computed as float32.

    Raises:
        QuantError: for values beyond it.
    """
    beyond = ~(np.abs(found) <= LARGEST_FLOAT32)
    if beyond.any():
        raise QuantError(
            f"{name} of shape {found.shape} comes to {int(beyond.sum())} values beyond float32's largest "
            f"({LARGEST_FLOAT32:.4g}); scale the layer's weights or inputs down"
        )
    return found.astype(np.float32)


def in_groups(matrix: Any, groups: int) -> Any:
    """Return the rows of a matrix (out, in) as (groups, out/groups, in)."""
    return matrix.reshape(groups, len(matrix) // groups, matrix.shape[1])


def as_hessians(given: Any, weight: Float32Array) -> Float64Array:
    """Return H = XXᵀ of every group, (groups, in, in).

    H_ij and H_ji may differ by a thousandth of √(H_ii·H_jj), so that the unit of no input matters.

    Raises:
        QuantError: as `as_layer_inputs`, and for matrices that are not square and symmetric, or have negative squares.
    """
    hessians = as_layer_inputs(given, "H", weight, 2)
    remedy = "give X @ X.T of the inputs X (in, samples), for each group"
    if hessians.shape[1] != hessians.shape[2]:
        raise QuantError(f"H of shape {np.shape(given)} is not symmetric; {remedy}")
    diagonal = np.diagonal(hessians, axis1=1, axis2=2)
    if (diagonal < 0).any():
        raise QuantError(
            f"H of shape {np.shape(given)} is not positive definite: {diagonal.min():.4g} is on its diagonal; {remedy}"
        )
    sizes = np.sqrt(diagonal)
    if (np.abs(hessians / 2 - hessians.transpose(0, 2, 1) / 2) > 5e-4 * sizes[:, :, None] * sizes[:, None]).any():
        raise QuantError(f"H of shape {np.shape(given)} is not symmetric; {remedy}")
    return hessians


def as_weight_pair(W: Any, W_hat: Any) -> tuple[Float32Array, Float32Array]:
    """Return a weight and what has become of it, both (out, in).

    Raises:
        QuantError: as `as_weight`, and for different shapes.
    """
    weight, other = as_weight(W), as_weight(W_hat, "W_hat")
    if weight.shape != other.shape:
        raise QuantError(f"W has shape {weight.shape} and W_hat {other.shape}; give both as (out, in)")
    return weight, other


def reached_weight(W: Any, cross: Any, H: Any, damping: float = 0.01) -> Float32Array:
    """Return the weight that comes nearest to WX from other inputs X̂: what to quantize where the inputs have changed.

    The least ‖WX − W*X̂‖² + λ‖W* − W‖² has W* = (W·XX̂ᵀ + λW)(X̂X̂ᵀ + λ)⁻¹, and ‖WX − ŴX̂‖² is ‖(W* − Ŵ)X̂‖² and what no
    weight can undo: so a method that keeps the outputs of W* on X̂ keeps those of W on X. (The normal equations;
    AdaRound has the same aim, Nagel et al. 2020, equation 25, and so has GPTAQ, Li et al. 2025.) λ is `damping` times
    the mean of H's diagonal. Inputs X̂ that are always 0 leave W as it is.

    `cross` is XX̂ᵀ and H is X̂X̂ᵀ, both (in, in), or (groups, in, in) for a grouped convolution.

    Raises:
        QuantError: for shapes that do not go together, values that are not finite, a damping that is not positive or
            too small to tell dependent inputs apart, and a weight beyond float32.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((3, 100))
        >>> X_hat = 0.5 * X  # the layers before have lost half
        >>> reached_weight([[1.0, 2.0, 3.0]], X @ X_hat.T, X_hat @ X_hat.T, damping=1e-9).round(4).tolist()
        [[2.0, 4.0, 6.0]]
    """
    weight = as_weight(W)
    hessians = as_hessians(H, weight)
    crossed = as_layer_inputs(cross, "cross", weight, 2)
    if crossed.shape != hessians.shape:
        raise QuantError(f"cross has shape {np.shape(cross)} and H {np.shape(H)}; give X @ X_hat.T, of H's shape")
    share, inputs, unit = as_number(damping, "damping", above=0), weight.shape[1], exponents(hessians, (1, 2))
    if not weight.size:
        return weight.copy()
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float64 is refused below
        squares, crossed = np.ldexp(hessians, -unit), np.ldexp(crossed, -unit)
        power = np.trace(squares, axis1=1, axis2=2)
        ridge = np.where(power > 0, share * power / inputs, 1.0)[:, None, None] * np.eye(inputs)
        wanted = in_groups(weight.astype(np.float64), len(squares)) @ (crossed + ridge)
        try:
            found = np.linalg.solve(squares + ridge, wanted.transpose(0, 2, 1)).transpose(0, 2, 1)
        except np.linalg.LinAlgError:
            raise QuantError(
                f"H of shape {np.shape(H)} is singular with damping={damping!r}: its inputs are linearly dependent; "
                "give a larger damping, such as 0.01"
            ) from None
    return in_float32(np.ascontiguousarray(found).reshape(weight.shape), "the weight that is reached for")


def layer_error(W: Any, W_hat: Any, H: Any) -> float:
    """Return ‖WX − ŴX‖², the squared error of a layer's outputs, from H = XXᵀ alone.

    tr((W − Ŵ) H (W − Ŵ)ᵀ), summed over the groups; W and Ŵ are (out, in), H (in, in) or (groups, in, in).

    Raises:
        QuantError: for shapes that do not go together, values that are not finite, and an error beyond float64.

    Example:
        >>> X = np.array([[1.0, 2.0], [0.0, 1.0]])  # two inputs, two samples
        >>> layer_error([[1.0, 0.0]], [[0.0, 0.0]], X @ X.T)
        5.0
    """
    weight, other = as_weight_pair(W, W_hat)
    hessians = as_hessians(H, weight)
    change = in_groups(weight.astype(np.float64) - other, len(hessians))
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.sum((change @ hessians) * change))
    if not np.isfinite(error):
        raise QuantError(f"the error of H of shape {np.shape(H)} is beyond float64; scale H or the weights down")
    return error
