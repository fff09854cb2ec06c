"""Reading what torch.save wrote: a pickle of names and a record of bytes for each storage, in a zip.

The pickle is read twice: first its instructions alone, which say what it would call, then by torch's own reader of
weights, which calls nothing but what makes tensors. Values stay in the file until they are looked at.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quant_engine.inputs import as_array
from quant_engine.readers.base import (
    MAX_NAME,
    MAX_TENSORS,
    Kind,
    ReaderError,
    TensorFile,
    TensorInfo,
    by_name,
    kind_of,
    validate_expansion,
)

TITLE = "PyTorch"
PICKLE = "data.pkl"
MAX_PICKLE = 32 << 20  # bytes, of a list of some 100,000 tensors
MAX_DEPTH = 16  # dictionaries in dictionaries
HARMLESS = {"collections OrderedDict", "__builtin__ set", "builtins set", "builtins complex", "_codecs encode"}
MODULES = ("torch", "torch._utils", "torch._tensor", "torch.storage", "torch.nn.parameter", "torch.serialization")
QUANTIZED = ("qint", "quint")
SAVE = "save the state dict with torch.save(module.state_dict(), path)"


def read_torch(path: Path) -> TensorFile:
    """Return the tensors of a state dict; those of dictionaries inside it are named with a dot.

    Raises:
        ReaderError: for a pickle that calls anything, compressed records, and tensors larger than what is stored.
    """
    _validate(path)
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    values = dict(_tensors(path, content))
    size = path.stat().st_size
    tensors = by_name(path, (_info(name, tensor, size) for name, tensor in values.items()))

    def load(name: str) -> NDArray[Any]:
        return as_array(values[name], name)

    return TensorFile(path, TITLE, tensors, load)


def _validate(path: Path) -> None:
    """Check the records of the zip and the instructions of the pickle, without carrying them out."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ReaderError(f"{member.filename!r} of {path.name} is compressed, as torch never does; {SAVE}")
        pickles = [member for member in archive.infolist() if member.filename.split("/")[-1] == PICKLE]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
            raise ReaderError(f"{path.name} has no {PICKLE} of at most {MAX_PICKLE >> 20} MB; {SAVE}")
        _validate_pickle(path, archive.read(pickles[0]))


def _validate_pickle(path: Path, content: bytes) -> None:
    for instruction, argument, _ in pickletools.genops(content):
        if instruction.name not in ("GLOBAL", "INST", "STACK_GLOBAL"):
            continue
        called = str(argument).replace(" ", ".")[:80]
        if "sparse" in called:
            raise ReaderError(f"{path.name} holds a sparse tensor; save what its to_dense() returns")
        if not _makes_tensors(str(argument)):
            raise ReaderError(f"the pickle in {path.name} calls {called}, and code in files is never run; {SAVE}")


def _makes_tensors(called: str) -> bool:
    return called in HARMLESS or called.split(" ")[0] in MODULES


def _tensors(path: Path, content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tensors in dictionaries, in order; what is beside them, such as numbers, is passed over."""
    import torch

    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen = 0
    while waiting:
        keys, held = waiting.pop()
        seen += 1
        if seen > MAX_TENSORS or len(keys) > MAX_DEPTH:
            raise ReaderError(f"{path.name} holds too many dictionaries, or too deep ones; {SAVE}")
        if isinstance(held, torch.Tensor):
            yield ".".join(keys) or path.stem, held
        elif isinstance(held, Mapping):
            waiting += reversed([((*keys, str(key)[: MAX_NAME + 1]), part) for key, part in held.items()])


def _info(name: str, tensor: Any, file_size: int) -> TensorInfo:
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    validate_expansion(f"{name!r} of shape {shape}", file_size, tensor.numel() * tensor.element_size(), SAVE)
    kind: Kind = "quantized" if dtype.startswith(QUANTIZED) else kind_of(dtype)
    return TensorInfo(name, shape, dtype, str(tensor.dtype), "other" if tensor.is_meta else kind)
