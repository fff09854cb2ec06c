"""Scales for a layer's input channels that make its weights, or its inputs, easier to quantize: AWQ and SmoothQuant."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.compensation.layer import checked_hessians, checked_weight, in_groups
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array
from quant_engine.quantizer import QuantizerSpec, fake_quantize

GRID = 20  # exponents that AWQ tries, as its authors do


def awq(W: Any, H: Any, magnitude: Any, spec: QuantizerSpec) -> Float64Array:
    """Return the scale of each input channel with which quantized weights change a layer's outputs least.

    s = m^α, with the mean magnitude m = E|x| of every channel: weights that meet large inputs are scaled up before they
    are rounded, so that they lose less, and inputs are divided by s to make up for it. α, of 0, 1/20, … 19/20, is the
    one with the least ‖Q(W·diag(s))·diag(s)⁻¹·X − WX‖² (Lin et al. 2024, "AWQ", section 3.2, equations 4 and 5); s is
    divided by √(max s · min s), as the authors do.

    W is (out, in), H = XXᵀ (in, in), or (groups, in, in) for a grouped convolution, `magnitude` (channels,). A channel
    may be read through several inputs, as in a convolution or behind a flattened picture: those of the first channel
    come first (of the group's first, if there are groups). Channels that are always 0 have scale 1.

    Raises:
        QuantError: for shapes that do not go together, values that are not finite, and negative magnitudes.

    Example:
        >>> from quant_engine import IntFormat, PerChannel
        >>> rng = np.random.default_rng(0)
        >>> W, X = rng.standard_normal((8, 16)), rng.standard_normal((16, 200))
        >>> X[3] *= 30
        >>> s = awq(W, X @ X.T, np.abs(X).mean(axis=1), QuantizerSpec(IntFormat(3), PerChannel()))
        >>> int(s.argmax())
        3
    """
    weight = checked_weight(W)
    hessians = checked_hessians(H, weight)
    strengths = _checked_ranges(magnitude, "magnitude")
    per_group, groups = weight.shape[1], len(hessians)
    if strengths.ndim != 1 or strengths.size % groups or per_group * groups % strengths.size:
        raise QuantError(
            f"magnitude has shape {strengths.shape} for W of shape {weight.shape} in {groups} groups; give one value "
            "for each channel that the layer reads"
        )
    least, found = np.inf, np.ones_like(strengths)
    for exponent in np.arange(GRID) / GRID:
        scales = _balanced(strengths, exponent)
        spread = np.repeat(scales.reshape(groups, -1), per_group * groups // strengths.size, axis=1)  # (groups, in)
        factors = np.repeat(spread, len(weight) // groups, axis=0)
        error = fake_quantize((weight * factors).astype(np.float32), spec) / factors - weight
        change = in_groups(error, groups)
        loss = float(np.sum((change @ hessians) * change))
        if loss < least:
            least, found = loss, scales
    return found


def _balanced(strengths: Float64Array, exponent: float) -> Float64Array:
    alive = strengths > 0
    scales = np.where(alive, strengths, 1.0) ** exponent
    if alive.any():
        scales /= np.sqrt(scales[alive].max() * scales[alive].min())
    return np.where(alive, scales, 1.0)


def smoothquant(inputs: Any, weights: Any, strength: float = 0.5) -> Float64Array:
    """Return the scale of each input channel that moves a part of the inputs' range into the weights.

    s_j = max|X_j|^α / max|W_j|^(1−α) (Xiao et al. 2023, "SmoothQuant", section 4, equation 4): inputs are divided by s,
    the weights that read them multiplied by it. With α = 0 weights keep no differences of range, with α = 1 inputs keep
    none, with ½ both share them. `inputs` are max|X_j| and `weights` max|W_j| of every channel j, (channels,); where
    either is 0, the scale is 1.

    Raises:
        QuantError: for ranges of different shapes, negative or not finite, and an α outside 0 to 1.

    Example:
        >>> smoothquant([16.0, 1.0, 0.0], [1.0, 4.0, 1.0]).tolist()
        [4.0, 0.5, 1.0]
    """
    x, w = _checked_ranges(inputs, "inputs"), _checked_ranges(weights, "weights")
    if x.shape != w.shape:
        raise QuantError(f"inputs has shape {x.shape} and weights {w.shape}; give one range for each channel in both")
    if not 0 <= strength <= 1:
        raise QuantError(f"strength={strength!r} is out of range; give 0 (all for the weights) to 1 (for the inputs)")
    alive = (x > 0) & (w > 0)
    return np.where(alive, np.where(alive, x, 1.0) ** strength / np.where(alive, w, 1.0) ** (1 - strength), 1.0)


def _checked_ranges(given: Any, name: str) -> Float64Array:
    ranges = np.asarray(given, np.float64)
    if not np.isfinite(ranges).all() or (ranges < 0).any():
        raise QuantError(f"{name} of shape {ranges.shape} has values that are negative or not finite; give ranges")
    return ranges
