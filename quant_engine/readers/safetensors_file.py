"""Reading safetensors: a file, or an index and the files beside it that it names.

The library checks the header: its length, offsets that neither overlap nor leave a gap, shapes that fit them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import as_array
from quant_engine.readers.base import ReaderError, TensorFile, TensorInfo, by_name, kind_of
from quant_engine.readers.compressed_tensors import with_compressed

TITLE, INDEX_TITLE = "safetensors", "safetensors index"
MAX_INDEX = 64 << 20  # bytes
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    **{
        f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
    },
    "BOOL": "bool",
}
NUMPY_TYPES = frozenset(dtype for dtype in DTYPES.values() if not dtype.startswith(("bfloat", "float8")))
LENGTH = 8  # bytes that say how long the header is


def read_safetensors(path: Path) -> TensorFile:
    """Return the tensors of a safetensors file, those that compressed-tensors has stored as codes by their weights.

    Raises:
        ReaderError: for a header that does not describe what is there.
    """
    header = _header(path)
    return with_compressed(TensorFile(path, TITLE, by_name(path, header.infos()), header.load, rows=header.load))


def read_sharded(path: Path) -> TensorFile:
    """Return the tensors of all files that an index names.

    Raises:
        ReaderError: for an index that is none, files that are not beside it, and tensors that are in none of them.
    """
    if path.stat().st_size > MAX_INDEX:
        raise ReaderError(f"{path.name} is an index of more than 64 MB; give the safetensors files themselves")
    places = read_places(path.name, path.read_bytes())
    files = {shard: path.parent / shard for shard in dict.fromkeys(places.values())}
    missing = [shard for shard in files if not files[shard].is_file()]
    if missing:
        raise ReaderError(f"{path.name} names {missing[0]!r}, which is not beside it; put all {len(files)} files there")
    return with_compressed(joined(path, places, {shard: _header(files[shard]) for shard in files}))


def joined(
    path: Path, places: Mapping[str, str], headers: Mapping[str, Header], held: tuple[str, ...] = ()
) -> TensorFile:
    """Return the tensors of all files of an index, from their headers.

    Raises:
        ReaderError: for tensors that are not where the index says.
    """
    for name, shard in places.items():
        if name not in headers[shard].entries:
            raise ReaderError(f"{path.name} says that {name!r} is in {shard}, where it is not; get both files again")
    listed = (info for shard in headers for info in headers[shard].infos() if places.get(info.name) == shard)

    def load(name: str, *rows: int) -> NDArray[Any]:
        return headers[places[name]].load(name, *rows)

    others = tuple(header.path for header in headers.values())
    return TensorFile(path, INDEX_TITLE, by_name(path, listed), load, others, rows=load, held=held)


def read_places(name: str, content: bytes) -> Mapping[str, str]:
    """Return in which file an index says that each tensor is.

    Raises:
        ReaderError: for what is no index, and for files that are not beside it.
    """
    index = json.loads(content)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ReaderError(f"{name} has no weight_map of tensors and files; give a model.safetensors.index.json")
    for shard in set(places.values()):
        if not shard or shard in (".", "..") or any(mark in shard for mark in "/\\\0"):
            raise ReaderError(f"{name} names the file {shard[:80]!r}; files of an index must lie beside it")
    return places


@dataclass(frozen=True)
class Header:
    """Where in a file each tensor is.

    Attributes:
        start: the first byte behind the header.
        entries: what it says of each tensor, by name.
        read: returns bytes of the file, from one place to another.
    """

    path: Path
    start: int
    entries: Mapping[str, Any]
    read: Callable[[int, int], NDArray[np.uint8]]

    def infos(self) -> Iterator[TensorInfo]:
        """Yield what is said of each tensor."""
        for name, entry in self.entries.items():
            stored = entry["dtype"]
            dtype = DTYPES.get(stored, stored.lower())
            yield TensorInfo(
                name, tuple(entry["shape"]), dtype, stored, kind_of(dtype) if stored in DTYPES else "other"
            )

    def load(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Return a tensor's values, or those of some indices of its first axis."""
        entry = self.entries[name]
        (first, last), shape, dtype = entry["data_offsets"], tuple(entry["shape"]), DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ReaderError(f"{name!r} of {self.path.name} is of type {entry['dtype']}, which numpy has not")
        if stop is not None:
            row = (last - first) // shape[0]
            first, last, shape = first + start * row, first + stop * row, (stop - start, *shape[1:])
        if first == last:
            return np.zeros(shape, dtype if dtype in NUMPY_TYPES else np.float32)
        content = self.read(self.start + first, self.start + last)
        return (content.view(dtype) if dtype in NUMPY_TYPES else _widened(content, dtype, name)).reshape(shape)


def read_header(path: Path, file: BinaryIO) -> tuple[int, Mapping[str, Any]]:
    """Return where the header of a file ends, and what it says, which the library has checked.

    Only the header need be there: what lies behind it is not read, but must be as long as the header says.
    """
    from safetensors import safe_open

    with safe_open(path, framework="np"):
        (length,) = struct.unpack("<Q", file.read(LENGTH))
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return LENGTH + length, entries


def _header(path: Path) -> Header:
    def read(first: int, last: int) -> NDArray[np.uint8]:
        return np.memmap(path, np.uint8, "r", first, (last - first,))

    with path.open("rb") as file:
        return Header(path, *read_header(path, file), read)


def _widened(content: NDArray[np.uint8], dtype: str, name: str) -> NDArray[Any]:
    """Return numbers of a type that numpy has not, in float32."""
    import torch

    return as_array(torch.from_numpy(content.copy()).view(getattr(torch, dtype)), name)
