"""An ONNX graph as a run of pieces, each of which begins with a layer.

The graph is cut before every node that has a constant weight: a Conv, Gemm, MatMul or, of an embedding, Gather. A
weight is found where it is stored as well as behind a Transpose, Reshape, Cast or DequantizeLinear of a constant. A
bias is what a Conv or Gemm adds, or a constant that is added to what the layer gives: such an Add is part of the layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.extras import imported
from quant_engine.models.layer import Op
from quant_engine.models.onnx_constants import Constants, inputs_of

PLACES = {"Conv": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1), "Gather": (1, 0)}  # of the input and of the weight
CONVOLUTIONS: Mapping[int, Op] = {3: "conv1d", 4: "conv2d"}  # by the axes of the weight
REAL = (np.float16, np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class LayerNode:
    """A node with a constant weight.

    Attributes:
        node: the node; its output is what the layer gives, the bias included.
        op: what it does with its weight.
        source: the tensor it receives.
        key: the stored tensor that the weight is, or the largest that it is computed from.
        weight: linear (out, in), convolution (out, in/groups, …), embedding (rows, dim), of the type that is stored.
        bias: (out,), if it has one.
    """

    node: Any
    op: Op
    source: str
    key: str
    weight: NDArray[Any]
    bias: NDArray[Any] | None

    @property
    def output(self) -> str:
        """The tensor it gives."""
        return str(self.node.output[0])

    @property
    def attributes(self) -> dict[str, Any]:
        """The node's attributes."""
        return attributes(self.node)


@dataclass(frozen=True, eq=False)
class Piece:
    """A run of nodes that begins with a layer, the first one perhaps without.

    `needs` are the tensors from before that it reads, `gives` those it makes that are needed later, and `alive` those
    from before that are still needed behind it.
    """

    layer: LayerNode | None
    nodes: tuple[Any, ...]
    needs: tuple[str, ...]
    gives: tuple[str, ...]
    alive: frozenset[str]

    @property
    def starts_from_layer(self) -> bool:
        """Whether all that is computed from here on follows from what the layer receives."""
        return self.layer is not None and self.alive | {*self.needs} == {self.layer.source}


class OnnxGraph:
    """What an ONNX model computes.

    Attributes:
        inputs: type and shape of each, with None for an open size or shape.
        nodes: those that are not constant, each Add of a bias merged into its layer.
    """

    def __init__(self, proto: Any) -> None:
        """Read a `ModelProto`, which is not changed."""
        self.proto = proto
        self.constants = Constants(proto)
        given = [info for info in proto.graph.input if info.name not in self.constants]
        self.inputs = {info.name: (dtype_of(info), sizes_of(info)) for info in given}
        self.outputs = tuple(output.name for output in proto.graph.output)
        self.nodes, self.layers = self._with_layers()

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The graph cut before every layer."""
        layers = {id(layer.node): layer for layer in self.layers}
        runs: list[list[Any]] = [[]]
        for node in self.nodes:
            if id(node) in layers:
                runs.append([])
            runs[-1].append(node)
        pieces, later = [], set(self.outputs)
        for nodes in reversed([run for run in runs if run]):
            made = [name for node in nodes for name in node.output if name]
            read = dict.fromkeys(name for node in nodes for name in inputs_of(node) if name not in self.constants)
            needs = tuple(name for name in read if name not in made)
            alive = frozenset(later.difference(made))
            gives = tuple(name for name in made if name in later)
            pieces.append(Piece(layers.get(id(nodes[0])), tuple(nodes), needs, gives, alive))
            later = {*alive, *needs}
        return tuple(reversed(pieces))

    def _with_layers(self) -> tuple[list[Any], list[LayerNode]]:
        """Return the nodes that are not constant, those that add a bias merged into their layers, and the layers."""
        nodes = [node for node in self.proto.graph.node if not all(name in self.constants for name in node.output)]
        uses = Counter([*(name for node in nodes for name in inputs_of(node)), *self.outputs])
        adds = {name: node for node in nodes if node.op_type == "Add" for name in node.input if uses[name] == 1}
        layers: list[LayerNode] = []
        kept: list[Any] = []
        merged: set[int] = set()
        for node in nodes:
            layer = self._layer(node)
            if layer is None:
                if id(node) not in merged:
                    kept.append(node)
                continue
            add = adds.get(layer.output)
            bias = None if add is None or layer.bias is not None else self._added_bias(layer, add)
            if add is not None and bias is not None:
                both = type(node)()
                both.CopyFrom(node)
                both.output[0] = add.output[0]
                layer = replace(layer, node=both, bias=bias)
                merged.add(id(add))
            layers.append(layer)
            kept.append(layer.node)
        return kept, layers

    def _layer(self, node: Any) -> LayerNode | None:
        """Return a node as a layer, if it has a constant weight and, if any, a constant bias."""
        if node.op_type not in PLACES or node.domain not in ("", "ai.onnx"):
            return None
        source, weight = (node.input[place] for place in PLACES[node.op_type])
        if weight not in self.constants or source in self.constants:
            return None
        values, given = self.constants.value(weight), attributes(node)
        op = _op(node.op_type, values, given)
        if op is None:
            return None
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not given.get("transB", 0)):
            values = values.T
        own = [name for name in node.input[2:] if name]  # of a Conv or Gemm
        bias = _own_bias(self.constants.value(own[0]), len(values)) if own and own[0] in self.constants else None
        if own and bias is None:
            return None
        if node.op_type == "Gemm":
            values = values * values.dtype.type(given.get("alpha", 1))
            bias = None if bias is None else bias * bias.dtype.type(given.get("beta", 1))
        return LayerNode(node, op, source, self.constants.key(weight), np.ascontiguousarray(values), bias)

    def _added_bias(self, layer: LayerNode, add: Any) -> NDArray[Any] | None:
        """Return the bias (out,) that an Add behind a layer adds, if it is one."""
        other = next((name for name in add.input if name != layer.output), "")
        if other not in self.constants or layer.op == "embedding":
            return None
        value, out = self.constants.value(other), len(layer.weight)
        places = (1,) * (layer.weight.ndim - 2)  # a convolution's
        fits = value.shape in ((out, *places), (1, out, *places)) and value.dtype == layer.weight.dtype
        return value.reshape(out) if fits else None


def sizes_of(info: Any) -> tuple[int | None, ...] | None:
    """Return a described tensor's shape, with None for what is open, or None if nothing is said of it."""
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)


def dtype_of(info: Any) -> np.dtype[Any]:
    """Return a described tensor's type."""
    dtype: np.dtype[Any] = imported("onnx", "onnx").helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    return dtype


def attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    helper = imported("onnx", "onnx").helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _op(kind: str, weight: NDArray[Any], given: Mapping[str, Any]) -> Op | None:
    """Return what a node does with a weight, or None if it is no layer."""
    if weight.dtype not in REAL:
        return None
    if kind == "Conv":
        return CONVOLUTIONS.get(weight.ndim)
    if weight.ndim != 2 or given.get("transA", 0) or given.get("axis", 0):
        return None
    return "embedding" if kind == "Gather" else "linear"


def _own_bias(value: NDArray[Any], outputs: int) -> NDArray[Any] | None:
    """Return a bias (out,) as a Conv or Gemm has it, or None for one that differs from sample to sample."""
    if value.size not in (1, outputs) or value.shape[:-1] not in ((), (1,)):
        return None
    return np.broadcast_to(value.reshape(-1), (outputs,))
