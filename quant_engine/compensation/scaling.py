"""Scales for a layer's input channels that make its weights, or its inputs, easier to quantize: AWQ and SmoothQuant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, as_number
from quant_engine.compensation.equalization import hold_dead, living
from quant_engine.compensation.layer import as_hessians, as_layer, exponents, in_float32, in_groups
from quant_engine.errors import QuantError
from quant_engine.inputs import LARGEST_FLOAT32, Float64Array, as_finite
from quant_engine.quantizer import QuantizerSpec, fake_quantize

GRID = 20  # exponents that AWQ tries, as its authors do


def awq(W: Any, H: Any, magnitude: Any, spec: QuantizerSpec) -> Float64Array:
    """Return the scale of each input channel with which quantized weights change a layer's outputs least.

    s = m^α, with the mean magnitude m = E|x| of every channel: weights that meet large inputs are scaled up before they
    are rounded, so that they lose less, and inputs are divided by s to make up for it. α, of 0, 1/20, … 19/20, is the
    one with the least ‖Q(W·diag(s))·diag(s)⁻¹·X − WX‖² (Lin et al. 2024, "AWQ", section 3.2, equations 4 and 5); s is
    divided by √(max s · min s), as the authors do. α does not depend on the units of weights and inputs.

    W is (out, in), H = XXᵀ (in, in), or (groups, in, in) for a grouped convolution, `magnitude` (channels,). A channel
    may be read through several inputs, as in a convolution or behind a flattened picture: those of the first channel
    come first (of the group's first, if there are groups). Channels that are always 0 have scale 1, which lies in the
    middle of the others; those that count for next to nothing (`living`) go no further than the others.

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
    weight = as_layer(W)
    as_instance(spec, QuantizerSpec, "spec", "give a QuantizerSpec")
    hessians = as_hessians(H, weight)
    hessians = np.ldexp(hessians, -int(exponents(hessians)))
    strengths = in_float32(_as_ranges(magnitude, "magnitude"), "magnitude").astype(np.float64)
    per_group, groups = weight.shape[1], len(hessians)
    if strengths.ndim != 1 or not strengths.size or strengths.size % groups or per_group * groups % strengths.size:
        raise QuantError(
            f"magnitude has shape {strengths.shape} for W of shape {weight.shape} in {groups} groups; give one value "
            "for each channel that the layer reads"
        )
    by_channel = weight.reshape(groups, len(weight) // groups, strengths.size // groups, -1)
    alive = living(strengths, np.abs(by_channel).max(axis=(1, 3)).reshape(-1).astype(np.float64))
    min_loss, found, unit = np.inf, np.ones_like(strengths), int(exponents(weight)) if weight.any() else 0
    for exponent in np.arange(GRID) / GRID:
        scales = _balanced(strengths, alive, exponent)
        spread = np.repeat(scales.reshape(groups, -1), per_group * groups // strengths.size, axis=1)  # (groups, in)
        factors = np.repeat(spread, len(weight) // groups, axis=0)
        scaled = weight * factors
        if np.abs(scaled).max() > LARGEST_FLOAT32:
            continue
        error = fake_quantize(scaled.astype(np.float32), spec) / factors - weight
        change = in_groups(np.ldexp(error, -unit), groups)
        loss = float(np.sum((change @ hessians) * change))
        if loss < min_loss:
            min_loss, found = loss, scales
    return found


def _balanced(strengths: Float64Array, alive: NDArray[np.bool_], exponent: float) -> Float64Array:
    if not alive.any():
        return np.ones_like(strengths)
    scales = np.where(strengths > 0, strengths, 1.0) ** exponent
    low, high = scales[alive].min(), scales[alive].max()
    return np.where(strengths > 0, np.clip(scales, low, high) / np.sqrt(high * low), 1.0)


def smoothquant(inputs: Any, weights: Any, strength: float = 0.5) -> Float64Array:
    """Return the scale of each input channel that moves a part of the inputs' range into the weights.

    s_j = max|X_j|^α / max|W_j|^(1−α) (Xiao et al. 2023, "SmoothQuant", section 4, equation 4): inputs are divided by s,
    the weights that read them multiplied by it. With α = 0 weights keep no differences of range, with α = 1 inputs keep
    none, with ½ both share them. `inputs` are max|X_j| and `weights` max|W_j| of every channel j, (channels,). Channels
    of which either is 0, or nearly, are scaled as the others are (`hold_dead`), so that they harm none and the units of
    inputs and weights do not matter.

    Raises:
        QuantError: for ranges of different shapes, negative or not finite, scales beyond float64, and an α outside 0
            to 1.

    Example:
        >>> smoothquant([16.0, 1.0, 0.0], [1.0, 4.0, 1.0]).tolist()
        [4.0, 0.5, 1.0]
    """
    x, w = _as_ranges(inputs, "inputs"), _as_ranges(weights, "weights")
    if x.shape != w.shape:
        raise QuantError(f"inputs has shape {x.shape} and weights {w.shape}; give one range for each channel in both")
    share = as_number(strength, "strength", 0, 1)  # 0: all for the weights, 1: all for the inputs
    with np.errstate(all="ignore"):  # what is beyond float64 is refused below
        scales = hold_dead(x**share / w ** (1 - share), x, w)
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise QuantError(f"the scales of ranges of shape {x.shape} are beyond float64; give them in other units")
    return scales


def _as_ranges(given: Any, name: str) -> Float64Array:
    ranges = as_finite(given, name)
    if (ranges < 0).any():
        raise QuantError(
            f"{name} of shape {ranges.shape} has values that are negative ({ranges.min():.4g}); give 0 or more"
        )
    return ranges
