"""Reading ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.models.onnx_graph import OnnxGraph
from quant_engine.models.onnx_model import OnnxModel


def read_onnx(path: Path, example: Any = None) -> OnnxModel:
    """Return the model of an ONNX file and of the files beside it that hold its tensors.

    Raises:
        QuantError: if it is no ONNX graph, and as `OnnxModel`.
    """
    onnx = imported("onnx", "onnx")
    failures = (imported("google.protobuf.message", "onnx").DecodeError, onnx.checker.ValidationError, OSError)
    try:
        proto = onnx.load(path)
    except failures as error:
        raise QuantError(f"{path} is no ONNX graph that can be read: {error}") from error
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    return OnnxModel(OnnxGraph(proto), path.stem, example)
