"""Nodes and stored tensors of a graph in the making: codes, scales, and what quantizes and dequantizes with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.export.onnx_types import FLOATS, Layout, activation_type, code_type, integer_range, spread
from quant_engine.extras import imported
from quant_engine.quantizer import QuantizedTensor, Quantizer

QUANTIZED, SCALE, ZERO_POINT = "_quantized", "_scale", "_zero_point"  # the endings that onnxruntime gives their names


class NodeWriter:
    """Collects nodes, in the order in which they run, and the tensors that they read."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._onnx = imported("onnx", "onnx")
        self.nodes: list[Any] = []
        self.stored: dict[str, Any] = {}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node, and return its output."""
        given = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **given))
        return output

    def store(self, name: str, values: Any, kind: str = "") -> str:
        """Store an array, as one of ONNX's types if it is named, and return its name."""
        array = np.asarray(values)
        if kind:
            number = self._onnx.TensorProto.DataType.Value(kind)
            dtype = self._onnx.helper.tensor_dtype_to_np_dtype(number)
            array = array.astype(np.uint8).view(dtype) if kind in FLOATS else array.astype(dtype)
        self.stored[name] = self._onnx.numpy_helper.from_array(array.copy(order="C"), name)
        return name

    def cast(self, name: str, given: Any, wanted: Any) -> str:
        """Return a tensor as one of another type of elements."""
        if np.dtype(given) == np.dtype(wanted):
            return name
        number = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(wanted))
        return self.node("Cast", [name], f"{name}/{np.dtype(wanted).name}", to=number)

    def dequantized(
        self, name: str, weight: QuantizedTensor, layout: Layout, wanted: tuple[int, ...], turned: bool, int2: bool
    ) -> str:
        """Append what makes values of codes: of the shape that is wanted, or of a matrix transposed if `turned`."""
        kind = code_type(weight.spec.format, int2)
        assert kind is not None
        shape, axis, codes = weight.codes.shape, layout.axis, weight.codes.reshape(wanted)
        scale = spread(_whole_scale(weight), layout, shape)
        zero_point = spread(weight.zero_point, layout, shape)
        if turned:
            codes, scale, zero_point = codes.T, scale.T, zero_point.T
            axis = None if axis is None else 1 - axis
        self.store(name + QUANTIZED, codes, kind)
        self._parameters(name, scale, zero_point, kind)
        names = [name + ending for ending in (QUANTIZED, SCALE, ZERO_POINT)]
        return self.node("DequantizeLinear", names, name, axis=axis, block_size=layout.block or None)

    def fake_quantized(self, x: str, name: str, fitted: Quantizer, axis: int | None) -> str:
        """Append what quantizes a tensor and gives the values back; codes beyond the format's are cut off."""
        kind = activation_type(fitted.spec.format)
        assert kind is not None
        one = () if axis is None else (-1,)
        self._parameters(name, _whole_scale(fitted).reshape(one), fitted.zero_point.reshape(one), kind)
        parameters = [name + SCALE, name + ZERO_POINT]
        codes = self.node("QuantizeLinear", [x, *parameters], f"{name}/codes", axis=axis)
        if fitted.spec.format.code_range != integer_range(kind):
            low, high = fitted.spec.format.code_range
            ends = [self.store(f"{name}_lowest", low, kind), self.store(f"{name}_highest", high, kind)]
            codes = self.node("Clip", [codes, *ends], f"{name}/cut")
        return self.node("DequantizeLinear", [codes, *parameters], name, axis=axis)

    def _parameters(self, name: str, scale: Any, zero_point: Any, kind: str) -> None:
        self.store(name + SCALE, scale.astype(np.float32))
        self.store(name + ZERO_POINT, zero_point, kind)


def _whole_scale(fitted: Quantizer | QuantizedTensor) -> Any:
    """Return what a code is multiplied with: the scale, and of fixed point the step, a power of two."""
    return fitted.scale * np.float32(getattr(fitted.spec.format, "step", 1))
