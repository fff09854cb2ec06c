"""Quantized matrices and inputs as compressed-tensors stores them: arguments for config.json, and tensors.

Integer codes are signed there, so unsigned ones are moved down by 2^(b − 1), and their zero points with them.
x̂ = weight_scale · (code − weight_zero_point) stays what it is, bit for bit, in the type of the scales, float32. Scales
that more values share than a strategy says are repeated.

Source: compressed-tensors 0.20, compressors/pack_quantized, naive_quantized, nvfp4 and mxfp4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.formats import E2M1, E4M3, E8M0, FloatFormat, IntFormat
from quant_engine.granularity import BlockGrid, PerChannel, PerGroup, PerTensor, PerToken
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec

MAX_BITS, WORD = 8, 32
MX_BLOCK, NV_BLOCK = 32, 16
E8M0_BIAS = 127
PACKED, EIGHT_BITS, FLOAT8 = "pack-quantized", "int-quantized", "float-quantized"
MXFP4, MXFP8, NVFP4 = "mxfp4-pack-quantized", "mxfp8-quantized", "nvfp4-pack-quantized"
FLOAT8_DTYPE, BYTE_DTYPE = "float8_e4m3fn", "torch.uint8"
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """A tensor for a safetensors file: `dtype` where it is none of numpy's."""

    values: NDArray[Any]
    dtype: str = ""


@dataclass(frozen=True)
class Scheme:
    """A format, and what `QuantizationArgs` says of the weight."""

    form: str
    weights: Arguments


def scheme_of(spec: QuantizerSpec, shape: tuple[int, int], with_inputs: bool = False) -> Scheme | None:
    """Return how a matrix of this shape is stored, None if compressed-tensors cannot say it.

    Example:
        >>> found = scheme_of(QuantizerSpec(IntFormat(4), PerGroup(128)), (64, 256))
        >>> found.form, found.weights["strategy"], found.weights["group_size"]
        ('pack-quantized', 'group', 128)
    """
    kind = SCHEMES.get(type(spec.format))
    return None if kind is None else kind(spec, spec.granularity.blocks(shape), with_inputs)


def nearest_spec(spec: QuantizerSpec, columns: int) -> QuantizerSpec:
    """Return the nearest spec that every matrix with so many columns can have."""
    form = spec.format
    if form == E2M1 and columns % MX_BLOCK == 0:
        return QuantizerSpec(E2M1, PerGroup(MX_BLOCK), scale_format=E8M0)
    if isinstance(form, FloatFormat) and form.bits == MAX_BITS:
        return QuantizerSpec(E4M3, PerChannel(0))
    if not isinstance(form, IntFormat):
        form = IntFormat(min(max(form.bits, 2), MAX_BITS))
    groups = PerGroup(MX_BLOCK) if columns % MX_BLOCK == 0 else PerChannel(0)
    return QuantizerSpec(IntFormat(min(form.bits, MAX_BITS), form.signed), groups, spec.symmetric)


def weight_tensors(quantized: QuantizedTensor, scheme: Scheme) -> dict[str, Stored]:
    """Return what is stored of a matrix, by the ends of the names, such as "weight_packed"."""
    return WRITERS[scheme.form](quantized, scheme)


def input_arguments(planned: QuantizerSpec | Quantizer, dynamic: bool) -> Arguments | None:
    """Return what `QuantizationArgs` says of a layer's input, None if compressed-tensors cannot say it."""
    spec = planned if isinstance(planned, QuantizerSpec) else planned.spec
    strategies: Mapping[type, str] = {PerToken: "token"} if dynamic else {PerTensor: "tensor"}
    strategy = strategies.get(type(spec.granularity))
    integer = isinstance(spec.format, IntFormat) and spec.format.bits <= MAX_BITS
    if strategy is None or not (integer or spec.format == E4M3):
        return None
    return {
        "num_bits": spec.format.bits,
        "type": "int" if integer else "float",
        "symmetric": _around_zero(spec),
        "strategy": strategy,
        "dynamic": dynamic,
    }


def input_tensors(planned: Quantizer) -> dict[str, Stored]:
    """Return what is stored of the range of a layer's input."""
    found = {"input_scale": Stored(planned.scale.reshape(1))}
    if not _around_zero(planned.spec):
        zero_point = planned.zero_point.reshape(1) - _shift(planned.spec)
        found["input_zero_point"] = Stored(zero_point.astype(np.int8))
    return found


def words(codes: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Return rows of signed codes as rows of int32 words, code + 2^(bits − 1), the lowest bits first, without gaps.

    Example:
        >>> [hex(word) for word in words(np.array([[-8, -7, -6]]), 4)[0]]
        ['0x210']
    """
    rows, columns = codes.shape
    raised = (codes.astype(np.int16) + (1 << bits - 1)).astype(np.uint8)
    stream = np.unpackbits(raised[..., None], axis=-1, count=bits, bitorder="little").reshape(rows, columns * bits)
    stream = np.pad(stream, ((0, 0), (0, -columns * bits % WORD)))
    return np.packbits(stream, axis=-1, bitorder="little").view("<i4")


def _shift(spec: QuantizerSpec) -> int:
    return 0 if not isinstance(spec.format, IntFormat) or spec.format.signed else 1 << spec.format.bits - 1


def _around_zero(spec: QuantizerSpec) -> bool:
    """Return whether zero points are 0, once codes are signed."""
    return spec.symmetric and not _shift(spec)


def _strategy(grid: BlockGrid) -> Arguments | None:
    """Return which values share a scale, None for groups that do not divide a row."""
    (rows, columns), (height, width) = grid.shape, grid.block
    if width < columns:
        return {"strategy": "group", "group_size": width} if columns % width == 0 else None
    return {"strategy": "tensor" if height >= rows and rows > 1 else "channel"}


def _arguments(spec: QuantizerSpec, sharing: Arguments) -> Arguments:
    kind = "int" if isinstance(spec.format, IntFormat) else "float"
    basics = {"num_bits": spec.format.bits, "type": kind, "symmetric": _around_zero(spec)}
    return {**basics, **sharing, "dynamic": False}


def _integers(spec: QuantizerSpec, grid: BlockGrid, with_inputs: bool) -> Scheme | None:
    sharing = _strategy(grid)
    if sharing is None or spec.format.bits > MAX_BITS:
        return None
    return Scheme(EIGHT_BITS if with_inputs and spec.format.bits == MAX_BITS else PACKED, _arguments(spec, sharing))


def _floats(spec: QuantizerSpec, grid: BlockGrid, with_inputs: bool) -> Scheme | None:
    (_, columns), (height, width) = grid.shape, grid.block
    whole = columns % MX_BLOCK == 0 and (width % MX_BLOCK == 0 or width >= columns)
    mx = {"strategy": "group", "group_size": MX_BLOCK, "scale_dtype": BYTE_DTYPE}
    if spec.scale_format == E8M0 and whole and spec.format in (E2M1, E4M3):
        return Scheme(MXFP4 if spec.format == E2M1 else MXFP8, _arguments(spec, mx))
    if spec.format == E2M1 and spec.scale_format == E4M3 and width == NV_BLOCK and columns % NV_BLOCK == 0:
        nv = {"strategy": "tensor_group", "group_size": NV_BLOCK, "scale_dtype": f"torch.{FLOAT8_DTYPE}"}
        return Scheme(NVFP4, _arguments(spec, nv))
    if spec.format != E4M3 or (sharing := _strategy(grid)) is None:
        return None
    if height > 1 and width < columns:
        sharing = {"strategy": "block", "block_structure": [height, width]}
    return Scheme(FLOAT8, _arguments(spec, sharing))


def _spread(quantized: QuantizedTensor, per_block: NDArray[Any], scheme: Scheme) -> NDArray[Any]:
    """Return one number a block in the shape that the strategy has."""
    told, grid = scheme.weights, quantized.spec.granularity.blocks(quantized.shape)
    if told["strategy"] == "tensor":
        return per_block.reshape(1)
    if told["strategy"] == "block":
        return per_block
    rows, columns = grid.shape
    each = np.repeat(per_block, grid.block[0], axis=0)[:rows]
    size = told.get("group_size", columns)
    return np.repeat(each, max(grid.block[1] // size, 1), axis=1)[:, : max(columns // size, 1)]


def _write_integers(quantized: QuantizedTensor, scheme: Scheme) -> dict[str, Stored]:
    spec, shift = quantized.spec, _shift(quantized.spec)
    codes = (quantized.codes.astype(np.int32) - shift).astype(np.int8)
    found = {"weight_scale": Stored(_spread(quantized, quantized.scale, scheme))}
    packed = scheme.form == PACKED
    if packed:
        found["weight_packed"] = Stored(words(codes, spec.format.bits))
        found["weight_shape"] = Stored(np.array(codes.shape, np.int64))
    else:
        found["weight"] = Stored(codes)
    if not _around_zero(spec):
        zero = _spread(quantized, quantized.zero_point - shift, scheme).astype(np.int8)
        down = packed and zero.ndim > 1  # words run down the columns
        found["weight_zero_point"] = Stored(words(zero.T, spec.format.bits).T if down else zero)
    return found


def _write_float8(quantized: QuantizedTensor, scheme: Scheme) -> dict[str, Stored]:
    scale = _spread(quantized, quantized.scale, scheme)
    held = Stored(_exponents(scale)) if scheme.form == MXFP8 else Stored(scale)
    return {"weight": Stored(quantized.codes.astype(np.uint8), FLOAT8_DTYPE), "weight_scale": held}


def _write_mxfp4(quantized: QuantizedTensor, scheme: Scheme) -> dict[str, Stored]:
    scale = _spread(quantized, quantized.scale, scheme)
    return {"weight_packed": Stored(_nibbles(quantized.codes)), "weight_scale": Stored(_exponents(scale))}


def _write_nvfp4(quantized: QuantizedTensor, scheme: Scheme) -> dict[str, Stored]:
    """Write scales as E4M3 over one of the tensor, t = max(scale)/448, which the file has as 1/t."""
    tensor = np.float32(quantized.scale.max() / E4M3.highest)
    codes = E4M3.encode(quantized.scale.astype(np.float64) / np.float64(tensor))
    return {
        "weight_packed": Stored(_nibbles(quantized.codes)),
        "weight_scale": Stored(codes.astype(np.uint8), FLOAT8_DTYPE),
        "weight_global_scale": Stored(np.array([1 / tensor], np.float32)),
    }


def _nibbles(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Return two codes of four bits a byte, the first in the low half."""
    low, high = codes[:, ::2].astype(np.uint8), codes[:, 1::2].astype(np.uint8)
    return np.asarray(low | high << 4)


def _exponents(scale: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return powers of two as the codes of E8M0."""
    return (np.frexp(scale)[1] - 1 + E8M0_BIAS).astype(np.uint8)


SCHEMES: Mapping[type, Callable[[QuantizerSpec, BlockGrid, bool], Scheme | None]] = {
    IntFormat: _integers,
    FloatFormat: _floats,
}
WRITERS: Mapping[str, Callable[[QuantizedTensor, Scheme], dict[str, Stored]]] = {
    PACKED: _write_integers,
    EIGHT_BITS: _write_integers,
    FLOAT8: _write_float8,
    MXFP8: _write_float8,
    MXFP4: _write_mxfp4,
    NVFP4: _write_nvfp4,
}
