"""A network in floating point by torch, and the same integers by onnxruntime, written as their users would."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quant_engine.integer_only import IntegerProgram
from quant_engine.kernels.parallel import thread_count
from quant_engine.models import as_builtin
from quant_engine.models.architectures import Conv, GlobalPool, Linear, MaxPool
from quant_engine.network import Network

NO_ONNXRUNTIME = "not installed: pip install onnx onnxruntime"
OPSET, IR = 13, 8

Codes = NDArray[np.uint8]
Logits = NDArray[np.float32]


def floating(network: Network, images: NDArray[np.float32], batch: int) -> Callable[[], Logits]:
    """Return torch's run of the network in float32, BatchNorms folded, `batch` images at a time."""
    inputs = torch.from_numpy(images.copy())
    module = as_builtin(network.model).architecture.evaluated(
        {name: (network.weight(name), network.bias(name)) for name in network.layers()}
    )

    def run() -> Logits:
        with torch.inference_mode():
            return torch.cat([module(x) for x in inputs.split(batch)]).numpy()

    return run


def quantized(network: Network, program: IntegerProgram, codes: Codes, batch: int) -> Callable[[], Logits] | None:
    """Return onnxruntime's run of the same codes, scales and integer biases; None without it.

    The graph is in QDQ form, which onnxruntime joins to kernels of integers (`QLinearConv`, `QGemm`).
    """
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    graph = _graph(network, program).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    parts = [codes[i : i + batch] for i in range(0, len(codes), batch)]
    return lambda: np.concatenate([session.run(None, {"codes": part})[0] for part in parts])


class _Graph:
    """Nodes and constants so far."""

    def __init__(self) -> None:
        """Start with none."""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        """Add an array and return its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and return the name of what it gives."""
        from onnx import helper

        out = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def dequantized(self, name: str, codes: Any, scale: Any) -> str:
        """Add codes as a constant, one scale for each of the first axis."""
        parts = [self.constant(f"{name}_codes", codes), self.constant(f"{name}_scale", scale.astype(np.float32))]
        zero = self.constant(f"{name}_zero", np.zeros(len(scale), codes.dtype))
        return self.node("DequantizeLinear", [*parts, zero], axis=0)


def _graph(network: Network, program: IntegerProgram) -> Any:
    from onnx import TensorProto, helper

    graph, x, last = _Graph(), "codes", list(network.layers())[-1]
    for step in as_builtin(network.model).architecture.steps:
        if isinstance(step, Conv | Linear):
            layer, (scale, sum_scale) = program.layer(step.name), program.scales[step.name]
            ends = [
                graph.constant(f"{step.name}_scale", np.float32(scale)),
                graph.constant(f"{step.name}_zero", np.uint8(layer.zero_point)),
            ]
            given = x if x == "codes" else graph.node("QuantizeLinear", [x, *ends])
            parts = [
                graph.node("DequantizeLinear", [given, *ends]),
                graph.dequantized(f"{step.name}_w", layer.weight, sum_scale / scale),
                graph.dequantized(f"{step.name}_b", layer.bias, sum_scale),
            ]
            if isinstance(step, Conv):
                x = graph.node("Conv", parts, group=step.groups, pads=[step.kernel // 2] * 4)
            else:
                x = graph.node("Gemm", parts, transB=1)
            x = x if step.name == last else graph.node("Relu", [x])
        elif isinstance(step, MaxPool):
            x = graph.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
        elif isinstance(step, GlobalPool):
            x = graph.node("GlobalAveragePool", [x])
        else:
            x = graph.node("Flatten", [x])
    shape = ["n", *as_builtin(network.model).architecture.input_shape]
    found = helper.make_graph(
        graph.nodes,
        network.name,
        [helper.make_tensor_value_info("codes", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        graph.constants,
    )
    return helper.make_model(found, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
