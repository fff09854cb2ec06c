"""Reading safetensors: a file, or an index and the files beside it that it names.

The library checks the header: its length, offsets that neither overlap nor leave a gap, shapes that fit them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    return with_compressed(TensorFile(path, TITLE, by_name(path, header.infos()), header.load))


def read_sharded(path: Path) -> TensorFile:
    """Return the tensors of all files that an index names.

    Raises:
        ReaderError: for an index that is none, files that are not beside it, and tensors that are in none of them.
    """
    places = _places(path)
    files = {shard: path.parent / shard for shard in dict.fromkeys(places.values())}
    missing = [shard for shard in files if not files[shard].is_file()]
    if missing:
        raise ReaderError(f"{path.name} names {missing[0]!r}, which is not beside it; put all {len(files)} files there")
    headers = {shard: _header(files[shard]) for shard in files}
    for name, shard in places.items():
        if name not in headers[shard].entries:
            raise ReaderError(f"{path.name} says that {name!r} is in {shard}, where it is not; get both files again")
    listed = (info for shard in files for info in headers[shard].infos() if places.get(info.name) == shard)
    tensors = by_name(path, listed)
    held = tuple(files.values())
    return with_compressed(TensorFile(path, INDEX_TITLE, tensors, lambda name: headers[places[name]].load(name), held))


def _places(path: Path) -> Mapping[str, str]:
    """Return in which file an index says that each tensor is."""
    if path.stat().st_size > MAX_INDEX:
        raise ReaderError(f"{path.name} is an index of more than 64 MB; give the safetensors files themselves")
    index = json.loads(path.read_text("utf-8"))
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ReaderError(f"{path.name} has no weight_map of tensors and files; give a model.safetensors.index.json")
    for shard in set(places.values()):
        if not shard or shard in (".", "..") or any(mark in shard for mark in "/\\\0"):
            raise ReaderError(f"{path.name} names the file {shard[:80]!r}; files of an index must lie beside it")
    return places


@dataclass(frozen=True)
class _Header:
    """Where in a file each tensor is.

    Attributes:
        start: the first byte behind the header.
        entries: what it says of each tensor, by name.
    """

    path: Path
    start: int
    entries: Mapping[str, Any]

    def infos(self) -> Iterator[TensorInfo]:
        """Yield what is said of each tensor."""
        for name, entry in self.entries.items():
            stored = entry["dtype"]
            dtype = DTYPES.get(stored, stored.lower())
            yield TensorInfo(
                name, tuple(entry["shape"]), dtype, stored, kind_of(dtype) if stored in DTYPES else "other"
            )

    def load(self, name: str) -> NDArray[Any]:
        """Return a tensor's values."""
        entry = self.entries[name]
        (first, last), shape, dtype = entry["data_offsets"], entry["shape"], DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ReaderError(f"{name!r} of {self.path.name} is of type {entry['dtype']}, which numpy has not")
        if first == last:
            return np.zeros(shape, dtype if dtype in NUMPY_TYPES else np.float32)
        content = np.memmap(self.path, np.uint8, "r", self.start + first, (last - first,))
        return (content.view(dtype) if dtype in NUMPY_TYPES else _widened(content, dtype, name)).reshape(shape)


def _header(path: Path) -> _Header:
    """Return the header of a file, which the library has checked."""
    from safetensors import safe_open

    with safe_open(path, framework="np"), path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(LENGTH))
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return _Header(path, LENGTH + length, entries)


def _widened(content: NDArray[np.uint8], dtype: str, name: str) -> NDArray[Any]:
    """Return numbers of a type that numpy has not, in float32."""
    import torch

    return as_array(torch.from_numpy(content.copy()).view(getattr(torch, dtype)), name)
