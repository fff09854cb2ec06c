"""What every reader gives: a file's tensors by name, and their values when somebody asks for them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import FLOATS
from quant_engine.readers.stored import StoredQuantization

Kind = Literal["float", "integer", "quantized", "other"]

MAX_TENSORS = 1_000_000
MAX_NAME = 1_000  # characters
NO_TEXT = re.compile("[\ud800-\udfff]")  # half of a surrogate pair
MAX_AXES = 64  # numpy's own limit
_AGAIN = "write it again with the library that made it"
PREFETCHED = 1 << 22  # bytes at a time
FREE_BYTES, MAX_RATIO = 64 << 20, 100  # what may unpack to any ratio, and the ratio from there on


class ReaderError(QuantError):
    """A file that is not what it says it is, or that asks for more than a file of tensors may."""


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor.

    Attributes:
        name: its key in the file.
        shape: its axes, the slowest first.
        dtype: numpy's or torch's name of its type, such as float32 or bfloat16; of quantized blocks the format's.
        stored: its type in the file's own words.
        kind: what its values are; "quantized" are blocks of codes and scales that stand for real values.
        codes: the type of the codes that it is stored as or, by a range beside it, that it is meant for; else empty.
        block: the shape of the values that share a scale, where there are codes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str
    kind: Kind
    codes: str = ""
    block: tuple[int, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def is_real(self) -> bool:
        """Whether its values are real numbers, which can be quantized."""
        return self.kind in ("float", "quantized") and self.parameters > 0


@dataclass(frozen=True, eq=False)
class TensorFile:
    """An open file of tensors.

    Attributes:
        path: the file, or of several the index.
        format: what the format is called.
        tensors: what the file says of each tensor, by name, in the file's order.
        read: returns a tensor's values.
        others: the files beside it that hold values.
        stored: returns how a tensor is stored as codes, None for one that is not.
        activations: what the file, or another beside it, says of tensors between layers, by name.
        rows: returns the values of some indices of a tensor's first axis, where the rest need not be read for it.
        held: of files elsewhere, what tells their contents from later ones, such as an object store's tag.
    """

    path: Path
    format: str
    tensors: Mapping[str, TensorInfo]
    read: Callable[[str], NDArray[Any]]
    others: tuple[Path, ...] = ()
    stored: Callable[[str], StoredQuantization | None] = lambda name: None
    activations: Mapping[str, StoredQuantization] = field(default_factory=dict)
    rows: Callable[[str, int, int], NDArray[Any]] | None = None
    held: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that is listed, and of the files' paths, sizes and times: no value is read for it."""
        return self._digest(lambda path: str(path.resolve()))

    @cached_property
    def version(self) -> str:
        """SHA-256 as `digest`, by the files' names: the same for all who see the files, wherever these are mounted."""
        return self._digest(lambda path: path.name)

    def _digest(self, called: Callable[[Path], str]) -> str:
        found = hashlib.sha256(f"{self.format}|{self.path.name}".encode())
        for mark in self.held or map(partial(_mark, called), (self.path, *self.others)):
            found.update(f"|{mark}".encode(errors="surrogateescape"))
        for info in self.tensors.values():
            found.update(
                f"|{info.name}|{info.shape}|{info.stored}|{info.codes}|{info.block}".encode(errors="surrogatepass")
            )
        return found.hexdigest()

    def names(self) -> tuple[str, ...]:
        """Return the tensors' names."""
        return tuple(self.tensors)

    def info(self, name: str) -> TensorInfo:
        """Return what the file says of a tensor.

        Raises:
            QuantError: if there is no such tensor.
        """
        if name not in self.tensors:
            some = ", ".join(list(self.tensors)[:5])
            raise QuantError(f"{self.path.name} has no tensor {name!r}; it has {len(self.tensors):,}: {some}, …")
        return self.tensors[name]

    def load(self, name: str) -> NDArray[Any]:
        """Return a tensor's values, read-only, of the stored type where numpy has it, else in float32, which is exact.

        Where the format allows it they are memory-mapped.

        Raises:
            QuantError: if there is no such tensor.
            ReaderError: if the file does not hold what it says.
        """
        info = self.info(name)
        with refusals(self.path, self.format):
            values = self.read(name)
        if values.shape != info.shape:
            raise ReaderError(f"{name!r} of {self.path.name} has shape {values.shape} instead of {info.shape}")
        values = values.view()
        values.flags.writeable = False
        return values

    def load_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return the values at some indices of a tensor's first axis as `load` does, and read no others if possible.

        Raises:
            QuantError: if there is no such tensor, or it has no such indices.
            ReaderError: if the file does not hold what it says.
        """
        shape = self.info(name).shape
        if not shape or not 0 <= start < stop <= shape[0]:
            raise QuantError(
                f"{name!r} of shape {shape} has no rows from {start} to {stop}; give some of its first axis"
            )
        if self.rows is None:
            return self.load(name)[start:stop]
        with refusals(self.path, self.format):
            values = self.rows(name, start, stop).view()
        values.flags.writeable = False
        return values

    def prefetch(self, name: str) -> None:
        """Read a tensor that will be asked for, and keep nothing: mapped values are then in the system's memory.

        Page by page, as a mapping reads them from a cold disk, takes several times as long. What is not stored as it is
        given is left alone.
        """
        if self.info(name).kind != "float" or self.info(name).dtype != "float32":
            return
        values = self.load(name)
        held: Any = values
        while isinstance(held, np.ndarray) and isinstance(held.base, np.ndarray):
            held = held.base
        if not isinstance(held, np.memmap) or held.filename is None:
            return
        chunk = memoryview(bytearray(max(1, min(values.nbytes, PREFETCHED))))
        with open(held.filename, "rb", buffering=0) as file:
            file.seek(held.offset)
            for _ in range(0, values.nbytes, chunk.nbytes):
                file.readinto(chunk)

    def quantization(self, name: str) -> StoredQuantization | None:
        """Return how a tensor is stored as codes, or the range that stands beside its real values; None without either.

        Raises:
            QuantError: if there is no such tensor.
            ReaderError: if the file does not hold what it says.
        """
        if not self.info(name).codes:
            return None
        with refusals(self.path, self.format):
            return self.stored(name)


def _mark(called: Callable[[Path], str], path: Path) -> str:
    about = path.stat()
    return f"{called(path)}|{about.st_size}|{about.st_mtime_ns}"


def kind_of(dtype: str) -> Kind:
    """Return what the values of a type are, by numpy's name of it.

    >>> kind_of("bfloat16"), kind_of("uint8"), kind_of("complex64")
    ('float', 'integer', 'other')
    """
    if dtype.startswith(FLOATS):
        return "float"
    return "integer" if dtype.startswith(("int", "uint")) else "other"


def by_name(path: Path, found: Iterable[TensorInfo]) -> Mapping[str, TensorInfo]:
    """Return what a file lists, checked: names of usual length, each once, shapes that there can be, at least one.

    Raises:
        ReaderError: for a file without tensors and for what no file of tensors lists.
    """
    tensors: dict[str, TensorInfo] = {}
    for info in found:
        if len(info.name) > MAX_NAME:
            raise ReaderError(f"{path.name} has a tensor whose name has {len(info.name):,} characters; {_AGAIN}")
        if NO_TEXT.search(info.name):
            raise ReaderError(f"{info.name!r} of {path.name} is no Unicode text, which no screen shows; {_AGAIN}")
        if info.name in tensors:
            raise ReaderError(f"{path.name} lists the tensor {info.name!r} twice; {_AGAIN}")
        if len(info.shape) > MAX_AXES or not all(0 <= size < 1 << 62 for size in info.shape):
            raise ReaderError(f"{info.name!r} of {path.name} has a shape that no tensor has; {_AGAIN}")
        tensors[info.name] = info
        if len(tensors) > MAX_TENSORS:
            raise ReaderError(f"{path.name} lists more than {MAX_TENSORS:,} tensors; split it into several files")
    if not tensors:
        raise ReaderError(f"{path.name} holds no tensor; give a file with at least one")
    return MappingProxyType(tensors)


@contextmanager
def refusals(path: Path, format: str) -> Iterator[None]:
    """Refuse a file over which whatever reads it stumbles: its author chooses the exception, so it is any.

    Raises:
        ReaderError: for every exception that is no refusal already.
    """
    try:
        yield
    except QuantError:
        raise
    except Exception as error:
        said = f"{error}".strip().splitlines() or [type(error).__name__]
        raise ReaderError(f"{path.name} is no {format} file that can be read ({said[0][:200]}); {_AGAIN}") from error


def validate_expansion(name: str, packed: int, unpacked: int, remedy: str) -> None:
    """Check that something unpacks to no more than a file of tensors has reason to.

    Raises:
        ReaderError: beyond 64 MB and 100 : 1.
    """
    if unpacked > FREE_BYTES and unpacked > MAX_RATIO * packed:
        raise ReaderError(
            f"{name} takes {packed:,} bytes and expands to {unpacked:,}, beyond 64 MB and more than 100 : 1; {remedy}"
        )


def size_in_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return what values take, exactly, however many there are."""
    return math.prod(shape) * dtype.itemsize
