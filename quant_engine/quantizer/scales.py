"""From clipping ranges to scales and zero points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.formats import E4M3, FloatFormat
from quant_engine.granularity import BlockGrid
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.quantizer.choices import SpecLike
from quant_engine.quantizer.storage import SCALE_BITS

SMALLEST_SCALE = np.finfo(np.float32).smallest_subnormal
WITH_TENSOR_SCALE = (E4M3,)  # scale formats of so short a reach that a float32 scale of the tensor stands beside them


def block_parameters(ranges: Float64Array, grid: BlockGrid, spec: SpecLike) -> tuple[Float32Array, NDArray[np.int32]]:
    """Return scale and zero point, in the shape of the grid, of the clipping range (blocks, 2) of every block.

    Symmetric: scale = max(−lo, hi) / peak (qmax of integers, max|value| of other formats), zero point 0. Asymmetric,
    of integers alone: the range is widened to hold 0, scale = (hi − lo) / (qmax − qmin), zero point =
    clip(rint(qmin − lo / scale)). Derived in float64, the scale rounded once, to float32 or the spec's scale format; a
    range of no width has scale 1, and so have formats that are not scaled.
    """
    form = spec.format
    if spec.symmetric:
        reach = np.negative(ranges[:, 0])
        np.maximum(reach, ranges[:, 1], out=reach)
        np.maximum(reach, 0.0, out=reach)
        return _scales(grid.to_grid(reach), form.symmetric_max, grid, spec), np.zeros(grid.grid, np.int32)
    low, high = grid.to_grid(np.minimum(ranges[:, 0], 0.0)), grid.to_grid(np.maximum(ranges[:, 1], 0.0))
    steps = (high - low) / (form.qmax - form.qmin)
    scale = _scales(high - low, form.qmax - form.qmin, grid, spec)
    if spec.scale_format is not None:
        steps = scale.astype(np.float64)
    zero_point = np.rint(form.qmin - low / np.where(steps > 0.0, steps, 1.0))
    return scale, np.clip(zero_point, form.qmin, form.qmax).astype(np.int32)


def _scales(reach: Float64Array, max_value: float, grid: BlockGrid, spec: SpecLike) -> Float32Array:
    """Return the scales that give the value `max_value` to `reach`, as quantizers take them."""
    form = spec.scale_format
    if not spec.format.scaled:
        return np.ones(reach.shape, np.float32)
    if form is None:
        with np.errstate(over="ignore"):
            scale: Float32Array = np.asarray(reach / max_value, np.float32)  # a scalar, too
        np.maximum(scale, SMALLEST_SCALE, out=scale)
        positive = reach > 0.0
        if not positive.all():
            scale[~positive] = 1.0
        return scale
    if form.mantissa_bits == 0:
        return _powers_of_two(reach, max_value, form)
    if form in WITH_TENSOR_SCALE:
        return _with_tensor_scale(reach / max_value, grid, form)
    return _nearest(np.where(reach > 0.0, reach / max_value, 1.0), form)


def _powers_of_two(reach: Float64Array, max_value: float, form: FloatFormat) -> Float32Array:
    """Return 2^(floor(log2 reach) − floor(log2 peak)), the rule of the OCP Microscaling Formats 1.0, section 6.3."""
    exponents = np.frexp(reach)[1] - np.frexp(max_value)[1]
    scale: Float64Array = np.clip(np.ldexp(1.0, exponents), form.smallest_subnormal, form.highest)
    return np.where(reach > 0.0, scale, 1.0).astype(np.float32)


def _with_tensor_scale(steps: Float64Array, grid: BlockGrid, form: FloatFormat) -> Float32Array:
    """Return t times the nearest values of the format to steps / t, with t = max(steps) / highest of each tensor."""
    axes = tuple(range(int(grid.apart), steps.ndim))
    max_step = steps.max(axis=axes, keepdims=True, initial=0.0)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, which quantizers refuse
        tensor = np.where(max_step > 0.0, max_step / form.highest, 1.0).astype(np.float32)
        tensor = np.maximum(tensor, SMALLEST_SCALE)
        if not np.isfinite(tensor).all():
            return np.full(steps.shape, np.inf, np.float32)
        return np.where(max_step > 0.0, _nearest(steps / tensor, form) * tensor, np.float32(1))


def _nearest(steps: Float64Array, form: FloatFormat) -> Float32Array:
    """Return the nearest values of the format, saturating."""
    return form.decode(form.encode(np.minimum(steps, form.highest)))


def scale_bits(spec: SpecLike, grid: BlockGrid) -> int:
    """Return what the scales of a tensor take."""
    if not spec.format.scaled:
        return 0
    if spec.scale_format is None:
        return grid.count * SCALE_BITS
    tensors = (grid.shape[0] if grid.apart else 1) if spec.scale_format in WITH_TENSOR_SCALE else 0
    return grid.count * spec.scale_format.bits + tensors * SCALE_BITS


def validate_scale_format(spec: SpecLike) -> None:
    """Check that a spec's scales can be of its scale format.

    Raises:
        QuantError: where there are no scales, and for powers of two with a zero point.
    """
    form = spec.scale_format
    if form is None:
        return
    if not spec.format.scaled:
        raise QuantError(f"scale_format={form} with {spec.format}, which has no scales; use scale_format=None")
    if form.mantissa_bits == 0 and not spec.symmetric:
        raise QuantError(
            f"symmetric=False with scale_format={form}: a power of two rounded down does not reach both ends of a "
            "range; use symmetric=True, or a scale format with a mantissa"
        )
