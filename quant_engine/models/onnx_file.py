"""Reading ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quant_engine.extras import imported
from quant_engine.models.onnx_graph import OnnxGraph
from quant_engine.models.onnx_model import OnnxModel
from quant_engine.readers import read_graph_file


def read_onnx(path: Path, example: Any = None) -> OnnxModel:
    """Return the model of an ONNX file and of the files beside it that hold its tensors.

    Raises:
        ReaderError: as `read_graph_file`.
        QuantError: as `OnnxModel`.
    """
    onnx, proto = imported("onnx", "onnx"), read_graph_file(path)
    onnx.load_external_data_for_model(proto, str(path.parent))
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    return OnnxModel(OnnxGraph(proto), path.stem, example, path=path)
