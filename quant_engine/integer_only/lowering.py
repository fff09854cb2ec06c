"""From a graph of operators to integer steps, pulled from its output: what a layer takes is coded as the plan says.

Between layers, numbers are int32 sums with a real step for each channel: a layer's, an average's, an addition's. They
become codes where a layer takes them. ReLU and ReLU6 are in the clamp of that requantization; max pooling, which only
compares, is done with the codes. The two sides of an addition are brought to one step, so fine that what they can be at
most takes 29 bits; no 8 bits lie between a sum and what is added to it, as none do in simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.integer_only.accumulator import WORD, Bounds
from quant_engine.integer_only.fixed_point import multipliers_of
from quant_engine.integer_only.layer_codes import LayerInput, LayerWeight, with_room_for_bias
from quant_engine.integer_only.steps import (
    Add,
    AddUp,
    AddWindows,
    Clamp,
    FlattenCodes,
    IntegerStep,
    Largest,
    MultiplyAccumulate,
    Requantize,
    Rescale,
)
from quant_engine.models import Graph, Layer, Node

IMAGES = -1
LAYERS = ("conv2d", "linear")
ADDED_BITS = 29  # of what is added and what comes out, at most
LARGEST_MULTIPLIED = 1 << 30  # of logits, which no clamp follows: the largest is doubled before it is multiplied
OPERATORS = "conv2d, linear, ReLU, ReLU6, max and average pooling, addition, flatten"
Ends = tuple[float, float]
ANYTHING: Ends = (-math.inf, math.inf)
RELU: Ends = (0.0, math.inf)


@dataclass(frozen=True, eq=False)
class Value:
    """What int32 numbers stand for: the step that gives them, what one of each channel's is, and what they can be.

    `ends` are real numbers that they are still to be clamped to. `chosen`: the step is finer than it need be.
    """

    source: int
    step: NDArray[np.float64]
    bounds: Bounds
    ends: Ends = ANYTHING
    chosen: bool = False


class Lowering:
    """The steps so far, with where each takes its numbers from."""

    def __init__(
        self,
        graph: Graph,
        layers: Mapping[str, Layer],
        inputs: Mapping[str, LayerInput],
        weight: Callable[[str], LayerWeight],
        once: bool,
    ) -> None:
        """Start with nothing; `once`: products are rounded once."""
        self._graph, self._layers, self._inputs, self._weight, self._once = graph, layers, inputs, weight, once
        self.steps: list[IntegerStep] = []
        self.sources: list[tuple[int, ...]] = []
        self.scales: dict[str, tuple[float, NDArray[np.float64]]] = {}
        self.input_quantizer: LayerInput | None = None
        self._values: dict[str, Value] = {}
        self._codes: dict[tuple[str, str, Ends], int] = {}

    def finish(self) -> float:
        """Compile what the output is made of, bring it to one scale, and return that."""
        for node in self._graph.used:
            if node.op in LAYERS:  # one after the other; what lies between two is pulled by the later one
                self._value(node.name)
        value = self._clamped(self._value(self._graph.output))
        largest = float(value.step.max())
        if (value.step == largest).all():
            return largest
        bounds = value.bounds
        if max(int(bounds.high.max()), -int(bounds.low.min())) >= LARGEST_MULTIPLIED:
            raise QuantError(
                f"layer {bounds.name!r}, channel {bounds.channel}: logits of up to {bounds.bits} bits cannot be "
                "brought to one scale in 32; give its weight one scale for all channels"
            )
        self._emit(Rescale(*multipliers_of(bounds.name, value.step / largest), self._once), value.source)
        return largest

    def _emit(self, step: IntegerStep, *sources: int) -> int:
        self.steps.append(step)
        self.sources.append(sources)
        return len(self.steps) - 1

    def _node(self, name: str) -> Node:
        return self._graph.nodes[name]

    def _code(self, name: str, layer: str, ends: Ends = ANYTHING) -> int:
        """Return the step that gives a node's output, clamped, as the codes that a layer takes."""
        key = name, layer, ends
        if key not in self._codes:
            self._codes[key] = self._new_code(self._node(name), layer, ends)
        return self._codes[key]

    def _new_code(self, node: Node, layer: str, ends: Ends) -> int:
        wanted = self._inputs[layer]
        if node.op == "input":
            return self._input(node, layer, ends)
        if node.op == "clamp":
            return self._code(node.inputs[0], layer, _within(_ends(node), ends))
        if node.op == "max_pool":
            return self._emit(_largest(node), self._code(node.inputs[0], layer, ends))
        if node.op == "flatten":
            return self._emit(FlattenCodes(node.module or node.name), self._code(node.inputs[0], layer, ends))
        value = self._value(node.name)
        multiplier, shift = multipliers_of(value.bounds.name, value.step / wanted.scale)
        low, high = (wanted.code(end) for end in _within(value.ends, ends))
        step = Requantize(multiplier, shift, self._once, wanted.zero_point, low, high)
        return self._emit(step, value.source)

    def _input(self, node: Node, layer: str, ends: Ends) -> int:
        """Return the codes of the images, which come in as the first layer takes them."""
        wanted = self._inputs[layer]
        self.input_quantizer = self.input_quantizer or wanted
        alike = (self.input_quantizer.scale, self.input_quantizer.zero_point, self.input_quantizer.max_code)
        if (wanted.scale, wanted.zero_point, wanted.max_code) != alike:
            raise QuantError(
                f"layer {layer!r} codes the model's input otherwise than another layer does, but it comes in once; "
                "give them the same activation"
            )
        if ends != ANYTHING:
            raise QuantError(f"layer {layer!r} takes the model's input clamped; clamp it before it is quantized")
        return IMAGES

    def _value(self, name: str) -> Value:
        """Return a node's output as int32."""
        if name not in self._values:
            node = self._node(name)
            lower = {
                "conv2d": self._layer,
                "linear": self._layer,
                "clamp": self._clamp,
                "average_pool": self._average,
                "max_pool": self._pool,
                "add": self._add,
                "flatten": self._flatten,
            }.get(node.op)
            if lower is None:
                raise _refusal(node)
            self._values[name] = lower(node)
        return self._values[name]

    def _layer(self, node: Node) -> Value:
        layer = self._layers[node.module]
        if layer.op == "conv2d" and max(layer.dilation) > 1:
            raise QuantError(f"layer {layer.name!r} has dilation {layer.dilation}; integer-only has none but 1")
        given = self._inputs[layer.name]
        source = self._code(node.inputs[0], layer.name)
        weight = with_room_for_bias(layer.name, self._weight(layer.name), given.scale, node.name != self._logits)
        step = given.scale * weight.scale
        bias = np.rint(weight.bias / step).astype(np.int32)
        placed = (layer.groups, layer.stride, layer.padding) if layer.op == "conv2d" else ()
        found = MultiplyAccumulate(layer.name, weight.codes, bias, given.zero_point, given.max_code, *placed)
        validate_width(found.bounds)
        self.scales[layer.name] = given.scale, step
        return Value(self._emit(found, source), step, found.bounds)

    @property
    def _logits(self) -> str:
        """The node that gives the logits, behind what only reshapes and clamps them."""
        node = self._node(self._graph.output)
        while node.op in ("flatten", "clamp"):
            node = self._node(node.inputs[0])
        return node.name

    def _clamp(self, node: Node) -> Value:
        value = self._value(node.inputs[0])
        return replace(value, ends=_within(value.ends, _ends(node)))

    def _clamped(self, value: Value) -> Value:
        """Return a value with nothing left to clamp."""
        if value.ends == ANYTHING:
            return value
        limit = (1 << WORD - 1) - 1
        low, high = (np.clip(np.rint(end / value.step), -limit - 1, limit).astype(np.int64) for end in value.ends)
        bounds = Bounds(value.bounds.name, value.bounds.low.clip(low, high), value.bounds.high.clip(low, high))
        source = self._emit(Clamp(low.astype(np.int32), high.astype(np.int32)), value.source)
        return replace(value, source=source, bounds=bounds, ends=ANYTHING)

    def _average(self, node: Node) -> Value:
        size, padding = node.attributes["size"], node.attributes["padding"]
        places, name = math.prod(size), node.module or node.name
        value = self._with_room(self._value(node.inputs[0]), places)
        relu = value.ends == RELU
        value = value if relu else self._clamped(value)
        low, high = value.bounds.low, value.bounds.high
        low, high = (np.zeros_like(low), np.maximum(high, 0)) if relu else (low, high)
        if padding != (0, 0):
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        bounds = Bounds(name, places * low, places * high)
        validate_width(bounds)
        whole = size == self._node(node.inputs[0]).shape[1:] and padding == (0, 0)
        if whole:
            return Value(self._emit(AddUp(name, bounds, relu), value.source), value.step / places, bounds)
        value = self._clamped(value)
        source = self._emit(AddWindows(name, bounds, size, node.attributes["stride"], padding), value.source)
        return Value(source, value.step / places, bounds)

    def _pool(self, node: Node) -> Value:
        value = self._value(node.inputs[0])
        return replace(value, source=self._emit(_largest(node), value.source))

    def _flatten(self, node: Node) -> Value:
        """Return the same numbers, each with the step of its channel."""
        value = self._value(node.inputs[0])
        many = node.shape[0] // len(value.step)
        bounds = Bounds(value.bounds.name, *(np.repeat(end, many) for end in (value.bounds.low, value.bounds.high)))
        source = self._emit(FlattenCodes(node.module or node.name), value.source)
        return replace(value, source=source, step=np.repeat(value.step, many), bounds=bounds)

    def _add(self, node: Node) -> Value:
        name = node.module or node.name
        sides = [self._clamped(self._value(given)) for given in node.inputs]
        reach = sum(float((_largest_sum(side.bounds) * side.step).max()) for side in sides)
        step = reach / (1 << ADDED_BITS) if reach else 1.0
        rescaled = [self._rescaled(side, step) for side in sides]
        low, high = (
            np.add(*both) for both in zip(*((one.bounds.low, one.bounds.high) for one in rescaled), strict=True)
        )
        bounds = Bounds(name, low, high)
        source = self._emit(Add(name, bounds), *(one.source for one in rescaled))
        return Value(source, rescaled[0].step, bounds, chosen=True)

    def _with_room(self, value: Value, many: int) -> Value:
        """Return a value of which so many can be added up in 32 bits, in coarser steps if its own were chosen."""
        reach = float((_largest_sum(value.bounds) * value.step).max()) * many
        step = reach / (1 << ADDED_BITS)
        return self._rescaled(value, step) if value.chosen and step > value.step.max() else value

    def _rescaled(self, value: Value, step: float) -> Value:
        """Return a value in other steps, the same for all channels."""
        factor = np.where(_largest_sum(value.bounds) > 0, value.step / step, 0.0)
        multiplier, shift = multipliers_of(value.bounds.name, factor)
        ends = (
            np.floor(value.bounds.low * factor) - 1,
            np.ceil(value.bounds.high * factor) + 1,
        )  # what rounds is within 1
        bounds = Bounds(value.bounds.name, *(end.astype(np.int64) for end in ends))
        source = self._emit(Rescale(multiplier, shift, self._once), value.source)
        return replace(value, source=source, step=np.full(len(factor), step), bounds=bounds)


def validate_width(bounds: Bounds) -> None:
    """Check that no sum can leave 32 bits."""
    if bounds.bits > WORD:
        low, high = int(bounds.low[bounds.channel]), int(bounds.high[bounds.channel])
        raise QuantError(
            f"layer {bounds.name!r}, channel {bounds.channel}: its sums can reach from {low} to {high}, which needs "
            f"{bounds.bits} bits; the accumulator has {WORD}. Use fewer bits, or a smaller bias"
        )


def _refusal(node: Node) -> QuantError:
    if node.op == "input":
        return QuantError(
            "integers know the model's input only as the codes of its first layer; it cannot be added, averaged or "
            "returned as it is"
        )
    return QuantError(f"{node} is no operator of integers; these are {OPERATORS}")


def _largest_sum(bounds: Bounds) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.maximum(np.abs(bounds.low), np.abs(bounds.high))
    return found


def _ends(node: Node) -> Ends:
    return node.attributes["low"], node.attributes["high"]


def _within(first: Ends, then: Ends) -> Ends:
    """Return the clamp that does what two do one after the other."""
    low, high = (min(max(end, then[0]), then[1]) for end in first)
    return low, high


def _largest(node: Node) -> Largest:
    return Largest(node.module or node.name, *(node.attributes[name] for name in ("size", "stride", "padding")))
