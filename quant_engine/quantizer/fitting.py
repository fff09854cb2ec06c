"""From a tensor and a spec to a fitted quantizer, and the verbs built on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.clipping import Blocks
from quant_engine.formats import Format
from quant_engine.inputs import Float32Array, Float64Array, as_float32, refuse_non_finite
from quant_engine.quantizer.results import QuantizedTensor, Quantizer
from quant_engine.quantizer.spec import QuantizerSpec

SMALLEST_SCALE = np.finfo(np.float32).smallest_subnormal


def fit(x: Any, spec: QuantizerSpec, rng: np.random.Generator | None = None) -> Quantizer:
    """Choose the clipping range of every block of `x` and derive scale and zero point from it.

    `rng` is for methods that draw at random; those at hand do not (stochastic rounding draws when it encodes).

    Raises:
        QuantError: for values that are not finite real numbers, or blocks that do not fit the shape.

    Example:
        >>> from quant_engine import IntFormat
        >>> quantizer = fit([[-0.7, 0.2], [1.4, 0.5]], QuantizerSpec(IntFormat(4)))
        >>> quantizer.scale.tolist(), quantizer.zero_point.tolist()
        ([[0.20000000298023224]], [[0]])
    """
    array = as_float32(x)
    grid = spec.granularity.blocks(array.shape)
    if array.size:
        blocks = Blocks(grid.flatten(array), grid)
        if not np.isfinite(blocks.extremes).all():
            refuse_non_finite(array)
        ranges = spec.clipping.ranges(blocks, spec.format, spec.symmetric)
    else:
        ranges = np.zeros((grid.count, 2))
    scale, zero_point = affine_parameters(ranges[:, 0], ranges[:, 1], spec.format, spec.symmetric)
    return Quantizer(spec, grid.to_grid(scale), grid.to_grid(zero_point))


def affine_parameters(
    lo: Float64Array, hi: Float64Array, format: Any, symmetric: bool
) -> tuple[Float32Array, NDArray[np.int32]]:
    """Return scale and zero point of clipping ranges.

    Symmetric: scale = max(−lo, hi) / peak (qmax of integers, max|value| of other formats), zero point 0. Asymmetric,
    of integers alone: the range is widened to hold 0, scale = (hi − lo) / (qmax − qmin), zero point =
    clip(rint(qmin − lo / scale)). Derived in float64, the scale rounded once to float32; a range of no width has
    scale 1, and so have formats that are not scaled.
    """
    low, high = np.minimum(lo, 0.0), np.maximum(hi, 0.0)
    if symmetric:
        return _scales(np.maximum(-low, high) / format.peak, format), np.zeros(low.shape, np.int32)
    wide = (high - low) / (format.qmax - format.qmin)
    zero_point = np.rint(format.qmin - low / np.where(wide > 0.0, wide, 1.0))
    return _scales(wide, format), np.clip(zero_point, format.qmin, format.qmax).astype(np.int32)


def _scales(wide: Float64Array, format: Format) -> Float32Array:
    """Return scales as float32 that quantizers take."""
    if not format.scaled:
        return np.ones(wide.shape, np.float32)
    with np.errstate(over="ignore"):
        return np.maximum(np.where(wide > 0.0, wide, 1.0).astype(np.float32), SMALLEST_SCALE)


def quantize(x: Any, spec: QuantizerSpec, rng: np.random.Generator | None = None) -> QuantizedTensor:
    """Fit a quantizer to `x` and return its codes.

    Example:
        >>> from quant_engine import IntFormat
        >>> quantize([-1.0, 0.1, 0.7], QuantizerSpec(IntFormat(3))).codes.tolist()
        [-3, 0, 2]
    """
    return fit(x, spec, rng).encode(x, rng)


def dequantize(q: QuantizedTensor) -> Float32Array:
    """Return x̂ = scale · (code − zero_point)."""
    return q.dequantize()


def fake_quantize(x: Any, spec: QuantizerSpec, rng: np.random.Generator | None = None) -> Float32Array:
    """Return dequantize(quantize(x, spec)) without making the codes."""
    return fit(x, spec, rng).fake_quantize(x, rng)
