"""Between which values the tensors of an ONNX graph lie, as far as its operators tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from quant_engine.models.graph import ANYTHING, output_range
from quant_engine.models.layer import Range
from quant_engine.models.onnx_constants import Constants
from quant_engine.models.onnx_graph import OnnxGraph, attributes

MEANT = {  # what graphs call an operator
    **dict.fromkeys(("MaxPool", "GlobalMaxPool"), "max_pool"),
    **dict.fromkeys(("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout"), "flatten"),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), "flatten"),  # a mean lies among its values
    **dict.fromkeys(("Relu", "Clip"), "clamp"),
    "AveragePool": "average_pool",
}
ENDS = {"Min": min, "Max": max}  # what the smaller, or greater, of several values has as its lowest and highest


def tensor_ranges(graph: OnnxGraph) -> dict[str, Range]:
    """Return between which values each tensor lies that a node gives."""
    found: dict[str, Range] = {}
    for node in graph.nodes:
        taken = found.get(node.input[0], ANYTHING) if node.input else ANYTHING
        own = node.domain in ("", "ai.onnx")
        if node.op_type in ENDS:
            lows, highs = zip(*(_of(name, found, graph.constants) for name in node.input), strict=True)
            given = ENDS[node.op_type](lows), ENDS[node.op_type](highs)
        else:
            given = output_range(MEANT.get(node.op_type, node.op_type), taken, _bounds(node, graph.constants))
        found.update(dict.fromkeys(node.output, given if own else ANYTHING))
    return found


def _of(name: str, found: Mapping[str, Range], constants: Constants) -> Range:
    """Return between which values a tensor lies, also one that is constant."""
    if name not in constants:
        return found.get(name, ANYTHING)
    value = constants.value(name)
    known = value.size and not np.isnan(value).any()
    return (float(value.min()), float(value.max())) if known else ANYTHING


def _bounds(node: Any, constants: Constants) -> dict[str, Any]:
    """Return what a node clamps to, and whether it pads with zeros that count."""
    given = attributes(node)
    zeros = (1, 1) if given.get("count_include_pad", 0) else (0, 0)
    if node.op_type == "Relu":
        return {"low": 0.0, "high": math.inf}
    low, high = given.get("min", -math.inf), given.get("max", math.inf)  # before opset 11; then they are inputs
    if node.op_type == "Clip":
        low, high = (
            float(constants.value(name).item()) if name in constants else end
            for name, end in zip([*node.input[1:], "", ""], (low, high), strict=False)
        )
    return {"low": low, "high": high, "padding": zeros}
