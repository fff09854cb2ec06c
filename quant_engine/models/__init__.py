"""Models: layers that have a weight, what they are like, and how a model runs."""

from quant_engine.models.base import Model, Parameters, digest
from quant_engine.models.layer import Layer, Op, Shape, ties
from quant_engine.models.torch_model import TorchModel
from quant_engine.models.trace import Span, Stage, Trace, call, shared_copy, trace

__all__ = [
    "Layer",
    "Model",
    "Op",
    "Parameters",
    "Shape",
    "Span",
    "Stage",
    "TorchModel",
    "Trace",
    "call",
    "digest",
    "shared_copy",
    "ties",
    "trace",
]
