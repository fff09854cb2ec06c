"""Weights behind DequantizeLinear in an ONNX graph: stored codes with their scales and zero points.

A weight that is stored as real values behind QuantizeLinear has the same beside its values. Scales and zero points are
parts of it, and listed by themselves nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.extras import imported
from quant_engine.readers.base import ReaderError
from quant_engine.readers.stored import Float32Array, StoredQuantization, grid_of, integers

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
SCALES = {"FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16"}
DEFAULT_AXIS, UINT8 = 1, "UINT8"

Values = Callable[[str], NDArray[Any]]  # of a stored tensor by its name


@dataclass(frozen=True)
class QuantizeNode:
    """A node that quantizes or dequantizes with stored parameters.

    Attributes:
        of: the tensor whose codes they are.
        codes: the type of the codes.
        scale: the stored tensor of scales.
        zero_point: that of zero points, or empty.
        axis: along which scales lie, where they are a run.
        block_size: how many values along the axis share one; 0 where the scales are a run.
        has_codes: whether the tensor holds codes, or real values.
    """

    of: str
    codes: str
    scale: str
    zero_point: str
    axis: int
    block_size: int
    has_codes: bool

    def block(self, shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the values that share a scale.

        Raises:
            ReaderError: if the scales are not of the shape that goes with the tensor's.
        """
        axis = self.axis + len(shape) if self.axis < 0 else self.axis
        if not self.block_size and math.prod(scales) == 1:
            return shape
        if 0 <= axis < len(shape):
            size = self.block_size or 1
            block = tuple(min(size, whole) if at == axis else 1 for at, whole in enumerate(shape))
            if self.block_size and scales == grid_of(shape, block):
                return block
            if not self.block_size and scales == (shape[axis],):
                return tuple(1 if at == axis else whole for at, whole in enumerate(shape))
        raise ReaderError(
            f"{self.of!r} of shape {shape} has scales of shape {scales}, along axis {self.axis} in blocks of "
            f"{self.block_size}, which do not go together; quantize the graph again"
        )


def quantize_nodes(graph: Any, stored: Mapping[str, Any]) -> list[QuantizeNode]:
    """Return the nodes of a graph that quantize with stored scales, of weights and of what runs between layers."""
    found = []
    for node in graph.node:
        of, scale, zero_point = [*node.input, "", "", ""][:3]
        known = scale in stored and (not zero_point or zero_point in stored)
        if not known or not (node.op_type == QUANTIZE or (node.op_type == DEQUANTIZE and of in stored)):
            continue  # a DequantizeLinear of what is computed says what its QuantizeLinear has said
        said = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type == DEQUANTIZE:
            codes = type_name(stored[of])
        else:
            codes = type_name(stored[zero_point]) if zero_point else _named(said.get("output_dtype", 0)) or UINT8
        axis, block_size = said.get("axis", DEFAULT_AXIS), max(said.get("block_size", 0), 0)
        found.append(QuantizeNode(of, codes, scale, zero_point, axis, block_size, node.op_type == DEQUANTIZE))
    return found


def parameters(nodes: Iterable[QuantizeNode], graph: Any) -> frozenset[str]:
    """Return the stored tensors that are scales or zero points and nothing else."""
    said = {name for node in nodes for name in (node.scale, node.zero_point)}
    used = {
        name
        for node in graph.node
        for at, name in enumerate(node.input)
        if at == 0 or node.op_type not in (QUANTIZE, DEQUANTIZE)
    }
    return frozenset(said - used - {output.name for output in graph.output} - {""})


def stored_quantization(node: QuantizeNode, stored: Mapping[str, Any], values: Values) -> StoredQuantization:
    """Return what a node says of a stored tensor.

    Raises:
        ReaderError: as `QuantizeNode.block`, and for zero points of another shape than the scales'.
    """
    tensor, scales = stored[node.of], stored[node.scale]
    shape = tuple(tensor.dims)
    block, bits = node.block(shape, tuple(scales.dims)), bits_of(node.codes)
    scale, grid = values(node.scale).astype(np.float32), grid_of(shape, block)
    zero_point = values(node.zero_point).astype(np.int32) if node.zero_point else None
    if zero_point is not None and zero_point.shape != scale.shape:
        raise ReaderError(
            f"the zero points of {node.of!r} have shape {zero_point.shape} and its scales {scale.shape}; quantize the "
            "graph again"
        )
    per_block = 8 * values(node.scale).dtype.itemsize + (bits if zero_point is not None else 0)
    return StoredQuantization(
        node.codes,
        shape,
        block,
        bits,
        math.prod(shape) * bits + math.prod(grid) * per_block,
        (lambda: values(node.of)) if node.has_codes else None,
        scale.reshape(grid),
        None if zero_point is None else zero_point.reshape(grid),
        numbers=possible(node.codes),
        dtype=SCALES.get(type_name(scales), "float32"),
    )


def range_of(node: QuantizeNode, values: Values) -> StoredQuantization:
    """Return what a node says of a tensor between layers, whose shape is not known: as of one value a scale."""
    scale, bits = values(node.scale).astype(np.float32), bits_of(node.codes)
    zero_point = values(node.zero_point).astype(np.int32).reshape(scale.shape) if node.zero_point else None
    return StoredQuantization(
        node.codes,
        scale.shape,
        (1,) * scale.ndim,
        bits,
        bits * scale.size,
        None,
        scale,
        zero_point,
        numbers=possible(node.codes),
    )


def type_name(tensor: Any) -> str:
    """Return what ONNX calls a tensor's type."""
    return _named(tensor.data_type)


def bits_of(name: str) -> int:
    """Return the width of a type of codes.

    >>> bits_of("UINT4"), bits_of("FLOAT8E4M3FN"), bits_of("FLOAT4E2M1")
    (4, 8, 4)
    """
    digits = name.removeprefix("U").removeprefix("INT").removeprefix("FLOAT")
    return int(digits.split("E")[0]) if digits.split("E")[0].isdecimal() else 32


def possible(name: str) -> Float32Array | None:
    """Return what a code of a type can be, ascending; None for more than 16 bits.

    >>> possible("UINT2").tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if name.removeprefix("U").startswith("INT"):
        return integers(bits_of(name), signed=not name.startswith("U"))
    if bits_of(name) > 8:
        return None
    helper = imported("onnx", "onnx").helper
    dtype = helper.tensor_dtype_to_np_dtype(imported("onnx", "onnx").TensorProto.DataType.Value(name))
    every = np.arange(1 << bits_of(name), dtype=np.uint8).view(dtype).astype(np.float32)
    return np.unique(every[np.isfinite(every)] + np.float32(0))


def _named(number: int) -> str:
    """Return ONNX's name of a type, or nothing for none."""
    return str(imported("onnx", "onnx").TensorProto.DataType.Name(number)) if number else ""
