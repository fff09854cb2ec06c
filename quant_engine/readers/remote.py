"""Reading safetensors from an object store or a web server by ranges of bytes: headers first, values when asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.readers.base import ReaderError, TensorFile, by_name, refusals
from quant_engine.readers.safetensors_file import (
    LENGTH,
    MAX_INDEX,
    TITLE,
    Header,
    joined,
    read_header,
    read_places,
)

MAX_HEADER = 100_000_000  # bytes, the library's own limit


def is_url(text: str | os.PathLike[str]) -> bool:
    """Say whether a text names something by a protocol.

    >>> is_url("s3://bucket/model.safetensors"), is_url("models/model.safetensors")
    (True, False)
    """
    return "://" in str(text)


def open_url(url: str) -> TensorFile:
    """Return the tensors of a safetensors file, or of an index with the files beside it, that a URL names.

    fsspec reads it: `file://`, `memory://`, `https://`, `s3://` and others, for which it may need a package of its own.
    Only headers are read at first, and of a tensor only its own bytes. What tells the contents from later ones is what
    the store says of them (an entity tag, or size and time). Weights of compressed-tensors are listed as they are
    stored.

    Raises:
        ReaderError: for what is no safetensors file, and what does not hold what it says.
        QuantError: where there is nothing, the store does not answer, or a package is missing.
    """
    core = imported("fsspec.core", "sweep")
    path = Path(PurePosixPath(url.rsplit("/", 1)[-1] or url))
    try:
        store, place = core.url_to_fs(url)
        with refusals(path, TITLE):
            return _index(store, place, path) if path.suffix == ".json" else _file(store, place, path)
    except (ImportError, ValueError, OSError) as error:
        raise error if isinstance(error, QuantError) else QuantError(f"{url} cannot be read: {error}") from error


def _file(store: Any, place: str, path: Path) -> TensorFile:
    header = _header(store, place, path)
    return TensorFile(
        path, TITLE, by_name(path, header.infos()), header.load, rows=header.load, held=_held(store, place)
    )


def _index(store: Any, place: str, path: Path) -> TensorFile:
    if store.size(place) > MAX_INDEX:
        raise ReaderError(f"{path.name} is an index of more than 64 MB; give the safetensors files themselves")
    places = read_places(path.name, store.cat_file(place))
    folder = place.rsplit("/", 1)[0]
    shards = {shard: f"{folder}/{shard}" for shard in dict.fromkeys(places.values())}
    headers = {shard: _header(store, where, Path(shard)) for shard, where in shards.items()}
    held = tuple(mark for where in (place, *shards.values()) for mark in _held(store, where))
    return joined(path, places, headers, held)


def _held(store: Any, place: str) -> tuple[str, ...]:
    """Return what tells a file's contents from later ones: what the store says of it, and its size at least."""
    said = store.info(place)
    tags = [f"{name}={said[name]}" for name in TAGS if said.get(name) is not None]
    return (f"{place.rsplit('/', 1)[-1]}|{'|'.join(tags)}",)


def _header(store: Any, place: str, path: Path) -> Header:
    """Return a file's header: the library checks it on a file of as many bytes, of which only the header is written."""
    size = store.size(place)
    head = store.cat_file(place, 0, LENGTH)
    length = int.from_bytes(head, "little")
    if size is None or len(head) < LENGTH or length > min(MAX_HEADER, size - LENGTH):
        raise ReaderError(f"{path.name} of {size} bytes is no safetensors file; give one, or an index of some")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "header"
        with copy.open("wb") as file:
            file.write(store.cat_file(place, 0, LENGTH + length))
            file.truncate(size)
        with copy.open("rb") as file:
            start, entries = read_header(copy, file)
    return Header(path, start, entries, _reader(store, place, path))


def _reader(store: Any, place: str, path: Path) -> Callable[[int, int], NDArray[np.uint8]]:
    def read(first: int, last: int) -> NDArray[np.uint8]:
        content = np.frombuffer(store.cat_file(place, first, last), np.uint8)
        if content.size != last - first:
            raise ReaderError(f"{path.name} ends at byte {first + content.size:,} instead of {last:,}; get it again")
        return content

    return read


TAGS = ("ETag", "etag", "md5", "md5Hash", "size", "LastModified", "mtime", "created", "updated")
