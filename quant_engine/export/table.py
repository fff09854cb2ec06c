"""The table of exporters: what stands here is offered by the pages and the command line, and tested."""

from __future__ import annotations

from quant_engine.export.base import Exporter
from quant_engine.export.compressed_tensors import COMPRESSED_TENSORS
from quant_engine.export.encodings import AIMET
from quant_engine.export.gguf_file import GGUF
from quant_engine.export.gguf_types import GGUF_TYPES
from quant_engine.export.onnx_exporter import ONNX
from quant_engine.export.ort_overrides import ORT_OVERRIDES
from quant_engine.export.plan_json import PLAN
from quant_engine.export.recipes import AI_EDGE, MODELOPT
from quant_engine.export.torch_code import TORCH

_TABLE = (ONNX, ORT_OVERRIDES, *AIMET.values(), COMPRESSED_TENSORS, GGUF, GGUF_TYPES, TORCH, MODELOPT, AI_EDGE, PLAN)
EXPORTERS: dict[str, Exporter] = {exporter.key: exporter for exporter in _TABLE}
