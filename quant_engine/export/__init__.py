"""Plans written for other tools: what a target cannot express, the files, and a check by the target's own reader."""

from quant_engine.export.base import (
    Comparison,
    Contents,
    Coverage,
    Export,
    Exporter,
    Finding,
    Part,
    Verification,
)
from quant_engine.export.bit_counts import BitCount, bit_counts
from quant_engine.export.compressed_tensors import to_compressed_tensors
from quant_engine.export.encodings import to_aimet
from quant_engine.export.gguf_file import to_gguf
from quant_engine.export.importing import Imported, export_plan, import_plan
from quant_engine.export.onnx_exporter import to_onnx_qdq
from quant_engine.export.remedies import nearest
from quant_engine.export.rounding_ties import Difference
from quant_engine.export.table import EXPORTERS

__all__ = [
    "EXPORTERS",
    "BitCount",
    "Comparison",
    "Contents",
    "Coverage",
    "Difference",
    "Export",
    "Exporter",
    "Finding",
    "Imported",
    "Part",
    "Verification",
    "bit_counts",
    "export_plan",
    "import_plan",
    "nearest",
    "to_aimet",
    "to_compressed_tensors",
    "to_gguf",
    "to_onnx_qdq",
]
