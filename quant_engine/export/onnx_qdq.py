"""ONNX with QuantizeLinear and DequantizeLinear: weights as codes, activations quantized before their layers."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from quant_engine.execution.layer_change import planned_weight
from quant_engine.export.base import Contents, Part, planned_specs
from quant_engine.export.matrices import quantized_matrix
from quant_engine.export.onnx_float import FloatGraph, float_graph
from quant_engine.export.onnx_nodes import NodeWriter
from quant_engine.export.onnx_types import activation_axis, code_type, find_activation, weight_layout
from quant_engine.extras import imported
from quant_engine.models import Layer, ties
from quant_engine.models.onnx_constants import inputs_of
from quant_engine.models.onnx_graph import LayerNode
from quant_engine.models.onnx_runtime import OnnxSession
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer

MAX_BYTES = (1 << 31) - 1  # of a protobuf message
GRAPH_BYTES = 16 << 20  # what a graph takes besides its tensors, at most
MIN_EXTERNAL, ALIGNED = 1024, 64  # bytes of a tensor that is worth a place in another file, and of its place
NO_PLAN = LayerPlan()


def make_qdq(network: Network, plan: QuantizationPlan, path: pathlib.Path, limit: int = MAX_BYTES) -> Contents:
    """Return the graph of a frozen plan, which onnxruntime has accepted.

    Beyond a limit of bytes its tensors are in a file beside it, as external data.
    """
    int2 = any(spec.format.bits == 2 and part.role == "weight" for part, spec, _ in planned_specs(plan))
    proto, written = quantized_graph(network, plan, float_graph(network.model, int2), int2)
    title = f"the exported {network.name}"
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) + GRAPH_BYTES <= limit:
        OnnxSession(proto, title)
        return Contents({path: proto.SerializeToString()}, written)
    files = _with_external_data(proto, path)
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (pathlib.Path(folder) / file.name).write_bytes(content)
        OnnxSession(pathlib.Path(folder) / path.name, title)
    return Contents(files, written)


def _with_external_data(proto: Any, path: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """Return a graph's large tensors as one file, each at a multiple of 64 bytes, and the graph without them."""
    helper, data, beside = (
        imported("onnx.external_data_helper", "onnx"),
        bytearray(),
        path.with_name(f"{path.name}.data"),
    )
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) >= MIN_EXTERNAL:
            data += bytes(-len(data) % ALIGNED)
            held = tensor.raw_data
            helper.set_external_data(tensor, beside.name, offset=len(data), length=len(held))
            tensor.ClearField("raw_data")
            data += held
    return {beside: bytes(data), path: proto.SerializeToString()}


def quantized_graph(
    network: Network, plan: QuantizationPlan, source: FloatGraph, int2: bool = False
) -> tuple[Any, frozenset[Part]]:
    """Return a `ModelProto` of a frozen plan, and what of the plan is in it."""
    graph, make = source.graph, _LayerWriter(network, plan, int2)
    layers = {id(layer.node): layer for layer in graph.layers}
    for node in graph.nodes:
        if id(node) in layers:
            make.layer(source.names.get(id(node)), layers[id(node)])
        else:
            make.write.nodes.append(node)
    read = {name for node in make.write.nodes for name in inputs_of(node)} | {*graph.outputs}
    computing, initializers = graph.constants.behind(read)
    nodes = _alive([*computing, *make.write.nodes], graph.outputs)
    return _proto(graph.proto, nodes, [*initializers, *make.write.stored.values()]), frozenset(make.written)


class _LayerWriter:
    """Writes the layers of a graph anew, with the weights and inputs that a plan gives them."""

    def __init__(self, network: Network, plan: QuantizationPlan, int2: bool) -> None:
        """Keep what is written, and begin with nothing."""
        self._network, self._plan, self._int2 = network, plan, int2
        self._layers, self._users = network.layers(), ties(network.layers())
        self.write, self.written = NodeWriter(), set[Part]()
        self._weights: dict[tuple[str, bool], str] = {}
        self._runs = 0

    def layer(self, name: str | None, node: LayerNode) -> None:
        """Append a layer; without a name it is none of the network's and stays as it is."""
        self._runs += 1
        own, dtype = name or node.output, node.weight.dtype
        plan = NO_PLAN if name is None else self._plan[name]
        weight = self._weight(name, node)
        bias = node.bias if name is None else self._network.model.parameters[name][1]
        bias = bias if plan.bias is None else plan.bias
        received = node.source if name is None else self._input(node.source, self._layers[name], plan, dtype)
        added = [] if bias is None else [self.write.store(f"{own}/bias", bias.astype(dtype))]
        kind = node.node.op_type
        if kind == "Conv":
            self.write.node("Conv", [received, weight, *added], node.output, **node.attributes)
        elif kind == "Gemm":
            self.write.node("Gemm", [received, weight, *added], node.output, transB=1)
        else:
            product = f"{node.output}/product" if added else node.output
            operands = [weight, received] if kind == "Gather" else [received, weight]
            self.write.node(kind, operands, product)
            if added:
                self.write.node("Add", [product, *added], node.output)

    def _weight(self, name: str | None, node: LayerNode) -> str:
        """Return the tensor of a layer's weight: as its node multiplies it, stored once for all that share it."""
        turned = node.node.op_type == "MatMul"
        if name is None:
            return self.write.store(f"{node.output}/weight", node.weight.T if turned else node.weight)
        owner = self._layers[name].tied_to or name
        shared, dtype = len(self._users[owner]) > 1, node.weight.dtype
        if (owner, turned) not in self._weights:
            if turned and shared:
                straight = self._stored_weight(owner, False, dtype)
                self._weights[owner, True] = self.write.node("Transpose", [straight], f"{straight}/turned", perm=[1, 0])
            else:
                self._stored_weight(owner, turned, dtype)
        if self._plan[name].weight is not None and _codes_fit(self._plan[name]):
            self.written.add(Part(name, "weight"))
        return self._weights[owner, turned]

    def _stored_weight(self, owner: str, turned: bool, dtype: Any) -> str:
        if (owner, turned) in self._weights:
            return self._weights[owner, turned]
        plan, layer, model = self._plan[owner], self._layers[owner], self._network.model
        if not _codes_fit(plan):
            values = planned_weight(model, owner, plan)
            values = (model.parameters[owner][0] if values is None else values).astype(dtype)
            found = self.write.store(f"{owner}/weight", values.T if turned else values)
        else:
            codes = quantized_matrix(self._network, owner, plan)
            found = self._dequantized(f"{owner}/weight", codes, layer, turned)
            found = self.write.cast(found, np.float32, dtype)
        self._weights[owner, turned] = found
        return found

    def _dequantized(self, name: str, codes: QuantizedTensor, layer: Layer, turned: bool) -> str:
        """Append what gives a weight's values, of the layer's shape."""
        layout = weight_layout(codes.spec, layer.matrix_shape)
        straight = layout.axis in (None, 0) and not layout.block  # scales lie so in a convolution's weight, too
        shape = layer.shape if straight else layer.matrix_shape
        found = self.write.dequantized(name, codes, layout, shape, turned, self._int2)
        if shape == layer.shape:
            return found
        whole = self.write.store(f"{name}/shape", np.array(layer.shape, np.int64))
        return self.write.node("Reshape", [found, whole], f"{name}/whole")

    def _input(self, source: str, layer: Layer, plan: LayerPlan, dtype: Any) -> str:
        """Return what a layer receives, divided and quantized as its plan says, in float32."""
        static = isinstance(plan.activation, Quantizer) and not any(
            finding.severity == "refused" for finding in find_activation(layer, plan.activation.spec, False)
        )
        if plan.input_scale is None and not static:
            return source
        name = f"{layer.name}/input" + (f"/{self._runs}" if f"{layer.name}/input_scale" in self.write.stored else "")
        x = self.write.cast(source, dtype, np.float32)
        if plan.input_scale is not None:
            places = (1,) * (len(layer.shape) - 2)  # a convolution's, behind the channels
            divisor = self.write.store(f"{name}_divisor", plan.input_scale.reshape(-1, *places))
            x = self.write.node("Div", [x, divisor], f"{name}/divided")
        if static and isinstance(plan.activation, Quantizer):
            x = self.write.fake_quantized(x, name, plan.activation, activation_axis(plan.activation.spec, layer))
            self.written.add(Part(layer.name, "activation"))
        return self.write.cast(x, np.float32, dtype)


def _codes_fit(plan: LayerPlan) -> bool:
    """Return whether a weight is planned, in a format whose codes ONNX has."""
    return isinstance(plan.weight, Quantizer | QuantizedTensor) and code_type(plan.weight.spec.format) is not None


def _alive(nodes: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """Return the nodes on which the outputs depend."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(inputs_of(node))
            kept.append(node)
    return kept[::-1]


def _proto(source: Any, nodes: Sequence[Any], initializers: Sequence[Any]) -> Any:
    """Return a `ModelProto` with the ends, versions, functions and metadata of another: some say what classes mean."""
    helper = imported("onnx", "onnx").helper
    read = {name for node in nodes for name in inputs_of(node)} | {output.name for output in source.graph.output}
    stored = [tensor for tensor in initializers if tensor.name in read]
    own = {tensor.name for tensor in source.graph.initializer}
    inputs = [info for info in source.graph.input if info.name not in own]
    graph = helper.make_graph(nodes, source.graph.name or "graph", inputs, list(source.graph.output), stored)
    made = helper.make_model(
        graph,
        opset_imports=source.opset_import,
        ir_version=source.ir_version,
        functions=list(source.functions),
        producer_name="quant-explorer",
    )
    made.metadata_props.extend(source.metadata_props)
    return made
