"""Weights that the library compressed-tensors has stored as codes, in safetensors: packed, or a number each.

A weight is several tensors of one stem: `weight_packed` (int32, 32 codes of b bits in b words, the lowest bits first,
code + 2^(b − 1)) with `weight_shape`, or `weight` of int8 or float8; `weight_scale`, of one number, a column for
channels, or a matrix for groups and blocks; and perhaps `weight_zero_point`, packed down its columns. Widths and blocks
follow from the shapes, and from `quantization_config` in config.json beside the file where these leave them open.

Source: compressed-tensors 0.20, compressors/pack_quantized and naive_quantized.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.readers.base import ReaderError, TensorFile, TensorInfo, by_name
from quant_engine.readers.stored import Float32Array, StoredQuantization, grid_of, integers

CONFIG, METHOD = "config.json", "compressed-tensors"
MAX_CONFIG = 16 << 20  # bytes
PACKED, SCALE, SHAPE, ZERO_POINT, ORDER = "_packed", "_scale", "_shape", "_zero_point", "_g_idx"
WORD = 32
AT_ONCE = 1 << 20  # codes that are unpacked together
FLOATS8 = ("float8_e4m3fn", "float8_e5m2")
AGAIN = "compress the model again"


def with_compressed(file: TensorFile) -> TensorFile:
    """Return a file whose compressed weights are one tensor each, of the real values that they stand for.

    Raises:
        ReaderError: for parts of a weight whose shapes do not go together.
    """
    stems = [
        name.removesuffix(SCALE) for name in file.tensors if name.endswith(SCALE) and name.removesuffix(SCALE) != name
    ]
    config = _config(file.path.parent / CONFIG) if stems else {}
    found = {stem: weight for stem in stems if (weight := _weight(file, stem, config)) is not None}
    if not found:
        return file
    parts = {f"{stem}{end}" for stem in found for end in (PACKED, SCALE, SHAPE, ZERO_POINT)}

    def infos() -> Iterator[TensorInfo]:
        for name, info in file.tensors.items():
            stem = name.removesuffix(PACKED) if name.endswith(PACKED) else name
            if stem in found:
                yield found[stem].info
            elif name not in parts:
                yield info

    return replace(
        file,
        tensors=by_name(file.path, infos()),
        read=lambda name: found[name].stored().dequantize() if name in found else file.read(name),
        stored=lambda name: found[name].stored() if name in found else None,
        rows=None,
    )


@dataclass(frozen=True)
class _Weight:
    """A compressed weight: `held` are its codes as the file has them, packed where `bits` are told."""

    file: TensorFile
    stem: str
    info: TensorInfo
    bits: int
    packed: bool

    def stored(self) -> StoredQuantization:
        """Return how it is stored."""
        scales = self.file.info(f"{self.stem}{SCALE}")
        grid = grid_of(self.info.shape, self.info.block)
        scale = self.file.load(scales.name).astype(np.float32).reshape(grid)
        zero_point, numbers = self._zero_point(grid), self._numbers()
        size = sum(
            math.prod(info.shape) * _width(info.dtype)
            for end in ("", PACKED, SCALE, ZERO_POINT)
            if (info := self.file.tensors.get(f"{self.stem}{end}")) is not None
        )
        return StoredQuantization(
            self.info.codes,
            self.info.shape,
            self.info.block,
            self.bits,
            size,
            self._codes,
            scale,
            zero_point,
            numbers=numbers,
            dtype=scales.dtype,
        )

    def _codes(self) -> NDArray[Any]:
        if not self.packed:
            return self.file.load(self.stem)
        rows, columns = self.info.shape
        return unpacked(self.file.load(f"{self.stem}{PACKED}"), self.bits, columns).reshape(rows, columns)

    def _zero_point(self, grid: tuple[int, ...]) -> NDArray[np.int32] | None:
        name = f"{self.stem}{ZERO_POINT}"
        if name not in self.file.tensors:
            return None
        held = self.file.load(name)
        if self.packed and held.dtype == np.int32 and held.shape != grid:
            held = unpacked(held.T, self.bits, grid[0]).T
        if math.prod(held.shape) != math.prod(grid):
            raise ReaderError(f"{name!r} has shape {held.shape} beside scales of {grid}; {AGAIN}")
        return held.astype(np.int32).reshape(grid)

    def _numbers(self) -> Float32Array | None:
        if self.info.codes.startswith("int"):
            return integers(self.bits, signed=True)
        import torch

        every = torch.arange(256, dtype=torch.uint8).view(getattr(torch, self.info.codes)).float().numpy()
        return np.unique(every[np.isfinite(every)] + np.float32(0))


def unpacked(words: NDArray[Any], bits: int, count: int) -> NDArray[np.int8]:
    """Return signed codes of `bits` from rows of int32 words, lowest bits first, without gaps.

    Example:
        >>> unpacked(np.array([[0x210]], np.int32), 4, 3).tolist()
        [[-8, -7, -6]]
    """
    first = bits * np.arange(count)
    at, shift, mask = first // WORD, (first % WORD).astype(np.uint64), np.uint64((1 << bits) - 1)
    found = np.empty((len(words), count), np.int8)
    rows = max(AT_ONCE // max(count, 1), 1)
    for start in range(0, len(words), rows):
        stream = np.ascontiguousarray(words[start : start + rows]).view(np.uint32).astype(np.uint64)
        after = np.pad(stream, ((0, 0), (0, 1)))
        codes = (after[:, at] | after[:, at + 1] << np.uint64(WORD)) >> shift & mask
        found[start : start + rows] = codes.astype(np.int16) - (1 << bits - 1)
    return found


def _weight(file: TensorFile, stem: str, config: Mapping[str, Any]) -> _Weight | None:
    """Return the weight of a stem, None if it is none, or one whose groups are not runs."""
    packed, plain, scales = (file.tensors.get(f"{stem}{end}") for end in (PACKED, "", SCALE))
    if scales is None or scales.kind != "float" or f"{stem}{ORDER}" in file.tensors:
        return None
    if packed is not None and packed.dtype == "int32" and f"{stem}{SHAPE}" in file.tensors:
        shape, bits = _packed_shape(file, stem, packed, config)
        codes, words = f"int{bits}", packed.stored
    elif plain is not None and plain.dtype in ("int8", *FLOATS8):
        shape, codes, words = plain.shape, plain.dtype, plain.stored
        bits = min(int(config.get("num_bits") or 8), 8) if codes == "int8" else 8
        codes = f"int{bits}" if codes == "int8" else codes
    else:
        return None
    block = _block(shape, scales.shape, config)
    if block is None:
        raise ReaderError(
            f"{scales.name!r} has shape {scales.shape}, which does not go with a weight of {shape}; {AGAIN}"
        )
    info = TensorInfo(stem, shape, codes, words, "quantized", codes, block)
    return _Weight(file, stem, info, bits, packed is not None)


def _packed_shape(
    file: TensorFile, stem: str, packed: TensorInfo, config: Mapping[str, Any]
) -> tuple[tuple[int, ...], int]:
    """Return the shape of a packed weight, and the width of its codes."""
    told = [int(size) for size in file.load(f"{stem}{SHAPE}").reshape(-1)[:3]]
    if len(told) == len(packed.shape) == 2 and told[0] == packed.shape[0] and told[1] > 0:
        rows, columns = told
        fits = [bits for bits in range(1, 9) if -(-columns * bits // WORD) == packed.shape[1]]
        if fits:
            wanted = config.get("num_bits")
            return (rows, columns), wanted if wanted in fits else fits[-1]
    raise ReaderError(f"{packed.name!r} of shape {packed.shape} does not hold a weight of shape {told}; {AGAIN}")


def _block(shape: tuple[int, ...], scales: tuple[int, ...], config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the shape of the values that share a scale, None if the scales do not go with the shape."""
    if math.prod(scales) == 1:
        return shape
    scales = (*scales, *(1 for _ in shape[len(scales) :]))
    size, structure = config.get("group_size"), config.get("block_structure")
    told = [tuple(structure)] if isinstance(structure, list) else []
    told += [(*(1 for _ in shape[:-1]), size)] if isinstance(size, int) and size > 0 else []
    for block in told:
        if len(block) == len(shape) and all(isinstance(step, int) and step > 0 for step in block):
            held = tuple(min(step, whole) for step, whole in zip(block, shape, strict=True))
            if grid_of(shape, held) == scales:
                return held
    if len(scales) == len(shape) and all(n and whole % n == 0 for n, whole in zip(scales, shape, strict=True)):
        return tuple(whole // n for n, whole in zip(scales, shape, strict=True))
    return None


def _width(dtype: str) -> int:
    """Return the bits of a number, which its type's name has.

    >>> _width("bfloat16"), _width("float8_e4m3fn")
    (16, 8)
    """
    return int(next(iter(re.findall("[0-9]+", dtype)), "8"))


def _config(path: Path) -> Mapping[str, Any]:
    """Return what a config.json says of the weights, where all groups say the same; nothing without one."""
    if not path.is_file() or path.stat().st_size > MAX_CONFIG:
        return {}
    said = json.loads(path.read_text("utf-8"))
    said = said.get("quantization_config") if isinstance(said, dict) else None
    groups = said.get("config_groups") if isinstance(said, dict) and said.get("quant_method") == METHOD else None
    weights = [group.get("weights") for group in groups.values()] if isinstance(groups, dict) else []
    return weights[0] if weights and isinstance(weights[0], dict) and weights.count(weights[0]) == len(weights) else {}
