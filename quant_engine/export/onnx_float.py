"""Any network as an ONNX graph in floating point, whose layers have the network's names."""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.export.onnx_types import IR_VERSION, IR_VERSION_INT2, OPSET, OPSET_INT2
from quant_engine.extras import imported
from quant_engine.models import BuiltinModel, Model, OnnxModel, TorchModel, ties
from quant_engine.models.onnx_graph import OnnxGraph

_OPERATORS = logging.getLogger("torch.onnx._internal.exporter._registration")
_EXPORTED: weakref.WeakKeyDictionary[Model, Any] = weakref.WeakKeyDictionary()  # torch takes seconds to trace a module


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """An ONNX graph and, by the identity of its layers' nodes, the names of the network's layers."""

    graph: OnnxGraph
    names: Mapping[int, str]


def float_graph(model: Model, int2: bool = False) -> FloatGraph:
    """Return a model as a graph of opset 21, or 25 where there are codes of two bits.

    Raises:
        QuantError: for a module without an example of its inputs, and one that torch or onnx cannot convert.
    """
    opset, version = (OPSET_INT2, IR_VERSION_INT2) if int2 else (OPSET, IR_VERSION)
    if isinstance(model, OnnxModel):
        graph = OnnxGraph(_raised(model.graph.proto, opset, version, model.name))
        return FloatGraph(graph, dict(zip((id(layer.node) for layer in graph.layers), model.nodes, strict=True)))
    if model not in _EXPORTED:
        _EXPORTED[model] = _exported(model)
    graph = OnnxGraph(_raised(_EXPORTED[model], opset, version, model.name))
    return FloatGraph(graph, _names(model, graph))


def _raised(proto: Any, opset: int, version: int, name: str) -> Any:
    """Return a copy of a graph with at least this operator set."""
    onnx = imported("onnx", "onnx")
    known = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    raised = onnx.ModelProto()
    raised.CopyFrom(proto)
    if known < opset:
        try:
            raised = onnx.version_converter.convert_version(proto, opset)
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            raise QuantError(
                f"onnx does not raise {name} from opset {known} to {opset}: {error}; export the model with opset "
                f"{opset}"
            ) from error
    del raised.metadata_props[:]  # some versions of the converter drop them
    raised.metadata_props.extend(proto.metadata_props)
    raised.ir_version = max(version, min(proto.ir_version, version))
    return raised


def _exported(model: Model) -> Any:
    """Return a torch module as a `ModelProto` that takes batches of any size."""
    import torch

    imported("onnx", "onnx")
    imported("onnxscript", "onnx")
    args, named = _example(model)
    shapes = (*(_open(value) for value in args),) if args else {key: _open(value) for key, value in named.items()}
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                model.module,
                args,
                kwargs=named,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                optimize=False,  # it would fold norms into weights, which are then not those of the layers
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise QuantError(
            f"torch does not export {model.name} to ONNX: {_reason(error)}; open an ONNX file of the model "
            "and plan for that"
        ) from error
    assert program is not None  # it is where nothing is written to a file
    return _without_traces(_with_known_casts(program.model_proto))


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch says of itself at each export: what it has deprecated, and what it does not find."""

    def of_what_is_there(record: logging.LogRecord) -> bool:
        return "torchvision is not installed" not in str(record.msg)

    _OPERATORS.addFilter(of_what_is_there)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        _OPERATORS.removeFilter(of_what_is_there)


def _with_known_casts(proto: Any) -> Any:
    """Return a graph whose constants are cast to types that are named: like another tensor, they would not be known."""
    onnx = imported("onnx", "onnx")
    graph = onnx.shape_inference.infer_shapes(proto).graph
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1]):
            known = onnx.helper.make_node("Cast", node.input[:1], node.output, node.name, to=types[node.input[1]])
            node.CopyFrom(known)
    return proto


def _without_traces(proto: Any) -> Any:
    """Return a graph without where each node came from: stack traces name folders of the machine."""
    holders = (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer)
    for holder in (*holders, *proto.graph.input, *proto.graph.output):
        holder.ClearField("metadata_props")
    return proto


def _reason(error: Exception) -> str:
    """Return the first cause's first line: what is around it is advice on how to report a bug."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause).strip().split("\n")[0]


def _example(model: Model) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return an example of two samples, as positional or named arguments; one would make the batch's size fixed."""
    import torch

    if isinstance(model, BuiltinModel):
        return (torch.zeros(2, *model.architecture.input_shape),), {}
    example = model.example if isinstance(model, TorchModel) else None
    if example is None:
        raise QuantError(
            f"{model.name} is written as ONNX with an example of its inputs; give from_module(module, example=inputs)"
        )
    if isinstance(example, Mapping):
        return (), {key: _two(value) for key, value in example.items()}
    return tuple(_two(value) for value in (example if isinstance(example, tuple) else (example,))), {}


def _two(value: Any) -> Any:
    return value.repeat(2, *[1] * (value.ndim - 1))[:2] if len(value) < 2 else value


def _open(value: Any) -> dict[int, Any]:
    """Return which axes have no fixed size: the samples and, of tokens, their number."""
    from torch.export import Dim

    return {0: "batch"} | ({} if value.is_floating_point() else dict.fromkeys(range(1, value.ndim), Dim.AUTO))


def _names(model: Model, graph: OnnxGraph) -> dict[int, str]:
    """Return the layers' names by their nodes: those of a weight that several use are taken in the order of running."""
    waiting: dict[str, list[str]] = {}
    for users in ties(model.layers).values():
        alike = list(users)
        waiting |= {f"{name}.weight": alike for name in users}  # torch keeps one of the names
    names = {}
    for node in graph.layers:
        alike = waiting.get(node.key, [])
        if not alike:
            continue  # a constant product that is no layer
        names[id(node.node)] = alike.pop(0) if len(alike) > 1 else alike[0]  # a layer may run more than once
        weight = model.parameters[names[id(node.node)]][0]
        if node.weight.shape != weight.shape or not np.array_equal(node.weight, weight):
            raise QuantError(f"the exported graph of {model.name} has another weight for {node.key!r}")
    missing = [name for name in model.layers if name not in names.values()]
    if missing:
        raise QuantError(
            f"the exported graph of {model.name} has no layer {', '.join(missing)}; it computes them otherwise: open "
            "an ONNX file of the model and plan for that"
        )
    return names
