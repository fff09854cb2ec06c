"""Codes and scales of a quantized matrix as the blocks of a GGUF file, whose scale d is free: a tuned range fits.

Blocks are runs of 32 values of a row. A scale that more values share (a row, a tensor, a run of 64) is repeated. d, and
the minimum m of Q4_1 and Q5_1, are float16: what the rounding changes, `rounded` says.

Source: ggml, ggml-common.h, the structs block_q4_0 to block_q8_0 and block_mxfp4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.formats import BF16, E2M1, E8M0, FP16, FP32, BlockFormat, FloatFormat, IntFormat
from quant_engine.granularity import BlockGrid, PerGroup
from quant_engine.inputs import Float32Array
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec

BLOCK = 32
MXFP4 = "MXFP4"
E8M0_BIAS = 127
WIDTHS = ((4, "Q4_0"), (5, "Q5_0"), (8, "Q8_0"))  # of signed codes around 0
WITH_MINIMUM = ((4, "Q4_1"), (5, "Q5_1"), (7, "Q8_0"))  # of all others; of 7 bits, code − zero_point is a signed byte
FLOATS = {FP16: "F16", BF16: "BF16", FP32: "F32"}
Fitted = Quantizer | QuantizedTensor


def block_type(spec: QuantizerSpec) -> str | None:
    """Return the type of GGUF whose codes can be those of a spec, None if there is none.

    Example:
        >>> block_type(QuantizerSpec(IntFormat(3))), block_type(QuantizerSpec(IntFormat(4), symmetric=False))
        ('Q4_0', 'Q4_1')
    """
    kind = TYPES.get(type(spec.format))
    return None if kind is None else kind(spec)


def nearest_spec(spec: QuantizerSpec, fits: bool) -> QuantizerSpec:
    """Return the nearest spec that GGUF holds as it is; `fits` says that the blocks of this one are runs of 32.

    Example:
        >>> nearest_spec(QuantizerSpec(IntFormat(4)), fits=False).granularity
        PerGroup(size=32, axis=-1, remainder='refuse')
    """
    form = spec.format
    if spec.symmetric and isinstance(form, IntFormat) and block_type(spec):
        return replace(spec, scale_format=FP16) if fits else QuantizerSpec(form, PerGroup(BLOCK), scale_format=FP16)
    if form == E2M1:
        return QuantizerSpec(E2M1, PerGroup(BLOCK), scale_format=E8M0)
    if form.bits > 8:
        return QuantizerSpec(FP16)
    own = WIDTHS if spec.symmetric else WITH_MINIMUM
    return QuantizerSpec(BlockFormat(next((name for bits, name in own if form.bits <= bits), "Q8_0")))


def in_blocks(grid: BlockGrid) -> bool:
    """Return whether every run of 32 values of a row has one scale, and rows are whole runs."""
    (rows, columns), (_, block) = grid.shape, grid.block
    return bool(rows) and columns % BLOCK == 0 and (block % BLOCK == 0 or block == columns)


def rounded(fitted: Fitted) -> float:
    """Return by how much of a step float16 moves the levels of a matrix at most; 0 if the file holds them exactly.

    ∞ stands for scales that float16 does not hold: those beyond 65504, and those that become 0.
    """
    spec = fitted.spec
    if not isinstance(spec.format, IntFormat):
        return 0.0
    scale, m = fitted.scale.astype(np.float64), _minimum(fitted)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        half = scale.astype(np.float16).astype(np.float64)
        around_zero = spec.symmetric and spec.format.signed
        reach = max(-spec.format.qmin, spec.format.qmax - (0 if around_zero else spec.format.qmin))
        moved = np.abs(half / scale - 1) * reach
        if m is not None:
            moved = moved + np.abs(m.astype(np.float16).astype(np.float64) - m) / scale
        lost = (half == 0) | ~np.isfinite(half) | ~np.isfinite(moved)
    return float(np.where(lost, np.inf, moved).max(initial=0.0))


def packed(quantized: QuantizedTensor) -> NDArray[np.uint8]:
    """Return the rows of a matrix as bytes, (rows, bytes of a row).

    Raises:
        QuantError: for scales beyond float16.
    """
    spec, codes = quantized.spec, quantized.codes
    rows = codes.shape[0]
    if spec.format in FLOATS:
        return _float_bytes(quantized.dequantize(), spec.format)
    scale = _each_run(quantized, quantized.scale)
    if spec.format == E2M1:
        exponent = np.frexp(scale)[1] - 1 + E8M0_BIAS
        nibbles = codes.reshape(rows, -1, BLOCK).astype(np.uint8)
        low = nibbles[..., : BLOCK // 2] | nibbles[..., BLOCK // 2 :] << 4
        return np.concatenate([exponent[..., None].astype(np.uint8), low], axis=-1).reshape(rows, -1)
    name = block_type(spec)
    assert name is not None  # checked by who asks
    form = BlockFormat(name)
    if isinstance(spec.format, BlockFormat):
        m = _each_run(quantized, quantized.learned[..., 1]) if form.has_minimum else None  # type: ignore[index]
        return form.to_bytes(codes, scale, m)
    if form.has_minimum:
        minimum = _minimum(quantized)
        assert minimum is not None
        return form.to_bytes(codes - np.int32(spec.format.qmin), scale, _each_run(quantized, minimum))
    zero = np.repeat(_each_run(quantized, quantized.zero_point), BLOCK, axis=1)
    return form.to_bytes(codes.astype(np.int32) - zero + form.offset, scale)


def _minimum(fitted: Fitted) -> Float32Array | None:
    """Return m of every block, scale · (least code − zero_point), None for types without."""
    name = block_type(fitted.spec)
    if name is None or not BlockFormat(name).has_minimum:
        return None
    return np.asarray(fitted.scale * (fitted.spec.format.qmin - fitted.zero_point), np.float64)


def _each_run(quantized: QuantizedTensor, per_block: NDArray[Any]) -> NDArray[Any]:
    """Return one number a block for each run of 32 values, (rows, runs)."""
    grid = quantized.spec.granularity.blocks(quantized.shape)
    rows, columns = grid.shape
    each = np.repeat(per_block, grid.block[0], axis=0)[:rows]
    return np.repeat(each, max(grid.block[1] // BLOCK, 1), axis=1)[:, : columns // BLOCK]


def _float_bytes(values: Float32Array, form: FloatFormat) -> NDArray[np.uint8]:
    """Return values of a float format as little-endian bytes; those of bfloat16 are the high half of a float32."""
    if form == FP16:
        whole: NDArray[Any] = values.astype("<f2")
    else:
        whole = values.astype("<f4")
        whole = whole if form == FP32 else (whole.view("<u4") >> 16).astype("<u2")
    return np.ascontiguousarray(whole).view(np.uint8).reshape(len(values), -1)


def _integers(spec: QuantizerSpec) -> str | None:
    widths = WIDTHS if spec.symmetric and spec.format.signed else WITH_MINIMUM
    return next((name for bits, name in widths if spec.format.bits <= bits), None)


def _floats(spec: QuantizerSpec) -> str | None:
    return MXFP4 if spec.format == E2M1 and spec.scale_format == E8M0 else FLOATS.get(spec.format)


TYPES: Mapping[type, Callable[[QuantizerSpec], str | None]] = {
    IntFormat: _integers,
    FloatFormat: _floats,
    BlockFormat: lambda spec: str(spec.format.name),
}
