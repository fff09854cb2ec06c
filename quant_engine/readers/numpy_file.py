"""Reading numpy's files: .npy, one array, and .npz, a zip of them. Arrays of Python objects are pickles and refused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from quant_engine.readers.base import (
    ReaderError,
    TensorFile,
    TensorInfo,
    by_name,
    kind_of,
    size_in_bytes,
    validate_expansion,
)

NPY_TITLE, NPZ_TITLE = "npy", "npz"
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
SUFFIX = ".npy"


def read_npy(path: Path) -> TensorFile:
    """Return the one array of a .npy file, named like the file.

    Raises:
        ReaderError: for Python objects, and a shape that needs more bytes than there are.
    """
    with path.open("rb") as file:
        tensors = by_name(path, [_info(path.stem, file, path.stat().st_size)])
    return TensorFile(path, NPY_TITLE, tensors, lambda name: np.load(path, mmap_mode="r", allow_pickle=False))


def read_npz(path: Path) -> TensorFile:
    """Return the arrays of an .npz file.

    Raises:
        ReaderError: as `read_npy`, and for a compressed member beyond 64 MB and 100 : 1.
    """

    def load(name: str) -> NDArray[Any]:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}{SUFFIX}") as file:
            return np.asarray(npy.read_array(file, allow_pickle=False))

    return TensorFile(path, NPZ_TITLE, by_name(path, _members(path)), load)


def _members(path: Path) -> Iterator[TensorInfo]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(SUFFIX):
                continue
            if member.compress_type != zipfile.ZIP_STORED:
                remedy = "save it with numpy.savez, without compression"
                validate_expansion(f"{member.filename!r}", member.compress_size, member.file_size, remedy)
            with archive.open(member) as file:
                yield _info(member.filename.removesuffix(SUFFIX), file, member.file_size)


def _info(name: str, file: IO[bytes], size: int) -> TensorInfo:
    """Read the header of an array that takes `size` bytes."""
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ReaderError(f"{name!r} has version {version} of numpy's format; save numbers, without named fields")
    shape, _, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ReaderError(f"{name!r} holds Python objects, a pickle that could run code; save arrays of numbers")
    needed, held = size_in_bytes(shape, dtype), size - file.tell()
    if needed != held:
        raise ReaderError(f"{name!r} of shape {shape} needs {needed:,} bytes and has {held:,}; save the array again")
    stored = dtype.name if dtype.isnative else dtype.str
    return TensorInfo(name, shape, dtype.name, stored, kind_of(dtype.name))
