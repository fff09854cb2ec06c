"""The exporter of ONNX with QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from functools import partial

from quant_engine.checks import as_integer
from quant_engine.export.base import Export, Exporter
from quant_engine.export.onnx_qdq import MAX_BYTES, make_qdq
from quant_engine.export.onnx_run import compare_qdq
from quant_engine.export.onnx_types import find_onnx
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan

ONNX = Exporter("onnx", "ONNX (QDQ)", ".onnx", find_onnx, make_qdq, compare_qdq, extra="onnx")


def to_onnx_qdq(
    network: Network,
    plan: QuantizationPlan,
    path: str | pathlib.Path,
    overwrite: bool = False,
    as_float: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Export:
    """Write a quantized network as ONNX with QuantizeLinear and DequantizeLinear, which onnxruntime has accepted.

    Weights are stored as codes, activations quantized before their layers, everything else stays as it is. Operator set
    21, or 25 where weights have two bits. Of graphs beyond `max_bytes`, by default the 2 GB that one file holds, the
    tensors are in `<path>.data` beside it. Other options as `Exporter.write`.

    Raises:
        QuantError: as `Exporter.write`, and for a model that torch or onnx cannot convert.

    Example:
        >>> import tempfile
        >>> from quant_engine import IntFormat, LayerPlan, PerChannel, QuantizerSpec
        >>> from quant_engine.network import load
        >>> plan = QuantizationPlan({"fc2": LayerPlan(QuantizerSpec(IntFormat(4), PerChannel()))})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export = to_onnx_qdq(load("fashion-cnn"), plan, pathlib.Path(folder) / "quantized.onnx")
        >>> [str(part) for part in export.coverage.written]
        ["the weight of 'fc2'"]
    """
    limit = as_integer(max_bytes, "max_bytes", 0, MAX_BYTES)
    return replace(ONNX, make=partial(make_qdq, limit=limit)).write(network, plan, path, overwrite, as_float)
