"""What is swept, opened where the work is done: a file of tensors, one behind a URL, or a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32
from quant_engine.models import Layer, TensorModel
from quant_engine.network import Network
from quant_engine.readers import TensorFile, is_url, open_file, open_url

KEPT_OPEN = 2  # models in a process


class Opener(Protocol):
    """Opens a network where the work is done: frozen, hashable and picklable, such as a frozen dataclass."""

    def __call__(self) -> Network:
        """Return the network."""

    def __hash__(self) -> int:
        """Return the same for equal ones."""


Source = str | Opener


@dataclass(frozen=True, eq=False)
class Subject:
    """An open model, of which tensors are matrices (out, everything else).

    Attributes:
        name: what people call it.
        version: what tells its contents from others: the same for all who see it.
        layers: its tensors by name.
        rows: returns a tensor's rows from one to another.
        stored_bytes: how many a tensor takes where it is read from.
        network: what measures it, where there is one.
    """

    name: str
    version: str
    layers: Mapping[str, Layer]
    rows: Callable[[str, int, int], Float32Array]
    stored_bytes: Callable[[str], int]
    network: Network | None = None


def as_source(source: str | os.PathLike[str] | Opener) -> Source:
    """Return a source that means the same in every process: a path is made absolute."""
    if callable(source):
        return source
    text = os.fspath(source)
    return text if is_url(text) else os.path.abspath(text)


@lru_cache(KEPT_OPEN)
def opened(source: Source, version: str) -> Subject:
    """Return an open source of a version, which is kept open.

    Raises:
        QuantError: as `open_subject`, and where the source is of another version by now.
    """
    found = open_subject(source)
    if found.version != version:
        raise QuantError(f"{found.name} has changed since the sweep was planned; begin another one, to another file")
    return found


def open_subject(source: Source) -> Subject:
    """Open a source as it is now.

    Raises:
        QuantError: for what cannot be opened.
    """
    if not isinstance(source, str):
        return _of_network(source())
    return _of_file(open_url(source) if is_url(source) else open_file(source))


def _of_file(file: TensorFile) -> Subject:
    layers = TensorModel(file).layers

    def rows(name: str, start: int, stop: int) -> Float32Array:
        columns = layers[name].matrix_shape[1]
        part = len(layers[name].shape) > 1 and (start, stop) != (0, layers[name].shape[0])
        values = file.load_rows(name, start, stop) if part else file.load(name)
        return as_float32(values, name).reshape(-1, columns)

    def stored_bytes(name: str) -> int:
        bits = next((int(end) for end in ("64", "32", "16", "8") if end in file.info(name).stored), 32)
        return file.info(name).parameters * bits // 8

    return Subject(file.path.name, file.version, layers, rows, stored_bytes)


def _of_network(network: Network) -> Subject:
    layers = {name: layer for name, layer in network.layers().items() if layer.tied_to is None}

    def rows(name: str, start: int, stop: int) -> Float32Array:
        return network.weight(name).reshape(layers[name].matrix_shape)[start:stop]

    key = network.digest if network.task is None else f"{network.digest}|{network.task.key}"
    return Subject(network.name, key, layers, rows, lambda name: 4 * layers[name].parameters, network)
