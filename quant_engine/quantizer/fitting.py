"""From a tensor and a spec to a fitted quantizer, and the verbs built on it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from quant_engine.checks import as_instance
from quant_engine.clipping import Blocks
from quant_engine.errors import QuantError, QuantWarning
from quant_engine.granularity import PerChannel
from quant_engine.inputs import Float32Array, Float64Array, as_float32, raise_non_finite
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer.codecs.blockwise import BlockwiseCodec
from quant_engine.quantizer.codecs.flat import FlatCodec
from quant_engine.quantizer.report import ErrorReport, report_from_totals
from quant_engine.quantizer.results import QuantizedTensor, Quantizer
from quant_engine.quantizer.rounding import validate_generator
from quant_engine.quantizer.spec import QuantizerSpec

AT_ONCE = 1 << 16  # values that stay in a cache of the processor
SPEC_REMEDY = "give QuantizerSpec(format, …), for example QuantizerSpec(IntFormat(4))"


def fit(x: Any, spec: QuantizerSpec, rng: np.random.Generator | None = None, importance: Any = None) -> Quantizer:
    """Find the numbers of a quantizer in `x`: the clipping range of every block, and scale and zero point from it.

    `rng` is for methods that draw at random, None means seed 0 (stochastic rounding draws when it encodes).
    `importance` weighs the squared error of every value, where the format heeds that (learned scalar codebooks): not
    negative, of a shape that spreads to that of `x`, such as the mean square of the inputs that meet a weight.

    Warns:
        QuantWarning: for `PerChannel` on a tensor of one axis, where every value has a scale of its own.

    Raises:
        QuantError: for values that are not finite real numbers, or blocks that do not fit the shape; and for an
            importance that is no such array, or is not heeded.

    Example:
        >>> from quant_engine import IntFormat
        >>> quantizer = fit([[-0.7, 0.2], [1.4, 0.5]], QuantizerSpec(IntFormat(4)))
        >>> quantizer.scale.tolist(), quantizer.zero_point.tolist()
        ([[0.20000000298023224]], [[0]])
    """
    validate_generator(rng)
    as_instance(spec, QuantizerSpec, "spec", SPEC_REMEDY)
    array = as_float32(x)
    weights = None if importance is None else _importance(importance, array.shape)
    found = spec.codec.fit(array, spec, np.random.default_rng(0) if rng is None else rng, weights)
    if isinstance(spec.granularity, PerChannel) and array.ndim == 1 and array.size > 1:
        warnings.warn(
            f"{spec.granularity} gives each of the {array.size} values of a tensor of one axis its own scale: "
            f"{spec.storage(array.shape).bits_per_value:g} bits a value; use PerTensor() or PerGroup(32)",
            QuantWarning,
            stacklevel=2,
        )
    return Quantizer(spec, found.scale, found.zero_point, found.learned)


def fit_blocks(blocks: Blocks, spec: QuantizerSpec) -> Quantizer:
    """Return what `fit` does of a tensor that is at hand as blocks, which keep what is found of its values.

    Of a tensor that is fitted again and again, such as under a hand that moves, the values are read once.

    Raises:
        QuantError: for blocks of another granularity than the spec's, and a format that learns from the values.

    Example:
        >>> from quant_engine import IntFormat, PerTensor
        >>> x = np.array([-0.7, 1.4], np.float32)
        >>> blocks = Blocks(x, PerTensor().blocks(x.shape))
        >>> [fit_blocks(blocks, QuantizerSpec(IntFormat(bits))).scale.round(4).tolist() for bits in (4, 2)]
        [[0.20000000298023224], [1.399999976158142]]
    """
    as_instance(spec, QuantizerSpec, "spec", SPEC_REMEDY)
    if not isinstance(spec.codec, BlockwiseCodec):
        raise QuantError(f"{spec.format} learns from the values themselves; give the tensor to fit(x, spec)")
    if spec.granularity.blocks(blocks.grid.shape) != blocks.grid:
        raise QuantError(
            f"the blocks are of shape {blocks.grid.block}, not those of {spec.granularity}; make them anew"
        )
    found = spec.codec.fit_blocks(blocks, spec)
    return Quantizer(spec, found.scale, found.zero_point)


def measure_each(x: Any, quantizers: Sequence[Quantizer]) -> list[ErrorReport]:
    """Return what each of several quantizers loses of one tensor, as their `measure` does, but reading it once.

    A part of it stays in a cache of the processor from one quantizer to the next, where all keep its order in memory.

    Raises:
        QuantError: as `Quantizer.measure`.

    Example:
        >>> from quant_engine import IntFormat
        >>> x = np.array([0.0, 0.3, 1.0], np.float32)
        >>> [one.max_abs > 0 for one in measure_each(x, [fit(x, QuantizerSpec(IntFormat(bits))) for bits in (2, 3)])]
        [True, True]
    """
    array = as_float32(x)
    flat = [
        one.spec.codec.measuring(array, one)
        for one in quantizers
        if isinstance(one.spec.codec, FlatCodec) and one.spec.rounding == "nearest"
    ]
    if len(flat) < len(quantizers) or not all(np.shares_memory(values, array) for values, _ in flat):
        return [one.measure(array) for one in quantizers]

    def work(start: int, stop: int) -> list[Float64Array]:
        parts = [(first, min(first + AT_ONCE, stop)) for first in range(start, stop, AT_ONCE)]
        found = [[one(*part) for _, one in flat] for part in parts]
        return [np.array(totals) for totals in zip(*found, strict=True)]

    parts = over_ranges(array.size, work)
    reports = [report_from_totals([*np.concatenate(one)], array.size) for one in zip(*parts, strict=True)]
    if None in reports:
        raise_non_finite(array)
    return [one for one in reports if one is not None]


def _importance(importance: Any, shape: tuple[int, ...]) -> Float32Array:
    """Return the importance of every value."""
    given = as_float32(importance, "the importance")
    try:
        spread = np.broadcast_to(given, shape)
    except ValueError as error:
        raise QuantError(f"the importance has shape {given.shape}, which does not spread to {shape}") from error
    if not np.isfinite(given).all() or (given < 0).any():
        raise QuantError("the importance has values that are negative or not finite; give weights of 0 and more")
    return spread


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
    return as_instance(q, QuantizedTensor, "q", "give what quantize(x, spec) returns").dequantize()


def fake_quantize(x: Any, spec: QuantizerSpec, rng: np.random.Generator | None = None) -> Float32Array:
    """Return dequantize(quantize(x, spec)) without making the codes."""
    return fit(x, spec, rng).fake_quantize(x, rng)
