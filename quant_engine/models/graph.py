"""What a model computes, operator by operator, and between which values the results lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quant_engine.models.layer import Range, Shape

INPUT = "input"
Attributes = Mapping[str, Any]
NOTHING: Attributes = {}
ANYTHING: Range = (-math.inf, math.inf)
UNMOVED = frozenset({"max_pool", "flatten", "average_pool"})  # what gives nothing outside of what it takes
SHARES = frozenset({"Sigmoid", "sigmoid()", "Softmax", "softmax()"})  # what gives numbers from 0 to 1


@dataclass(frozen=True)
class Node:
    """One operator of a graph.

    Attributes:
        name: its own in the graph.
        op: "input", "conv2d", "linear", "clamp" (`low`, `high`: also ReLU and ReLU6), "max_pool" and "average_pool"
            (`size`, `stride`, `padding`, each by rows and columns), "add" (of two tensors of one shape), "flatten"
            (of all but the samples); of any other operator what torch calls it, such as "Sigmoid" or "softmax()".
        inputs: names of the nodes whose outputs it takes.
        shape: that of what it gives for one sample.
        module: the name of the module that it is, if it is one.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: Shape
    module: str = ""
    attributes: Attributes = field(default_factory=dict)

    def __str__(self) -> str:
        """Say which operator it is, for messages."""
        return f"{self.op} {self.module or self.name!r}"


@dataclass(frozen=True)
class Graph:
    """The operators of a model with one input and one output, each behind those that it takes from."""

    nodes: Mapping[str, Node]
    output: str

    @property
    def used(self) -> tuple[Node, ...]:
        """The nodes of which the output is made, in order."""
        needed = {self.output}
        for node in reversed(list(self.nodes.values())):
            if node.name in needed:
                needed.update(node.inputs)
        return tuple(node for node in self.nodes.values() if node.name in needed)

    @property
    def input_ranges(self) -> dict[str, Range]:
        """Between which values all lies that a module receives, by its name, where the operators before it tell."""
        given: dict[str, Range] = {}
        found: dict[str, list[Range]] = {}
        for node in self.nodes.values():
            taken = hull(given[name] for name in node.inputs)
            given[node.name] = output_range(node.op, taken, node.attributes)
            if node.module:
                found.setdefault(node.module, []).append(taken)
        return {module: hull(ranges) for module, ranges in found.items()}


def output_range(op: str, taken: Range, attributes: Attributes = NOTHING) -> Range:
    """Return between which values all lies that an operator gives of values in a range.

    >>> output_range("clamp", (-1.0, math.inf), {"low": 0.0, "high": 6.0})
    (0.0, 6.0)
    """
    if op == "clamp":
        low, high = (min(max(end, attributes["low"]), attributes["high"]) for end in taken)
        return low, high
    if op in SHARES:
        return 0.0, 1.0
    if op == "average_pool" and attributes["padding"] != (0, 0):
        return hull([taken, (0.0, 0.0)])
    return taken if op in UNMOVED else ANYTHING


def hull(ranges: Iterable[Range]) -> Range:
    """Return the range that holds some; of none, that of anything."""
    listed = [*ranges] or [ANYTHING]
    return min(low for low, _ in listed), max(high for _, high in listed)
