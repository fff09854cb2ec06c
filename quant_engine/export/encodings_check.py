"""Encodings read back: the numbers that they give each tensor, beside those of the plan."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.export.base import Comparison, Verification
from quant_engine.export.matrices import quantized_matrix
from quant_engine.export.onnx_float import float_graph
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models.onnx_graph import LayerNode
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer
from quant_engine.readers import StoredQuantization
from quant_engine.readers.encodings import Encoding, read_encodings


def compare_encodings(
    network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None
) -> Verification:
    """Return how far weights and the ends of activations are from the plan's where the file names them."""
    said = read_encodings(path)
    if said is None:
        raise QuantError(f"{path} has no encodings; write it again")
    return Verification("readers.encodings", furthest_of(network, plan, said))


def furthest_of(network: Network, plan: QuantizationPlan, said: Mapping[str, Encoding]) -> tuple[Comparison, ...]:
    """Return the largest differences of weights and of the ends of activations where they are named."""
    weights, inputs = [0.0], [0.0]
    for name, node in layer_nodes(network).items():
        layer = plan[name]
        if isinstance(layer.weight, Quantizer | QuantizedTensor) and node.key in said:
            codes = quantized_matrix(network, name, layer)
            stored = of_weight(said[node.key], network.layers()[name].shape, axis_of(node))
            weights.append(_furthest(values_of(stored, codes), codes.dequantize()))
        if isinstance(layer.activation, Quantizer) and node.source in said:
            ends = [float(end.item()) for end in said[node.source].alone().ends()]
            inputs.append(_furthest(np.array(ends, np.float32), layer.activation.levels()[[0, -1]]))
    named = (("weights", max(weights)), ("ranges of activations", max(inputs)))
    return tuple(Comparison(name, far, exact=far == 0) for name, far in named)


def layer_nodes(network: Network) -> dict[str, LayerNode]:
    """Return the node of each layer in the graph whose names encodings use."""
    source = float_graph(network.model)
    return {source.names[id(node.node)]: node for node in source.graph.layers if id(node.node) in source.names}


def axis_of(node: LayerNode) -> int:
    """Return the axis of output channels of a product's weight, which 1.0.0 does not name.

    It is the last one where the graph multiplies with the stored tensor as it is.
    """
    return 1 if node.node.op_type == "MatMul" and node.node.input[1] == node.key else 0


def of_weight(encoding: Encoding, shape: tuple[int, ...], axis: int) -> StoredQuantization:
    """Return what an entry says of a weight (out, …), which is stored with its output channels along an axis."""
    if axis == 0:
        known = encoding if encoding.axis is not None or encoding.scale.size == 1 else replace(encoding, axis=0)
        return known.of(shape)
    known = encoding if encoding.axis is not None or encoding.scale.size == 1 else replace(encoding, axis=1)
    return known.of(shape[::-1]).transposed()


def values_of(stored: StoredQuantization, codes: QuantizedTensor) -> Float32Array:
    """Return x̂ of a plan's codes with the scales of an entry: what is stored as unsigned is counted from the least."""
    format = codes.spec.format
    least = -(1 << format.bits - 1) if format.signed and stored.name.startswith("u") else 0
    whole = replace(stored, read=lambda: (codes.codes.astype(np.int64) - least).reshape(stored.shape))
    return whole.dequantize().reshape(codes.shape)


def _furthest(one: Any, other: Any) -> float:
    return float(np.abs(one.astype(np.float64) - other).max(initial=0))
