"""Reading a torch module as a graph, as `torch.fx` records it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_engine.errors import QuantError
from quant_engine.models.graph import INPUT, NOTHING, Attributes, Graph, Node
from quant_engine.models.layer import Shape

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

Known = tuple[str, Attributes]
SAME: Known = ("same", NOTHING)  # what changes nothing
TRACING = threading.Lock()  # one at a time: torch.fx replaces methods of nn.Module itself while it records


def read_graph(module: nn.Module, example: Tensor) -> Graph:
    """Return what a module in evaluation mode computes of a batch of one tensor, of which an example is given.

    What changes nothing (`Identity`, `Dropout`, a reshape to the same shape) is no node.

    Raises:
        QuantError: for what torch.fx cannot record or run, and for several inputs or outputs.
    """
    name, traced = type(module).__name__, _traced(module)
    given = [node for node in traced.graph.nodes if node.op == "placeholder"]
    if len(given) != 1:
        raise QuantError(f"{name} takes {', '.join(node.name for node in given)}; a graph is read of one input")
    _find_shapes(traced, example)
    nodes: dict[str, Node] = {}
    names = _Names()
    for found in traced.graph.nodes:
        if found.op == "output":
            if not hasattr(found.args[0], "meta"):
                raise QuantError(f"{name} gives several outputs; a graph is read of one")
            return Graph(nodes, names.of(_first(found)))
        if _shape(found) is None:
            continue  # a size
        node = _node(traced, found, names)
        if node is None:
            names.replace(found, names.of(_first(found)))
            continue
        nodes[node.name] = node
        if _in_place(traced, found):
            names.replace(_first(found), node.name)
    raise AssertionError(name)


def _find_shapes(traced: fx.GraphModule, example: Tensor) -> None:
    """Run what was traced on zeros, so that each node knows the shape of what it gives."""
    import torch
    from torch.fx.passes.shape_prop import ShapeProp

    try:
        with torch.inference_mode():
            ShapeProp(traced).propagate(torch.zeros(2, *example.shape[1:], dtype=example.dtype))
    except Exception as error:  # whatever the module's own code makes of zeros
        raise QuantError(f"what torch.fx has recorded does not run on zeros: {error}") from error


class _Names:
    """The node that stands for each of torch's: what changes nothing is none, what is overwritten is another."""

    def __init__(self) -> None:
        self._instead: dict[str, str] = {}

    def of(self, node: fx.Node) -> str:
        name = node.name
        while name in self._instead:
            name = self._instead[name]
        return name

    def replace(self, node: fx.Node, name: str) -> None:
        self._instead[self.of(node)] = name


def _first(node: fx.Node) -> fx.Node:
    """Return the node that a node takes, or takes first."""
    return node.all_input_nodes[0]


def _in_place(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node overwrites what it takes."""
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    named = node.target if isinstance(node.target, str) else node.target.__name__
    return bool(node.kwargs.get("inplace", False)) or named == "iadd" or (named[-1:] == "_" and named[-2:] != "__")


def _traced(module: nn.Module) -> fx.GraphModule:
    from torch import fx

    known, thread = tuple(_modules()), threading.get_ident()

    class Tracer(fx.Tracer):
        """Takes modules of known kinds as they are, also those that compute in a way of their own.

        Modules that other threads run meanwhile are not recorded.
        """

        def call_module(
            self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Any:
            mine = threading.get_ident() == thread
            return super().call_module(m, forward, args, kwargs) if mine else forward(*args, **kwargs)

        def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
            mine = threading.get_ident() == thread
            return super().getattr(attr, attr_val, parameter_proxy_cache) if mine else attr_val

        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, known) or super().is_leaf_module(m, module_qualified_name)

    try:
        with TRACING:
            return fx.GraphModule(module, Tracer().trace(module))
    except Exception as error:  # whatever the module's own code makes of a tensor that has no values
        raise QuantError(
            f"torch.fx cannot record what {type(module).__name__} computes: {error}; its forward must not depend on "
            "values"
        ) from error


def _node(traced: fx.GraphModule, found: fx.Node, names: _Names) -> Node | None:
    """Return a node, or None for what changes nothing."""
    given = {names.of(one): shape for one in found.all_input_nodes if (shape := _shape(one)) is not None}
    shape = _shape(found)
    assert shape is not None
    module = str(found.target) if found.op == "call_module" else ""
    if found.op == "placeholder":
        return Node(found.name, INPUT, (), shape)
    if found.op == "call_module":
        part = traced.get_submodule(module)
        read = _reading(part)
        known, named = read(part, next(iter(given.values())), shape) if read else None, type(part).__name__
    else:
        target = found.target if isinstance(found.target, str) else found.target.__name__
        reads = _functions().get(target.strip("_")) if found.op != "get_attr" else None
        known, named = reads(_Call(found, [*given.values()], shape)) if reads else None, f"{target}()"
    if known == SAME:
        return None
    op, attributes = known or (named, NOTHING)
    return Node(found.name, op, _taken(found, names), shape, module, attributes)


def _taken(node: fx.Node, names: _Names) -> tuple[str, ...]:
    """Return what a node takes, as often as it takes it."""
    places = [one for one in node.args if one in node.all_input_nodes and _shape(one) is not None]
    return tuple(names.of(one) for one in places)  # type: ignore[arg-type]


def _shape(node: Any) -> Shape | None:
    """Return the shape of what a node gives for one sample, None for what is no tensor."""
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape[1:]) if hasattr(meta, "shape") else None


@dataclass(frozen=True)
class _Call:
    """A call of a function or method: the shapes of the tensors it takes, and of what it gives."""

    node: fx.Node
    shapes: list[Shape]
    shape: Shape

    def argument(self, at: int, name: str, default: Any = None) -> Any:
        """Return an argument by place or name."""
        return self.node.args[at] if len(self.node.args) > at else self.node.kwargs.get(name, default)


def _reading(part: nn.Module) -> Callable[[Any, Shape, Shape], Known | None] | None:
    """Return how to read a module; one that computes otherwise than its kind is read only if it is a pool."""
    from torch import nn

    for kind, read in _modules().items():
        if isinstance(part, kind):
            own = type(part).forward is not kind.forward  # type: ignore[attr-defined]
            return None if own and kind not in (nn.MaxPool2d, nn.AdaptiveAvgPool2d) else read
    return None


def _modules() -> dict[type, Callable[[Any, Shape, Shape], Known | None]]:
    """Return how to read each kind of module, given what shapes it takes and gives."""
    from torch import nn

    return {
        nn.Conv2d: lambda part, given, shape: ("conv2d", NOTHING) if part.padding_mode == "zeros" else None,
        nn.Linear: lambda part, given, shape: ("linear", NOTHING) if len(given) == 1 else None,
        nn.ReLU: lambda part, given, shape: _clamp(0.0, math.inf),
        nn.Hardtanh: lambda part, given, shape: _clamp(part.min_val, part.max_val),  # ReLU6 is one
        nn.MaxPool2d: lambda part, given, shape: _max_pool(
            given, shape, part.kernel_size, part.stride, part.padding, part.dilation
        ),
        nn.AvgPool2d: lambda part, given, shape: _average_pool(
            given, shape, part.kernel_size, part.stride, part.padding, part.count_include_pad, part.divisor_override
        ),
        nn.AdaptiveAvgPool2d: lambda part, given, shape: _adaptive(given, shape),
        nn.Flatten: lambda part, given, shape: _reshape(given, shape),
        nn.Identity: lambda part, given, shape: SAME,
        nn.Dropout: lambda part, given, shape: SAME,
        nn.Dropout2d: lambda part, given, shape: SAME,
    }


def _functions() -> dict[str, Callable[[_Call], Known | None]]:
    """Return how to read each function and method, by the name that torch gives it."""

    def reshape(call: _Call) -> Known | None:
        return _reshape(call.shapes[0], call.shape)

    def clamp(call: _Call) -> Known | None:
        return _bounds(call.argument(1, "min"), call.argument(2, "max"))

    def max_pool(call: _Call) -> Known | None:
        given = ((1, "kernel_size", None), (2, "stride", None), (3, "padding", 0), (4, "dilation", 1))
        return _max_pool(call.shapes[0], call.shape, *(call.argument(*one) for one in given))

    def average_pool(call: _Call) -> Known | None:
        counts, divisor = call.argument(5, "count_include_pad", True), call.argument(6, "divisor_override")
        given = ((1, "kernel_size", None), (2, "stride", None), (3, "padding", 0))
        size, stride, padding = (call.argument(*one) for one in given)
        return _average_pool(call.shapes[0], call.shape, size, stride, padding, counts, divisor)

    return {
        "relu": lambda call: _clamp(0.0, math.inf),
        "relu6": lambda call: _clamp(0.0, 6.0),
        "hardtanh": lambda call: _bounds(call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0)),
        "clamp": clamp,
        "clip": clamp,
        "add": _add,
        "iadd": _add,
        "flatten": reshape,
        "view": reshape,
        "reshape": reshape,
        "squeeze": reshape,
        "contiguous": reshape,
        "dropout": reshape,
        "mean": _mean,
        "max_pool2d": max_pool,
        "avg_pool2d": average_pool,
        "adaptive_avg_pool2d": lambda call: _adaptive(call.shapes[0], call.shape),
    }


def _clamp(low: float, high: float) -> Known:
    return "clamp", {"low": float(low), "high": float(high)}


def _bounds(low: Any, high: Any) -> Known | None:
    if not all(end is None or isinstance(end, int | float) for end in (low, high)):
        return None
    return _clamp(-math.inf if low is None else low, math.inf if high is None else high)


def _add(call: _Call) -> Known | None:
    alike = len(call.node.args) == 2 and all(hasattr(one, "meta") for one in call.node.args)
    return ("add", NOTHING) if alike and not call.node.kwargs and set(call.shapes) == {call.shape} else None


def _reshape(given: Shape, shape: Shape) -> Known | None:
    if given == shape:
        return SAME
    return ("flatten", NOTHING) if shape == (math.prod(given),) else None


def _mean(call: _Call) -> Known | None:
    axes = call.argument(1, "dim")
    given = call.shapes[0]
    if len(given) != 3 or not isinstance(axes, tuple | list) or sorted(axis % 4 for axis in axes) != [2, 3]:
        return None
    return _pool("average_pool", given[1:], given[1:], 0)


def _adaptive(given: Shape, shape: Shape) -> Known | None:
    sizes = tuple(whole // part for whole, part in zip(given[1:], shape[1:], strict=True))
    even = all(size * part == whole for size, part, whole in zip(sizes, shape[1:], given[1:], strict=True))
    return _pool("average_pool", sizes, sizes, 0) if even else None


def _max_pool(given: Shape, shape: Shape, size: Any, stride: Any, padding: Any, dilation: Any) -> Known | None:
    found = _pool("max_pool", size, stride, padding)
    return found if _pair(dilation) == (1, 1) and _rounds_down(found, given, shape) else None


def _average_pool(
    given: Shape, shape: Shape, size: Any, stride: Any, padding: Any, counts_padding: bool, divisor: Any
) -> Known | None:
    found = _pool("average_pool", size, stride, padding)
    plain = divisor is None and (counts_padding or _pair(padding) == (0, 0))
    return found if plain and _rounds_down(found, given, shape) else None


def _pool(op: str, size: Any, stride: Any, padding: Any) -> Known:
    steps = _pair(size if stride is None or stride == [] else stride)
    return op, {"size": _pair(size), "stride": steps, "padding": _pair(padding)}


def _rounds_down(pool: Known, given: Shape, shape: Shape) -> bool:
    """Return whether the last window lies within the frame."""
    sizes, strides, paddings = (pool[1][name] for name in ("size", "stride", "padding"))
    ends = zip(given[1:], sizes, strides, paddings, strict=True)
    return shape[1:] == tuple((whole + 2 * padding - size) // stride + 1 for whole, size, stride, padding in ends)


def _pair(number: Any) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else (int(number[0]), int(number[1]))
