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
    proto = read_whole_graph(path)
    if proto.functions:
        proto = imported("onnx", "onnx").inliner.inline_local_functions(proto)
    return OnnxModel(OnnxGraph(proto), path.stem, example, path=path)


def read_whole_graph(path: Path) -> Any:
    """Return the `ModelProto` of an ONNX file with the values in files beside it.

    Raises:
        ReaderError: as `read_graph_file`.
    """
    proto = read_graph_file(path)
    imported("onnx", "onnx").load_external_data_for_model(proto, str(path.parent))
    return proto
