"""Models: layers that have a weight, what they are like, and how a model runs."""

from quant_engine.models.architectures import ARCHITECTURES, Architecture
from quant_engine.models.base import Model, Parameters, as_parameters, digest, layer_of
from quant_engine.models.builtin_model import BuiltinModel, as_builtin
from quant_engine.models.folding import BatchNorm
from quant_engine.models.fused import fused_groups
from quant_engine.models.fx_graph import read_graph
from quant_engine.models.graph import Graph, Node
from quant_engine.models.hub import fetch_from_hub, is_hub_name
from quant_engine.models.layer import Layer, Op, Shape, ties
from quant_engine.models.norms import NormStatistics
from quant_engine.models.onnx_file import read_onnx
from quant_engine.models.onnx_graph import OnnxGraph
from quant_engine.models.onnx_model import OnnxModel
from quant_engine.models.stored import stored_quantization
from quant_engine.models.tensor_model import TensorModel
from quant_engine.models.torch_model import TorchModel
from quant_engine.models.trace import Span, Stage, Trace, call, shared_copy, trace, watched
from quant_engine.models.transformers_model import read_transformers

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "BatchNorm",
    "BuiltinModel",
    "Graph",
    "Layer",
    "Model",
    "Node",
    "NormStatistics",
    "OnnxGraph",
    "OnnxModel",
    "Op",
    "Parameters",
    "Shape",
    "Span",
    "Stage",
    "TensorModel",
    "TorchModel",
    "Trace",
    "as_builtin",
    "as_parameters",
    "call",
    "digest",
    "fetch_from_hub",
    "fused_groups",
    "is_hub_name",
    "layer_of",
    "read_graph",
    "read_onnx",
    "read_transformers",
    "shared_copy",
    "stored_quantization",
    "ties",
    "trace",
    "watched",
]
