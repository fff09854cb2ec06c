"""GPTQ: weights are rounded one input after another, and those to come make up for what rounding has lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, as_number, validate_boolean
from quant_engine.compensation.layer import as_hessians, as_weight, exponents, in_groups
from quant_engine.errors import QuantError
from quant_engine.granularity import PerChannel, PerChannelGroup
from quant_engine.inputs import LARGEST_FLOAT32, Float32Array, Float64Array
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec, fit, quantize
from quant_engine.quantizer.codecs import ScalarCodebookCodec
from quant_engine.quantizer.codecs.blockwise import BlockwiseCodec
from quant_engine.quantizer.scales import WITH_TENSOR_SCALE

BATCH = 128  # columns whose losses are gathered before they are passed on to all columns behind them


def gptq(
    W: Any, H: Any, spec: QuantizerSpec, damping: float = 0.01, act_order: bool = False, static_groups: bool = False
) -> QuantizedTensor:
    """Quantize a layer so that its outputs, not its weights, change least.

    Input after input: with the upper triangular U of H⁻¹ = UᵀU, column j of the weights is rounded, and the columns
    behind it take W[:, j:] −= (w_j − ŵ_j)/U_jj · U[j, j:], the change that makes up best for what it lost (Frantar et
    al. 2023, "GPTQ", algorithm 1; section 3, equation 2 gives the step, Hassibi and Stork 1993 the idea). What is
    minimised is `layer_error`, ‖WX − ŴX‖².

    W is (out, in), H = XXᵀ (in, in) for inputs X (in, samples), of any scale; for a grouped convolution, H is
    (groups, in, in), one for the inputs of each group of outputs. Any scalar format, rounding and granularity. Scales
    of whole rows are found in W beforehand. Those of groups along the inputs are found when a group is reached, in what
    its weights have become; with `act_order` or `static_groups`, or where scales share one of the tensor (NVFP4), they
    are found beforehand too.

    `damping` times the mean of H's diagonal is added to it; so H may lack full rank. `act_order` takes inputs in the
    order of falling H_jj, so that the strongest are rounded first and the weakest make up for the rest. An input that
    is always 0 is rounded to nearest.

    Codes depend neither on the unit of X nor on that of W.

    Raises:
        QuantError: for shapes that do not go together; values that are not finite; an H that is not symmetric or, with
            `damping`, not positive definite; and for formats that code several values as one.

    Example:
        >>> from quant_engine import IntFormat, PerChannel
        >>> from quant_engine.compensation import layer_error
        >>> rng = np.random.default_rng(0)
        >>> W, X = rng.standard_normal((8, 16)), rng.standard_normal((16, 4)) @ rng.standard_normal((4, 200))
        >>> spec, H = QuantizerSpec(IntFormat(3), PerChannel()), X @ X.T
        >>> error = layer_error(W, quantize(W, spec).dequantize(), H)  # of rounding to nearest
        >>> layer_error(W, gptq(W, H, spec).dequantize(), H) < 0.5 * error
        True
    """
    weight = as_weight(W)
    validate_scalar(as_instance(spec, QuantizerSpec, "spec", "give a QuantizerSpec"))
    share = as_number(damping, "damping", low=0)
    validate_boolean(act_order, "act_order")
    validate_boolean(static_groups, "static_groups")
    hessians = as_hessians(H, weight)
    if not weight.size:
        return quantize(weight, spec)
    diagonal = np.diagonal(hessians, axis1=1, axis2=2)
    order = np.argsort(-diagonal if act_order else np.zeros_like(diagonal), axis=1, kind="stable")
    factors = _inverse_factors(hessians, order, share)
    columns = _Columns(weight, spec, order, beforehand=act_order or static_groups)
    work = np.take_along_axis(in_groups(weight.astype(np.float64), len(order)), order[:, None], axis=2)
    for start in range(0, weight.shape[1], columns.batch):
        stop = min(start + columns.batch, weight.shape[1])
        ahead = work[:, :, start:stop].transpose(0, 2, 1).copy()  # (groups, inputs, outputs): a column is contiguous
        losses = np.empty_like(ahead)
        for j in range(stop - start):
            rounded = columns.round(start + j, ahead[:, j:])
            losses[:, j] = (ahead[:, j] - rounded) / factors[:, start + j, start + j, None]
            ahead[:, j + 1 :] -= factors[:, start + j, start + j + 1 : stop, None] * losses[:, j, None]
        work[:, :, stop:] -= losses.transpose(0, 2, 1) @ factors[:, start:stop, stop:]
    return columns.quantized()


class _Columns:
    """Scales and codes of a matrix that is rounded column after column, whatever its format and blocks.

    Column j of group g is input `order[g, j]` of the matrix.
    """

    def __init__(self, weight: Float32Array, spec: QuantizerSpec, order: NDArray[np.int64], beforehand: bool) -> None:
        """Fit the scales of all blocks; those along the inputs anew when they are reached, unless `beforehand`."""
        self._spec, self._order = spec, order
        grid, outputs = spec.granularity.blocks(weight.shape), np.arange(len(weight))
        rows, self._run = grid.block
        self._when_reached = not (beforehand or grid.grid[1] == 1 or spec.scale_format in WITH_TENSOR_SCALE)
        self.batch = self._run * max(1, BATCH // self._run) if self._when_reached else BATCH
        self._within = replace(spec, granularity=PerChannelGroup(rows, remainder="short"))  # of some columns
        self._single = replace(spec, granularity=PerChannel())  # of one column, whose rows all have their scale
        self._block, self._group = outputs // rows, outputs // (len(weight) // len(order))
        fitted = fit(weight, spec)
        self._scale, self._zero_point = fitted.scale.copy(), fitted.zero_point.copy()
        self._learned = None if fitted.learned is None else fitted.learned.copy()
        self._codes = np.empty(weight.shape, spec.format.dtype)
        self._rng = np.random.default_rng(0)  # of stochastic rounding

    def round(self, j: int, ahead: Float64Array) -> Float64Array:
        """Round column `j` and return its values, (groups, rows).

        `ahead`, (groups, columns, rows), are the weights as they have become, from column j to the end of its batch.
        """
        if self._when_reached and j % self._run == 0:
            self._reach(j // self._run, ahead[:, : self._run])
        inputs = self._order[self._group, j]
        place = self._block, inputs // self._run
        learned = None if self._learned is None else self._learned[place][:, None]
        quantizer = Quantizer(self._single, self._scale[place][:, None], self._zero_point[place][:, None], learned)
        q = quantizer.encode(_saturated(ahead[:, 0].reshape(-1, 1)), self._rng)
        self._codes[np.arange(len(inputs)), inputs] = q.codes[:, 0]
        return q.dequantize().reshape(ahead[:, 0].shape).astype(np.float64)

    def quantized(self) -> QuantizedTensor:
        """Return what all columns have been rounded to."""
        whole = Quantizer(self._spec, self._scale, self._zero_point, self._learned)
        return QuantizedTensor(self._codes, whole.scale, whole.zero_point, self._spec, whole.learned)

    def _reach(self, block: int, values: Float64Array) -> None:
        """Find the scales of a block of columns in what its weights have become."""
        rows = values.transpose(0, 2, 1).reshape(len(self._codes), -1)
        found = fit(_saturated(rows), self._within)
        self._scale[:, block], self._zero_point[:, block] = found.scale[:, 0], found.zero_point[:, 0]
        if self._learned is not None and found.learned is not None:
            self._learned[:, block] = found.learned[:, 0]


def _saturated(weights: Float64Array) -> Float32Array:
    """Return weights as float32; losses that are passed on may take some beyond it."""
    return np.clip(weights, -LARGEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32)


def _inverse_factors(hessians: Float64Array, order: NDArray[np.int64], damping: float) -> Float64Array:
    """Return, for every group, the upper triangular U of H⁻¹ = UᵀU, with the inputs in their order.

    H turned back to front is LLᵀ, so H is VVᵀ with the upper triangular V, L turned the same way, and U = V⁻¹: no
    inverse of H, whose small eigenvalues would be lost. H is divided by a power of two first; `gptq` needs only ratios
    in a row of U. A pivot counts as 0 compared with its own input's H_jj, because inputs may have units of their own.
    """
    inputs = hessians.shape[-1]
    permuted = np.take_along_axis(np.take_along_axis(hessians, order[:, :, None], 1), order[:, None], 2)
    permuted = np.ldexp(permuted, -exponents(permuted, (1, 2)))
    diagonal = np.diagonal(permuted, axis1=1, axis2=2)
    alone = np.where(diagonal == 0, 1.0, 0.0)  # inputs that are always 0 stand for themselves
    added = damping * diagonal.mean(axis=1, keepdims=True) + alone
    damped = permuted + added[:, :, None] * np.eye(inputs)
    try:
        lower = np.linalg.cholesky(damped[:, ::-1, ::-1])
        pivots = np.diagonal(lower, axis1=1, axis2=2) ** 2
        definite = bool((pivots > inputs * np.finfo(np.float64).eps * (diagonal + added)[:, ::-1]).all())
    except np.linalg.LinAlgError:
        definite = False
    if not definite:
        raise QuantError(
            f"H of shape {hessians.shape[1:]} is not positive definite with damping={damping}: its inputs are linearly "
            "dependent, or it is no X @ X.T; give a larger damping, or inputs of more samples"
        )
    return np.linalg.inv(lower[:, ::-1, ::-1])


def validate_scalar(spec: QuantizerSpec) -> None:
    """Check that a spec codes every value by itself.

    Raises:
        QuantError: for vectors of values, and blocks with a rounding of their own.
    """
    if not isinstance(spec.codec, BlockwiseCodec | ScalarCodebookCodec):
        raise QuantError(
            f"GPTQ with {spec.format}: it rounds one input after another, and this format codes several values "
            "together; use a scalar format, such as IntFormat(4) with PerGroup(32)"
        )
