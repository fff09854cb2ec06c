"""Codes, scales and minima in the blocks of a GGUF file, of the types that have one scale for each run of values.

x̂ = scale · (code − zero_point) + minimum gives what the package `gguf` gives, bit for bit. A super-block of a K-quant
holds 256 values in runs of 16 or 32, whose scales are themselves codes of 4 to 8 bits: `scale` is their product with
the super-block's.

Source: ggml, ggml-common.h, the structs block_q4_0 to block_q6_K, and ggml-quants.c, get_scale_min_k4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.readers.stored import Float32Array

Bytes = NDArray[np.uint8]
IQ4_NL = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
E2M1_TWICE = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)  # MXFP4's codes, doubled: the scale is halved


@dataclass(frozen=True)
class BlockType:
    """How blocks of a type are taken apart.

    Attributes:
        bits: width of a code.
        run: how many values share a scale.
        codes: of bytes (n, size), the codes (n, values of a block).
        scales: of bytes (n, size), scale and minimum, if there is one, of each run, (n, runs).
        zero_point: the code that stands for 0.
        signed: whether codes are.
        table: what codes stand for before scaling, where these are no integers in order.
    """

    bits: int
    run: int
    codes: Callable[[Bytes], NDArray[Any]]
    scales: Callable[[Bytes], tuple[Float32Array, Float32Array | None]]
    zero_point: int = 0
    signed: bool = False
    table: tuple[int, ...] = ()


def _half(blocks: Bytes, at: int) -> Float32Array:
    """Return the float16 at a byte of each block, (n, 1)."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _fields(packed: Bytes, run: int, bits: int) -> Bytes:
    """Return fields of `bits`: runs of bytes, of which first the lowest fields are values, then the next ones."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(-1, 1)
    parts = packed.reshape(len(packed), -1, 1, run) >> shifts & np.uint8((1 << bits) - 1)
    return parts.reshape(len(packed), -1)


def _fifth(blocks: Bytes, at: int) -> Bytes:
    """Return the fifth bits of 32 codes, a bit each from a byte on."""
    return np.unpackbits(np.ascontiguousarray(blocks[:, at : at + 4]), axis=1, bitorder="little") << np.uint8(4)


def _only_scale(at: int) -> Callable[[Bytes], tuple[Float32Array, None]]:
    return lambda blocks: (_half(blocks, at), None)


def _scale_and_minimum(blocks: Bytes) -> tuple[Float32Array, Float32Array]:
    return _half(blocks, 0), _half(blocks, 2)


def _k4_scales(blocks: Bytes) -> tuple[Float32Array, Float32Array]:
    """Return eight scales and minima: 6-bit codes in 12 bytes, each with a factor of float16."""
    low, mid, high = (blocks[:, at : at + 4] for at in (4, 8, 12))
    scale = np.concatenate([low & 63, (high & 15) | (low >> 2 & 48)], axis=1)
    minimum = np.concatenate([mid & 63, (high >> 4) | (mid >> 2 & 48)], axis=1)
    return _half(blocks, 0) * scale.astype(np.float32), -(_half(blocks, 2) * minimum.astype(np.float32))


def _q2_scales(blocks: Bytes) -> tuple[Float32Array, Float32Array]:
    both = blocks[:, :16]
    return _half(blocks, 80) * (both & 15).astype(np.float32), -(_half(blocks, 82) * (both >> 4).astype(np.float32))


def _q3_scales(blocks: Bytes) -> tuple[Float32Array, None]:
    """Return sixteen scales: 6-bit codes, the low four bits in eight bytes and the high two in four."""
    codes = _fields(blocks[:, 96:104], 8, 4) | _fields(blocks[:, 104:108], 4, 2) << 4
    return _half(blocks, 108) * (codes.astype(np.int8) - np.int8(32)).astype(np.float32), None


def _q6_scales(blocks: Bytes) -> tuple[Float32Array, None]:
    return _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32), None


def _e8m0_half(blocks: Bytes) -> tuple[Float32Array, None]:
    """Return 2^(e − 128), half of what the byte e says."""
    with np.errstate(over="ignore"):
        return np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 128).astype(np.float32), None


TYPES: Mapping[str, BlockType] = {
    "Q4_0": BlockType(4, 32, lambda b: _fields(b[:, 2:], 16, 4), _only_scale(0), 8),
    "Q4_1": BlockType(4, 32, lambda b: _fields(b[:, 4:], 16, 4), _scale_and_minimum),
    "Q5_0": BlockType(5, 32, lambda b: _fields(b[:, 6:], 16, 4) | _fifth(b, 2), _only_scale(0), 16),
    "Q5_1": BlockType(5, 32, lambda b: _fields(b[:, 8:], 16, 4) | _fifth(b, 4), _scale_and_minimum),
    "Q8_0": BlockType(8, 32, lambda b: b[:, 2:].view(np.int8), _only_scale(0), signed=True),
    "Q2_K": BlockType(2, 16, lambda b: _fields(b[:, 16:80], 32, 2), _q2_scales),
    "Q3_K": BlockType(3, 16, lambda b: _fields(b[:, 32:96], 32, 2) | _fields(b[:, :32], 32, 1) << 2, _q3_scales, 4),
    "Q4_K": BlockType(4, 32, lambda b: _fields(b[:, 16:], 32, 4), _k4_scales),
    "Q5_K": BlockType(5, 32, lambda b: _fields(b[:, 48:], 32, 4) | _fields(b[:, 16:48], 32, 1) << 4, _k4_scales),
    "Q6_K": BlockType(6, 16, lambda b: _fields(b[:, :128], 64, 4) | _fields(b[:, 128:192], 32, 2) << 4, _q6_scales, 32),
    "IQ4_NL": BlockType(4, 32, lambda b: _fields(b[:, 2:], 16, 4), _only_scale(0), table=IQ4_NL),
    "MXFP4": BlockType(4, 32, lambda b: _fields(b[:, 1:], 16, 4), _e8m0_half, table=E2M1_TWICE),
}
