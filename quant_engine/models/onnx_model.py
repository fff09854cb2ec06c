"""An ONNX graph as a model: its convolutions, its matrix products with a constant, and its embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.inputs import Inputs, as_model_inputs
from quant_engine.models.base import Parameters, digest
from quant_engine.models.graph import ANYTHING
from quant_engine.models.layer import Layer, Shape, ties
from quant_engine.models.onnx_graph import LayerNode, OnnxGraph, sizes_of
from quant_engine.models.onnx_ranges import tensor_ranges
from quant_engine.models.onnx_runtime import OnnxSession
from quant_engine.models.trace import Stage, Trace
from quant_engine.readers import TensorFile, open_file


class OnnxModel:
    """An ONNX graph.

    A layer has the name of the stored tensor of its weight where no other layer has that, else the node's. `example` is
    one batch of inputs, an array for the only or first one or a mapping of named ones: it tells the shapes that layers
    receive and give, where the graph leaves them open. `path` is the file's: what it, or another beside it, says of how
    weights are stored as codes is read there.

    Raises:
        QuantError: for a graph without a layer, and one that onnxruntime refuses.
    """

    def __init__(
        self,
        graph: OnnxGraph,
        name: str,
        example: Any = None,
        parameters: Parameters | None = None,
        path: Path | None = None,
    ) -> None:
        """Keep the graph; `parameters` are those of all layers, if they are not the graph's."""
        self.graph, self.name, self.title, self._example, self.path = graph, name, name, example, path
        if not graph.layers:
            kinds = ", ".join(sorted({node.op_type for node in graph.nodes}))
            raise QuantError(
                f"{name} has no Conv, Gemm, MatMul or Gather with a constant weight, only {kinds or 'constants'}; "
                "give a graph that has one"
            )
        self.nodes: Mapping[str, LayerNode] = MappingProxyType(
            dict(zip(_names(graph.layers), graph.layers, strict=True))
        )
        own = parameters or {name: (_float32(node.weight), _float32(node.bias)) for name, node in self.nodes.items()}
        self.parameters: Parameters = MappingProxyType(own)

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """The layers, in the order in which they run."""
        shapes, owners, ranges = self.trace.shapes, _owners(self.nodes), tensor_ranges(self.graph)
        found = {}
        for name, node in self.nodes.items():
            known = shapes.get(name)
            found[name] = Layer(
                name=name,
                op=node.op,
                shape=node.weight.shape,
                tensor=node.key,
                has_bias=node.bias is not None,
                shapes=known,
                tied_to=None if owners[name] == name else owners[name],
                input_range=ranges.get(node.source, ANYTHING),
                **(_geometry(node, known) if node.op in ("conv1d", "conv2d") else {}),
            )
        return MappingProxyType(found)

    @cached_property
    def file(self) -> TensorFile | None:
        """What the file stores, where the graph is from one and has the weights of that."""
        return None if self.path is None else open_file(self.path)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all layers' names, shapes and values."""
        return digest(self.parameters)

    @cached_property
    def trace(self) -> Trace:
        """How the graph runs: a run may begin at a layer where only what that receives is needed from then on."""
        names = tuple(self.nodes)
        at = [piece.starts_from_layer for piece in self.graph.pieces if piece.layer is not None]
        cuts = [number for number, possible in enumerate(at) if possible]
        ends = [*cuts[1:], len(names)]
        stages = (Stage(names[cut], names[cut:end], names[:cut]) for cut, end in zip(cuts, ends, strict=False))
        return Trace(names, tuple(stages), self._shapes())

    @property
    def module(self) -> NoReturn:
        """Refuse: there is none.

        Raises:
            QuantError: always.
        """
        raise QuantError(
            f"{self.name} is an ONNX graph, without gradients and torch modules; give from_module the model it is of"
        )

    @property
    def operators(self) -> NoReturn:
        """Refuse: only torch modules are read.

        Raises:
            QuantError: always.
        """
        raise QuantError(f"{self.name} is an ONNX graph; operators are read of torch modules: give from_module its own")

    @property
    def statistics(self) -> None:
        """Nothing: what BatchNorms remember is read of torch modules."""

    def as_inputs(self, inputs: Any) -> Inputs:
        """Return a batch of inputs, one array for the first or several by name, of the graph's types.

        Raises:
            QuantError: for names that the graph does not have or that are missing, other types and other shapes.
        """
        given = as_model_inputs(inputs)
        named = self.feed(given)
        if set(named) != set(self.graph.inputs):
            wanted = ", ".join(self.graph.inputs)
            raise QuantError(
                f"{self.name} takes {wanted}; the inputs are {', '.join(named)}; give {{name: array}} of all"
            )
        fitting = {name: self._as_input(name, array) for name, array in named.items()}
        return fitting if isinstance(given, Mapping) else next(iter(fitting.values()))

    def feed(self, inputs: Inputs) -> dict[str, NDArray[Any]]:
        """Return inputs by name: an array is the first."""
        return dict(inputs) if isinstance(inputs, Mapping) else {next(iter(self.graph.inputs), ""): inputs}

    def with_parameters(self, parameters: Parameters) -> OnnxModel:
        """Return the model with other weights and biases for some layers; those tied to one have its new weight too."""
        changed, users = dict(self.parameters), ties(self.layers)
        for name, (weight, bias) in parameters.items():
            for user in users[self.layers[name].tied_to or name]:
                changed[user] = weight, changed[user][1]
            changed[name] = weight, bias
        return OnnxModel(self.graph, self.name, self._example, changed)

    def _as_input(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        dtype, shape = self.graph.inputs[name]
        fits = shape is None or (
            len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        )
        if not fits or not np.can_cast(array.dtype, dtype, "same_kind"):
            sizes = "any shape" if shape is None else f"({', '.join('?' if n is None else str(n) for n in shape)})"
            raise QuantError(
                f"input {name!r} of {self.name} is {dtype} of {sizes}; {array.dtype} of {array.shape} is given"
            )
        return array.astype(dtype, copy=False)

    def _shapes(self) -> dict[str, tuple[Shape, Shape]]:
        """Return what layers receive and give for one sample, as the example or, without one, the graph tells."""
        ends = dict.fromkeys(end for node in self.nodes.values() for end in (node.source, node.output))
        whole = self._run_example([*ends]) if self._example is not None else self._written([*ends])
        return {
            name: (whole[node.source][1:], whole[node.output][1:])
            for name, node in self.nodes.items()
            if node.source in whole and node.output in whole
        }

    def _run_example(self, tensors: Sequence[str]) -> dict[str, Shape]:
        onnx = imported("onnx", "onnx")
        proto = onnx.ModelProto()
        proto.CopyFrom(self.graph.proto)
        del proto.graph.output[:]
        feed = self.feed(self.as_inputs(self._example))
        wanted = [name for name in tensors if name not in feed]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        arrays = {**feed, **OnnxSession(proto, self.name).run(wanted, feed)}
        return {name: arrays[name].shape for name in tensors}

    def _written(self, tensors: Sequence[str]) -> dict[str, Shape]:
        """Return the shapes in the graph of which only the first axis is open."""
        inferred = imported("onnx", "onnx").shape_inference.infer_shapes(self.graph.proto).graph
        found = {}
        for info in (*inferred.value_info, *inferred.input, *inferred.output):
            sizes = sizes_of(info)
            if info.name in tensors and sizes is not None and None not in sizes[1:]:
                found[info.name] = (0, *(size for size in sizes[1:] if size is not None))
        return found


def _names(nodes: Sequence[LayerNode]) -> list[str]:
    """Return a layer's name for each node: its weight's key, else its own name, else its output's, which is unique."""
    keys, own = Counter(node.key for node in nodes), Counter(node.node.name for node in nodes)
    found = []
    for node in nodes:
        named = node.node.name and own[node.node.name] == 1 and node.node.name not in keys
        found.append(node.key if keys[node.key] == 1 else node.node.name if named else node.output)
    return found


def _owners(nodes: Mapping[str, LayerNode]) -> dict[str, str]:
    """Return for each layer the first that has the same weight, made of the same stored tensor."""
    first: dict[str, list[str]] = {}
    owners = {}
    for name, node in nodes.items():
        alike = first.setdefault(node.key, [])
        same = (other for other in alike if np.array_equal(nodes[other].weight, node.weight))
        owners[name] = next(same, name)
        alike += [name] if owners[name] == name else []
    return owners


def _geometry(node: LayerNode, shapes: tuple[Shape, Shape] | None) -> dict[str, Any]:
    """Return a convolution's groups, stride, padding and dilation."""
    given, axes = node.attributes, node.weight.ndim - 2
    stride, dilation = (tuple(given.get(name, (1,) * axes)) for name in ("strides", "dilations"))
    pads = tuple(given.get("pads", (0,) * 2 * axes))
    padding = tuple(zip(pads[:axes], pads[axes:], strict=True))
    side = given.get("auto_pad", b"NOTSET").decode()
    if side.startswith("SAME"):
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, node.weight.shape[2:], strict=True)]
        sizes = shapes[0][-axes:] if shapes else (None,) * axes
        padding = tuple(_same(*one, upper=side == "SAME_UPPER") for one in zip(sizes, reach, stride, strict=True))
    return {"groups": given.get("group", 1), "stride": stride, "padding": padding, "dilation": dilation}


def _same(size: int | None, reach: int, stride: int, upper: bool) -> tuple[int, int]:
    """Return the zeros that give ⌈size/stride⌉ places, the odd one at the end if `upper`.

    Without a size, those for one that the stride divides.
    """
    total = max(reach - stride if size is None else (-(-size // stride) - 1) * stride + reach - size, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def _float32(array: NDArray[Any] | None) -> Any:
    if array is None:
        return None
    copy = array.astype(np.float32)
    copy.flags.writeable = False
    return copy
