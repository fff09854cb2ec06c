"""Runs an ONNX graph in onnxruntime, piece by piece, with some of its layers changed.

A piece begins with a layer and ends before the next. Weights and biases are inputs of the pieces, because a session
keeps those that come with its graph. What a layer receives is at hand between two pieces: any quantizer can quantize
it, with the bits it gives everywhere, and a run has the same bits whatever is changed or tapped.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.execution.executor import NOTHING, Executor, Override, ReachedError, Tap
from quant_engine.extras import imported
from quant_engine.models.onnx_constants import inputs_of
from quant_engine.models.onnx_graph import LayerNode, Piece
from quant_engine.models.onnx_model import OnnxModel
from quant_engine.models.onnx_runtime import OnnxSession, part_of

if TYPE_CHECKING:
    from torch import Tensor

INPUT, WEIGHT, BIAS = (f"quant_engine/{role}" for role in ("input", "weight", "bias"))  # of a piece's layer
UNCHANGED = Override()
Arrays = dict[str, NDArray[Any]]


class OnnxExecutor(Executor):
    """Runs a graph; safe to call from several threads. No gradients flow."""

    def __init__(self, model: OnnxModel) -> None:
        """Keep the model; its pieces are compiled when they first run."""
        self.trace, self._model, self._pieces = model.trace, model, model.graph.pieces
        names = {id(node): name for name, node in model.nodes.items()}
        self._names = [names.get(id(piece.layer), "") for piece in self._pieces]
        self._sessions: dict[tuple[int, bool], OnnxSession] = {}
        self._types = {name: f"tensor({type_name(dtype)})" for name, (dtype, _) in model.graph.inputs.items()}
        self._lock = threading.Lock()

    def run(
        self,
        inputs: Any,
        overrides: Mapping[str, Override] = NOTHING,
        *,
        taps: Mapping[str, Tap] = NOTHING,
        start: tuple[int, Tensor] | None = None,
        stop: int | None = None,
    ) -> Any:
        """Return what the graph makes of its inputs: a tensor, or a mapping of several by name."""
        if start is None:
            first, live = 0, self._named(inputs)
        else:
            first = self._names.index(self.trace.stages[start[0]].name)
            live = {self._received(first): start[1].detach().numpy()}
        end = None if stop is None else self.trace.stages[stop].name
        try:
            for number in range(first, len(self._pieces)):
                name = self._names[number]
                if name == end or name in taps:
                    x = _tensor(live[self._received(number)])
                    if name == end:
                        return x
                    taps[name](x)
                live = self._run_piece(number, live, overrides.get(name, UNCHANGED))
        except ReachedError as reached:
            return reached.value
        constants = self._model.graph.constants
        outputs = {
            name: _tensor(live[name] if name in live else constants.value(name)) for name in self._model.graph.outputs
        }
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    def _named(self, inputs: Any) -> Arrays:
        names = self._model.graph.inputs
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        named = inputs if isinstance(inputs, Mapping) else dict(zip(names, given, strict=False))
        if missing := set(names) - set(named):
            raise QuantError(f"{self._model.name} takes {', '.join(names)}; {', '.join(sorted(missing))} is missing")
        return {name: np.ascontiguousarray(named[name].detach().numpy()) for name in names}

    def _received(self, number: int) -> str:
        """Return the tensor that a piece's layer receives."""
        layer = self._pieces[number].layer
        assert layer is not None
        return layer.source

    def _run_piece(self, number: int, live: Arrays, override: Override) -> Arrays:
        """Return what is still needed when a piece has run."""
        piece = self._pieces[number]
        feed = live if piece.layer is None else live | self._changed(piece.layer, self._names[number], live, override)
        session = self._session(number, BIAS in feed)
        made = session.run(piece.gives, {name: feed[name] for name in session.inputs})
        return {name: value for name, value in live.items() if name in piece.alive} | made

    def _changed(self, layer: LayerNode, name: str, live: Arrays, override: Override) -> Arrays:
        """Return what a layer receives, its weight and its bias, if it has one."""
        if override.output is not None:  # a piece goes on from there to the next layer
            raise QuantError(f"what {name!r} gives stays inside of an ONNX graph; give the model as a torch module")
        x, dtype = live[layer.source], layer.weight.dtype
        weight, bias = self._model.parameters[name]
        weight = weight if override.weight is None else override.weight.detach().numpy()
        bias = bias if override.bias is None else override.bias.detach().numpy()
        received = x if override.input is None else override.input(_tensor(x)).detach().numpy()
        found = {INPUT: received.astype(x.dtype, copy=False), WEIGHT: weight.astype(dtype, copy=False)}
        if bias is not None:
            found[BIAS] = bias.astype(dtype, copy=False)
        return {role: np.ascontiguousarray(array) for role, array in found.items()}

    def _session(self, number: int, biased: bool) -> OnnxSession:
        """Return what runs a piece, whose layer has a bias or not."""
        with self._lock:
            for earlier in range(number):
                if not set(self._pieces[earlier].gives) <= set(self._types):  # it tells the types of what it gives
                    self._compiled(earlier, False)
            return self._compiled(number, biased)

    def _compiled(self, number: int, biased: bool) -> OnnxSession:
        key = number, biased
        if key not in self._sessions:
            proto = self._proto(self._pieces[number], biased)
            self._sessions[key] = OnnxSession(
                proto, f"{self._model.name} from {self._names[number] or 'its inputs'} on"
            )
            self._types |= self._sessions[key].types
        return self._sessions[key]

    def _proto(self, piece: Piece, biased: bool) -> Any:
        helper = imported("onnx", "onnx").helper
        graph, layer = self._model.graph, piece.layer
        nodes, types = list(piece.nodes), {name: self._types[name] for name in piece.needs}
        if layer is not None:
            stored = f"tensor({type_name(layer.weight.dtype)})"
            special = {INPUT: types[layer.source], WEIGHT: stored} | ({BIAS: stored} if biased else {})
            nodes[:1] = _layer_nodes(layer, biased)
            types = special | types
        read = {name for node in nodes for name in inputs_of(node)}
        computing, initializers = graph.constants.behind(read)
        inputs = [
            helper.make_tensor_value_info(name, _element(name, types[name]), None) for name in types if name in read
        ]
        return part_of(graph.proto, [*computing, *nodes], inputs, piece.gives, initializers)


def _layer_nodes(layer: LayerNode, biased: bool) -> list[Any]:
    """Return the nodes that do what a layer does, with its input, weight (out, in) and bias as inputs."""
    make = imported("onnx", "onnx").helper.make_node
    kind, turned, product = layer.node.op_type, f"{WEIGHT}/turned", f"{layer.output}/product"
    own = [BIAS] if biased else []
    if kind == "Conv":
        return [make("Conv", [INPUT, WEIGHT, *own], [layer.output], **layer.attributes)]
    if kind == "Gemm":
        return [make("Gemm", [INPUT, WEIGHT, *own], [layer.output], transB=1)]
    result = product if biased else layer.output
    if kind == "Gather":
        nodes = [make("Gather", [WEIGHT, INPUT], [result])]
    else:
        nodes = [make("Transpose", [WEIGHT], [turned], perm=[1, 0]), make("MatMul", [INPUT, turned], [result])]
    return [*nodes, *([make("Add", [product, BIAS], [layer.output])] if biased else [])]


def type_name(dtype: np.dtype[Any]) -> str:
    """Return what onnxruntime calls an element's type."""
    return {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)


def _element(name: str, kind: str) -> int:
    """Return ONNX's number of the type of a tensor's elements."""
    if not kind.startswith("tensor("):
        raise QuantError(f"{name!r} is a {kind} and goes from one layer to another; only tensors can")
    return int(imported("onnx", "onnx").TensorProto.DataType.Value(kind[7:-1].upper()))


def _tensor(array: NDArray[Any]) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))
