"""The GGUF file that a model of transformers came from: its metadata, its tensors, and which layer each of them is.

Layers are named by the package `gguf`. Llama's files hold the rows of queries and keys in another order (rotary
embeddings in pairs that lie apart): the order in which a tensor is the layer's weight is found by trying, and a tensor
that is the weight in no order is refused.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.export.sources import folder_of
from quant_engine.extras import imported
from quant_engine.inputs import Float32Array
from quant_engine.network import Network

EXTRA = "gguf"
VIRTUAL = "GGUF."  # fields that the reader makes of the header
ARCHITECTURE, FILE_TYPE = "general.architecture", "general.file_type"
HEADS = ("attention.head_count", "attention.head_count_kv")


@dataclass(frozen=True)
class GgufSource:
    """A file of one model."""

    path: pathlib.Path

    @cached_property
    def reader(self) -> Any:
        """The package's reader of the file."""
        return imported("gguf", EXTRA).GGUFReader(self.path)

    @cached_property
    def architecture(self) -> str:
        """Its name in llama.cpp."""
        return str(self._value(ARCHITECTURE))

    @cached_property
    def tensors(self) -> dict[str, Any]:
        """The tensors by name."""
        return {tensor.name: tensor for tensor in self.reader.tensors}

    def held(self) -> dict[str, tuple[NDArray[Any], Any]]:
        """Return all tensors as the file has them, with their types."""
        return {name: (tensor.data, tensor.tensor_type) for name, tensor in self.tensors.items()}

    @cached_property
    def _names(self) -> Any:
        gguf = imported("gguf", EXTRA)
        kinds = [kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == self.architecture]
        if not kinds:
            raise QuantError(
                f"{self.path.name} is of {self.architecture!r}, which gguf does not know; pip install -U gguf"
            )
        return gguf.get_tensor_name_map(kinds[0], int(self._value(f"{self.architecture}.block_count")))

    def name_of(self, layer: str, role: str = "weight") -> str | None:
        """Return what the file calls a layer's tensor, None if it has none."""
        stem = self._names.get_name(layer)
        return name if stem is not None and (name := f"{stem}.{role}") in self.tensors else None

    def rows_of(self, name: str, weight: Float32Array) -> NDArray[np.int64]:
        """Return for each row of the file's tensor which row of the weight it is.

        Raises:
            QuantError: if the tensor is not the weight.
        """
        tensor, rows = self.tensors[name], np.arange(len(weight))
        held = imported("gguf", EXTRA).dequantize(tensor.data, tensor.tensor_type).reshape(weight.shape)
        orders = [rows]
        for key in HEADS:
            heads = self._value(f"{self.architecture}.{key}", 0)
            if isinstance(heads, int) and heads and len(rows) % (2 * heads) == 0:
                orders.append(rows.reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1))
        for order in orders:
            if np.array_equal(held, weight[order]):
                return order
        raise QuantError(
            f"{name!r} of {self.path.name} is not the weight of the layer; give the model as it was loaded from there"
        )

    def _value(self, key: str, default: Any = None) -> Any:
        field = self.reader.get_field(key)
        if field is None and default is None:
            raise QuantError(f"{self.path.name} does not say {key!r}; convert it again")
        return default if field is None else field.contents()

    def copy_metadata(self, writer: Any) -> None:
        """Give a writer what the file says of the model; not its type, which is another now."""
        array = imported("gguf", EXTRA).GGUFValueType.ARRAY
        for field in self.reader.fields.values():
            if field.name.startswith(VIRTUAL) or field.name in (ARCHITECTURE, FILE_TYPE):
                continue
            kind = field.types[0]
            part = {"sub_type": field.types[-1]} if kind == array else {}
            writer.add_key_value(field.name, field.contents(), kind, **part)


def source_of(network: Network) -> GgufSource | None:
    """Return the one GGUF file in the folder that a model of transformers was loaded from, None without."""
    folder = folder_of(network)
    found = [] if folder is None else sorted(folder.glob("*.gguf"))
    return _opened(found[0], found[0].stat().st_mtime_ns) if len(found) == 1 else None


@lru_cache(maxsize=2)  # reading a vocabulary takes seconds
def _opened(path: pathlib.Path, changed: int) -> GgufSource:
    """Return a file as it was when it last changed."""
    return GgufSource(path)
