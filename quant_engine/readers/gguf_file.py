"""Reading GGUF: names, shapes and types from a header that is walked within the file's length, values by `gguf`.

The package's own reader makes arrays of every word of a vocabulary and trusts the counts that a file gives.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.extras import imported
from quant_engine.readers.base import MAX_TENSORS, ReaderError, TensorFile, TensorInfo, by_name, kind_of
from quant_engine.readers.gguf_blocks import TYPES
from quant_engine.readers.stored import StoredQuantization, grid_of, integers

TITLE = "GGUF"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of the types of metadata
STRING, ARRAY, UINT32 = 8, 9, 4
ALIGNMENT, ALIGNMENT_KEY = 32, "general.alignment"
MAX_ENTRIES = 4_000_000  # of a list in the metadata: a vocabulary has some 250,000
MAX_AXES = 4
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
}


def read_gguf(path: Path) -> TensorFile:
    """Return the tensors of a GGUF file; those in blocks stand for real values, and `stored` names their type.

    Raises:
        ReaderError: for a header that leads outside the file, unknown types, and tensors that overlap or are cut off.
        QuantError: if `gguf` is not installed.
    """
    header = _Header(path)
    found = list(header.tensors())
    places = {info.name: place for info, *place in found}
    tensors = by_name(path, (info for info, *_ in found))
    return TensorFile(
        path,
        TITLE,
        tensors,
        lambda name: _values(header.bytes, tensors[name], *places[name]),
        stored=lambda name: _stored(header.bytes, tensors[name], *places[name]),
    )


class _Header:
    """A walk over the header of a file, each step of which stays inside."""

    def __init__(self, path: Path) -> None:
        self.path, self.at, self.alignment = path, 0, ALIGNMENT

    @cached_property
    def bytes(self) -> Any:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def tensors(self) -> Iterator[tuple[TensorInfo, int, int]]:
        """Yield what is said of each tensor, its first byte and its length."""
        if self.take(4) != MAGIC or self.number("<I") not in VERSIONS:
            raise ReaderError(f"{self.path.name} is no GGUF of version 2 or 3 in little endian; convert it again")
        tensors, entries = self.number("<Q"), self.number("<Q")
        if max(tensors, entries) > MAX_TENSORS:
            raise ReaderError(f"{self.path.name} claims {tensors:,} tensors and {entries:,} entries; convert it again")
        for _ in range(entries):
            key, kind = self.text(), self.number("<I")
            if key == ALIGNMENT_KEY and kind == UINT32:
                self.alignment = max(self.number("<I"), 1)
            else:
                self.skip(kind)
        listed = [self.tensor() for _ in range(tensors)]
        start = -(-self.at // self.alignment) * self.alignment
        self.validate(listed, start)
        yield from ((info, start + offset, size) for info, offset, size in listed)

    def validate(self, listed: list[tuple[TensorInfo, int, int]], start: int) -> None:
        """Check that each tensor has bytes of its own."""
        reached = start
        for info, offset, size in sorted(listed, key=lambda one: one[1:]):
            if start + offset < reached or start + offset + size > len(self.bytes):
                raise ReaderError(
                    f"{self.path.name} puts {info.name!r}, {size:,} bytes, over another tensor or past the end of the "
                    "file; download it again"
                )
            reached = start + offset + size

    def tensor(self) -> tuple[TensorInfo, int, int]:
        """Return what is said of the next tensor, its offset and the bytes that its shape takes."""
        gguf = imported("gguf", "gguf")
        name, axes = self.text(), self.number("<I")
        if axes > MAX_AXES:
            raise ReaderError(f"{name!r} of {self.path.name} has {axes:,} axes; convert the file again")
        shape = tuple(reversed([self.number("<Q") for _ in range(axes)]))
        number, offset = self.number("<I"), self.number("<Q")
        try:
            kind = gguf.GGMLQuantizationType(number)
        except ValueError as error:
            raise ReaderError(
                f"{name!r} of {self.path.name} has type {number}, which the installed gguf does not know; "
                "update it with: pip install -U gguf"
            ) from error
        block, size = gguf.GGML_QUANT_SIZES[kind]
        row = shape[-1] if shape else 1
        if row % block:
            raise ReaderError(
                f"{name!r} of {self.path.name} has rows of {row}, no multiple of {block}; convert it again"
            )
        dtype = DTYPES.get(kind.name, kind.name)
        if kind.name in DTYPES:
            info = TensorInfo(name, shape, dtype, kind.name, kind_of(dtype))
        else:
            run = TYPES[kind.name].run if kind.name in TYPES else block
            shared = (*(1 for _ in shape[:-1]), run)
            info = TensorInfo(name, shape, dtype, kind.name, "quantized", kind.name, shared)
        return info, offset, info.parameters // block * size

    def skip(self, kind: int, nested: bool = False) -> None:
        """Pass over a value of the metadata."""
        if kind == STRING:
            self.jump(self.number("<Q"))
        elif kind == ARRAY and not nested:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in SIZES:
                self.jump(count * SIZES[inner])
            elif count > MAX_ENTRIES:
                raise ReaderError(f"{self.path.name} has a list of {count:,} texts; convert it again")
            else:
                for _ in range(count):
                    self.skip(inner, nested=True)
        elif kind in SIZES:
            self.jump(SIZES[kind])
        else:
            raise ReaderError(f"{self.path.name} has metadata of the unknown type {kind}; convert it again")

    def text(self) -> str:
        """Return the next text."""
        return bytes(self.take(self.number("<Q"))).decode("utf-8")

    def number(self, form: str) -> int:
        """Return the next integer."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def take(self, count: int) -> Any:
        """Return the next bytes."""
        self.jump(count)
        return self.bytes[self.at - count : self.at]

    def jump(self, count: int) -> None:
        """Pass over bytes."""
        if count > len(self.bytes) - self.at:
            raise ReaderError(f"{self.path.name} ends inside its header; download it again")
        self.at += count


def _values(content: Any, info: TensorInfo, start: int, size: int) -> NDArray[Any]:
    """Return a tensor's values: a view of the file where numpy has the type, else what the blocks stand for."""
    if info.kind != "quantized" and info.dtype != "bfloat16":
        return np.frombuffer(content, info.dtype, info.parameters, start).reshape(info.shape)
    if not size:
        return np.zeros(info.shape, np.float32)
    gguf = imported("gguf", "gguf")
    codes = np.frombuffer(content, np.uint8, size, start).reshape(*info.shape[:-1], -1)
    with np.errstate(all="ignore"):  # scales may be NaN, which is said where the values are used
        values: NDArray[Any] = gguf.dequantize(codes, gguf.GGMLQuantizationType[info.stored])
    return values.astype(np.float32, copy=False)


def _stored(content: Any, info: TensorInfo, start: int, size: int) -> StoredQuantization:
    """Return how a tensor in blocks is stored."""

    def values() -> NDArray[Any]:
        return _values(content, info, start, size)

    found = StoredQuantization(
        info.codes, info.shape, info.block, 8 * size // max(info.parameters, 1), 8 * size, values
    )
    kind = TYPES.get(info.codes)
    if kind is None or not size:
        return found
    gguf = imported("gguf", "gguf")
    _, width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[info.codes]]
    blocks = np.frombuffer(content, np.uint8, size, start).reshape(-1, width)
    grid, table = grid_of(info.shape, info.block), np.array(kind.table, np.float32)
    with np.errstate(all="ignore"):  # scales may be NaN
        scale, minimum = kind.scales(blocks)

    def codes() -> NDArray[Any]:
        whole = kind.codes(blocks).reshape(info.shape)
        return table[whole] if table.size else whole

    return replace(
        found,
        bits=kind.bits,
        read=codes,
        scale=scale.reshape(grid),
        zero_point=np.broadcast_to(np.int32(kind.zero_point), grid) if kind.zero_point else None,
        minimum=None if minimum is None else minimum.reshape(grid),
        numbers=np.unique(table) if table.size else integers(kind.bits, kind.signed),
    )
