"""Opening a file of tensors by what is in it; its name decides nothing."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from quant_engine.errors import QuantError
from quant_engine.readers import gguf_file, onnx_file, safetensors_file, torch_file
from quant_engine.readers.base import ReaderError, TensorFile, refusals
from quant_engine.readers.encodings import with_encodings
from quant_engine.readers.gguf_file import MAGIC, read_gguf
from quant_engine.readers.numpy_file import NPY_TITLE, NPZ_TITLE, SUFFIX, read_npy, read_npz
from quant_engine.readers.onnx_file import read_onnx_tensors
from quant_engine.readers.safetensors_file import INDEX_TITLE, read_safetensors, read_sharded
from quant_engine.readers.torch_file import PICKLE, SAVE, read_torch

HEAD = 16  # bytes that tell formats apart
INDEX = "*.safetensors.index.json"
KNOWN = "safetensors, a state dict of torch.save, ONNX, GGUF, npz or npy"


def open_file(path: str | os.PathLike[str]) -> TensorFile:
    """Return the tensors of a file: names, shapes and types now, values when `load` asks for them.

    Tensors that are stored as codes are listed with the real values that they stand for; `TensorFile.quantization`
    gives codes and scales, also of tensors for which AIMET's encodings lie beside the file.

    Takes safetensors, alone or by their index, PyTorch state dicts, ONNX, GGUF, npz and npy; and a folder that holds
    one index or one safetensors file.

    Raises:
        ReaderError: for other files and for those that are not what they say; nothing in them is executed.
        QuantError: if there is no such file, or the package that reads its format is not installed.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder) / "weights", conv=np.ones((2, 3), np.float16))
        ...     open_file(Path(folder) / "weights.npz").info("conv")
        TensorInfo(name='conv', shape=(2, 3), dtype='float16', stored='float16', kind='float', codes='', block=())
    """
    given = Path(path)
    try:
        if given.is_dir():
            given = _in_folder(given)
        if not given.is_file():
            raise QuantError(f"there is no file {str(path)!r}; give the path of a file of tensors")
        with given.open("rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError) as error:
        raise error if isinstance(error, QuantError) else QuantError(f"{path} cannot be read: {error}") from error
    format = _format(given, head)
    with refusals(given, format):
        return with_encodings(FORMATS[format](given))


def _in_folder(folder: Path) -> Path:
    for pattern in (INDEX, "*.safetensors"):
        if len(found := sorted(folder.glob(pattern))) == 1:
            return found[0]
    raise QuantError(f"the folder {folder} holds neither one index nor one safetensors file; give the path of a file")


def _format(path: Path, head: bytes) -> str:
    """Return the format of a file that begins like this."""
    for format, begins in BEGINNINGS.items():
        if begins(head):
            return format
    if head.startswith(b"PK"):
        return _format_of_zip(path)
    if head[:1] == b"\x80":
        raise ReaderError(
            f"{path.name} is a bare pickle, which could run code when it is opened; {SAVE}, in torch 1.6 on"
        )
    raise ReaderError(f"{path.name} is of none of the formats known by their content; give {KNOWN}")


def _format_of_zip(path: Path) -> str:
    with refusals(path, "zip"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.split("/")[-1] == PICKLE for name in names):
        return torch_file.TITLE
    if any(name.endswith(SUFFIX) for name in names):
        return NPZ_TITLE
    raise ReaderError(f"{path.name} is a zip with neither arrays nor a state dict; unpack it and give one of its files")


FORMATS: Mapping[str, Callable[[Path], TensorFile]] = {
    safetensors_file.TITLE: read_safetensors,
    INDEX_TITLE: read_sharded,
    torch_file.TITLE: read_torch,
    onnx_file.TITLE: read_onnx_tensors,
    gguf_file.TITLE: read_gguf,
    NPY_TITLE: read_npy,
    NPZ_TITLE: read_npz,
}
BEGINNINGS: Mapping[str, Callable[[bytes], bool]] = {
    gguf_file.TITLE: lambda head: head.startswith(MAGIC),
    NPY_TITLE: lambda head: head.startswith(b"\x93NUMPY"),
    safetensors_file.TITLE: lambda head: head[8:9] == b"{",
    INDEX_TITLE: lambda head: head.lstrip()[:1] == b"{",
    onnx_file.TITLE: lambda head: head[:1] == b"\x08",  # the version of its own format, which protobuf writes first
}
