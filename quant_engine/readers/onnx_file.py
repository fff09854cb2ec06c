"""Reading ONNX files: the graph, and the tensors it stores, in itself or in files beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.extras import imported
from quant_engine.inputs import as_float32
from quant_engine.readers.base import ReaderError, TensorFile, TensorInfo, by_name, kind_of, refusals
from quant_engine.readers.onnx_quantized import (
    QuantizeNode,
    parameters,
    quantize_nodes,
    range_of,
    stored_quantization,
    type_name,
)
from quant_engine.readers.stored import StoredQuantization

TITLE = "ONNX"
FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
NUMPY_KINDS = "fiub"


def read_graph_file(path: Path) -> Any:
    """Return the `ModelProto` of an ONNX file, without the values in files beside it, whose places are checked.

    Raises:
        ReaderError: for another file, and for tensors that are not where the graph says, or outside its folder.
    """
    onnx = imported("onnx", "onnx")
    with refusals(path, TITLE):
        proto = onnx.load(path, load_external_data=False)
        for name, tensor in stored_tensors(proto.graph):
            _validate(path, name, tensor)
    return proto


def read_onnx_tensors(path: Path) -> TensorFile:
    """Return the tensors that an ONNX graph stores: its initializers and `Constant` nodes.

    Codes behind a DequantizeLinear stand for real values, and their scales and zero points are parts of them.

    Raises:
        ReaderError: as `read_graph_file`, for a graph that stores none, and for scales of a shape that does not go.
    """
    graph = read_graph_file(path).graph
    listed = list(stored_tensors(graph))
    stored = dict(listed)
    if len(stored) < len(listed):
        by_name(path, (_info(name, {name: tensor}, None) for name, tensor in listed))  # says which
    nodes = quantize_nodes(graph, stored)
    of = {node.of: node for node in reversed(nodes) if node.of in stored}
    parts = parameters(nodes, graph)
    tensors = by_name(path, (_info(name, stored, of.get(name)) for name in stored if name not in parts))
    apart = {_place(path, name, tensor)[0]: None for name, tensor in stored.items() if _is_apart(tensor)}

    def values(name: str) -> NDArray[Any]:
        return _values(path, name, stored[name])

    def quantization(name: str) -> StoredQuantization | None:
        return stored_quantization(of[name], stored, values) if name in of else None

    def read(name: str) -> NDArray[Any]:
        found = quantization(name) if name in of and of[name].has_codes else None
        return values(name) if found is None else found.dequantize()

    between = {node.of: range_of(node, values) for node in nodes if node.of not in stored}
    return TensorFile(path, TITLE, tensors, read, tuple(apart), quantization, between)


def stored_tensors(graph: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and `TensorProto` of each tensor in a graph: initializers, and the values of `Constant` nodes."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    yield from ((node.output[0], node.attribute[0].t) for node in graph.node if holds_tensor(node) and node.output)


def holds_tensor(node: Any) -> bool:
    """Whether a node is a `Constant` that stores a tensor."""
    return bool(node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value")


def _info(name: str, stored: Mapping[str, Any], node: QuantizeNode | None) -> TensorInfo:
    """Return what is said of a stored tensor, by a node that quantizes it, too."""
    tensor = stored[name]
    shape, dtype, said = tuple(tensor.dims), _dtype(name, tensor), type_name(tensor)
    if node is None:
        return TensorInfo(name, shape, dtype.name, said, kind_of(dtype.name))
    block = node.block(shape, tuple(stored[node.scale].dims))
    if node.has_codes:
        return TensorInfo(name, shape, said, said, "quantized", node.codes, block)
    return TensorInfo(name, shape, dtype.name, said, kind_of(dtype.name), node.codes, block)


def _dtype(name: str, tensor: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(imported("onnx", "onnx").helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError, ValueError) as error:
        raise ReaderError(f"the tensor {name!r} has the unknown type {tensor.data_type}; save it again") from error
    return dtype


def _validate(path: Path, name: str, tensor: Any) -> None:
    """Check that a tensor has a type, and as many values as its shape says."""
    _dtype(name, tensor)
    if any(size < 0 for size in tensor.dims):
        raise ReaderError(f"the tensor {name!r} of {path.name} has the shape {tuple(tensor.dims)}; save it again")
    if _is_apart(tensor):
        _place(path, name, tensor)
        return
    needed = _bytes(name, tensor)
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
    else:
        held = max(len(getattr(tensor, field)) for field in FIELDS)
        if (dtype := _dtype(name, tensor)).itemsize > 1:
            needed = math.prod(tensor.dims) * (2 if dtype.kind == "c" else 1)  # a number each, two of complex ones
    if held != needed:
        raise ReaderError(
            f"the tensor {name!r} of {path.name} has shape {tuple(tensor.dims)} and other numbers of values; "
            "save the graph again"
        )


def _bytes(name: str, tensor: Any) -> int:
    """Return what a tensor's values take, two of 4 bits in a byte."""
    stored = imported("onnx", "onnx").TensorProto.DataType.Name(tensor.data_type)
    per_byte = 4 if stored.endswith("INT2") else 2 if stored.endswith(("INT4", "FLOAT4E2M1")) else 1
    return -(-math.prod(map(int, tensor.dims)) * _dtype(name, tensor).itemsize // per_byte)


def _is_apart(tensor: Any) -> bool:
    """Whether a tensor's values lie in another file."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def _place(path: Path, name: str, tensor: Any) -> tuple[Path, int]:
    """Return the file that holds a tensor's values, and where in it they begin.

    Raises:
        ReaderError: for a file outside the graph's folder, by whatever way, and one that is too short.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    folder = Path(os.path.realpath(path.parent))
    target = Path(os.path.realpath(folder / location))
    if not location or os.path.isabs(location) or target == folder or folder not in target.parents:
        raise ReaderError(
            f"{path.name} keeps {name!r} in {location[:80]!r}, outside its folder; put the file beside the graph"
        )
    if not target.is_file():
        raise ReaderError(f"{path.name} keeps {name!r} in {location[:80]!r}, which is not there; put it there")
    offset, length = int(said.get("offset") or 0), int(said.get("length") or _bytes(name, tensor))
    if offset < 0 or length != _bytes(name, tensor) or offset + length > target.stat().st_size:
        raise ReaderError(
            f"{path.name} says that {name!r} is {length:,} bytes from byte {offset:,} of {location[:80]!r}, "
            f"which do not hold the {_bytes(name, tensor):,} that its shape needs; save the graph again"
        )
    return target, offset


def _values(path: Path, name: str, tensor: Any) -> NDArray[Any]:
    numpy_helper, dtype = imported("onnx", "onnx").numpy_helper, _dtype(name, tensor)
    if not _is_apart(tensor):
        values: NDArray[Any] = numpy_helper.to_array(tensor)
    elif dtype.kind in NUMPY_KINDS and math.prod(tensor.dims):
        target, offset = _place(path, name, tensor)
        values = np.memmap(target, dtype, "r", offset, tuple(tensor.dims))
    else:
        values = numpy_helper.to_array(tensor, str(path.parent))
    if values.dtype.kind in NUMPY_KINDS:
        return values
    if "int" in values.dtype.name:  # of 2 or 4 bits
        return values.astype(np.uint8 if values.dtype.name.startswith("u") else np.int8)
    return as_float32(values, name)
