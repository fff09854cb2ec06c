"""The tensors of an ONNX graph that no input changes: what is stored, and what is computed from that alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.models.onnx_runtime import OnnxSession, part_of
from quant_engine.readers import holds_tensor

RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


class Constants:
    """Initializers, `Constant` nodes and what nodes such as Transpose, Reshape or Cast make of them."""

    def __init__(self, proto: Any) -> None:
        """Find them in a `ModelProto`."""
        graph = proto.graph
        if graph.sparse_initializer:
            name = graph.sparse_initializer[0].values.name
            raise QuantError(f"the ONNX graph stores {name!r} as a sparse tensor; store its initializers dense")
        self._proto = proto
        self._stored: Mapping[str, Any] = {stored.name: stored for stored in graph.initializer}
        self._computed: dict[str, Any] = {}
        for node in graph.node:
            known = all(name in self for name in inputs_of(node)) and (node.input or node.op_type == "Constant")
            if known and node.op_type not in RANDOM:
                self._computed.update(dict.fromkeys(node.output, node))

    def __contains__(self, name: str) -> bool:
        """Return whether a tensor is constant."""
        return name in self._stored or name in self._computed

    def behind(self, names: Iterable[str]) -> tuple[list[Any], list[Any]]:
        """Return the nodes that compute constants, in order, and the initializers that these constants come from."""
        seen, waiting = set[str](), list(names)
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += inputs_of(self._computed[name]) if name in self._computed else []
        nodes = {id(node): node for name, node in self._computed.items() if name in seen}
        return list(nodes.values()), [stored for name, stored in self._stored.items() if name in seen]

    def key(self, name: str) -> str:
        """Return the stored tensor that a constant is, or the largest of those it is computed from."""
        nodes, initializers = self.behind([name])
        sizes = {stored.name: math.prod(stored.dims) for stored in initializers}
        sizes |= {node.output[0]: math.prod(node.attribute[0].t.dims) for node in nodes if holds_tensor(node)}
        return max(sizes, key=lambda stored: sizes[stored], default=name)

    def value(self, name: str) -> NDArray[Any]:
        """Return a constant's values."""
        numpy_helper = imported("onnx", "onnx").numpy_helper
        node = self._computed.get(name)
        if node is None:
            return np.asarray(numpy_helper.to_array(self._stored[name]))
        return (
            np.asarray(numpy_helper.to_array(node.attribute[0].t)) if holds_tensor(node) else self._computed_value(name)
        )

    def _computed_value(self, name: str) -> NDArray[Any]:
        nodes, initializers = self.behind([name])
        part = part_of(self._proto, nodes, [], [name], initializers)
        return np.asarray(OnnxSession(part, f"what computes {name!r}").run([name], {})[name])


def inputs_of(node: Any) -> list[str]:
    """Return the tensors that a node reads, those of its branches and loops included."""
    return [name for name in (*node.input, *_free(node)) if name]


def _free(node: Any) -> Iterator[str]:
    """Yield what the graphs inside a node read from outside of them."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            made = {item.name for item in (*graph.input, *graph.initializer)}
            made |= {name for inner in graph.node for name in inner.output}
            read = (name for inner in graph.node for name in inputs_of(inner))
            yield from (name for name in (*read, *(out.name for out in graph.output)) if name not in made)
