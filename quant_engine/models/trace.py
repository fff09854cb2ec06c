"""How a module runs: its layers in order, what they receive and give, and where a run may begin and end."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quant_engine.models.layer import Shape

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Stage:
    """A part of a module that takes what the stage before gives.

    `name` is the part's; `layers` are the layers in it, and `before` all layers that have run when it begins.
    """

    name: str
    layers: tuple[str, ...]
    before: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """What runs from one stage (or the beginning) up to another (or the end), and the layers there."""

    start: int | None
    stop: int | None
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """How a module runs.

    `layers` are in the order in which they first run, those that do not run last. `shapes` are those of what a layer
    receives and gives for one sample, without the batch, where they are known.
    """

    layers: tuple[str, ...]
    stages: tuple[Stage, ...] = ()
    shapes: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The module cut at every stage that has layers in it and layers before it."""
        cuts = [i for i, stage in enumerate(self.stages) if stage.layers and stage.before]
        edges: list[tuple[int | None, tuple[str, ...]]] = [(i, self.stages[i].before) for i in cuts]
        pairs = zip([(None, ()), *edges], [*edges, (None, self.layers)], strict=True)
        return tuple(
            Span(start, stop, tuple(layer for layer in ahead if layer not in behind))
            for (start, behind), (stop, ahead) in pairs
        )


def call(module: nn.Module, inputs: Any) -> Any:
    """Call a module with a tensor, a tuple of positional arguments or a mapping of named ones."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


def shared_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module's structure that shares the memory of its parameters and buffers, without gradients."""
    from torch import nn

    memo: dict[int, Any] = {id(buffer): buffer for buffer in module.buffers()}
    memo |= {id(own): nn.Parameter(own.detach(), requires_grad=False) for own in module.parameters()}
    return copy.deepcopy(module, memo)


def trace(module: nn.Module, layers: Sequence[str], example: Any = None) -> Trace:
    """Return how a module runs, from its structure and, if an example is given, from running it once.

    The stages of an `nn.Sequential`, nested or not, are its children; those of any other module are the blocks of the
    longest chain in its lists. What lies in an `nn.ModuleList` is a chain if each of its parts runs once, one after the
    other, and receives the very tensor that the one before gave.
    """
    from torch import nn

    sequential = type(module) is nn.Sequential
    children = list(_children(module)) if sequential else []
    if example is None:
        ahead = [_inside(name, layers) for name in children]
        order = tuple(itertools.chain(*ahead)) if sequential else tuple(layers)
        return Trace(order, tuple(_stages(children, layers, lambda i: tuple(itertools.chain(*ahead[:i])))))
    lists = [name for name, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part) > 1]
    chains = [[f"{name}.{i}" for i, _ in enumerate(module.get_submodule(name).children())] for name in lists]
    run = watched(shared_copy(module), {*layers, *itertools.chain(*chains)}, example)
    calls = [name for name, _, _ in run]
    order = tuple(dict.fromkeys([*(name for name in calls if name in layers), *layers]))
    shapes = {name: (tuple(given.shape[1:]), tuple(result.shape[1:])) for name, given, result in run if name in layers}
    if sequential:
        return Trace(order, trace(module, layers).stages, shapes)
    chain = max((parts for parts in chains if _is_chain(parts, run)), key=len, default=[])

    def before(i: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in calls[: calls.index(chain[i])] if name in layers))

    return Trace(order, tuple(_stages(chain, layers, before)), shapes)


def _stages(names: Sequence[str], layers: Sequence[str], before: Any) -> Iterator[Stage]:
    for i, name in enumerate(names):
        yield Stage(name, _inside(name, layers), before(i))


def _children(module: nn.Module, prefix: str = "") -> Iterator[str]:
    from torch import nn

    for name, part in module.named_children():
        if type(part) is nn.Sequential:
            yield from _children(part, f"{prefix}{name}.")
        else:
            yield prefix + name


def _inside(stage: str, layers: Sequence[str]) -> tuple[str, ...]:
    return tuple(layer for layer in layers if layer == stage or layer.startswith(f"{stage}."))


def watched(module: nn.Module, parts: set[str], example: Any) -> list[tuple[str, Any, Any]]:
    """Run a module and return its parts in the order in which they began, with what each received first and gave."""
    import torch

    run: list[tuple[str, Any, Any]] = []

    def watch(name: str, part: nn.Module) -> None:
        begun: list[int] = []

        def entered(_: nn.Module, args: tuple[Any, ...]) -> None:
            begun.append(len(run))
            run.append((name, args[0] if args else None, None))

        def left(_: nn.Module, __: Any, result: Any) -> None:
            at = begun.pop()
            run[at] = (*run[at][:2], result)

        part.register_forward_pre_hook(entered)
        part.register_forward_hook(left)

    for name in parts:
        watch(name, module.get_submodule(name))
    with torch.no_grad():
        call(module, example)
    return run


def _is_chain(parts: Sequence[str], run: Sequence[tuple[str, Any, Any]]) -> bool:
    import torch

    ran = [(name, given, result) for name, given, result in run if name in parts]
    joined = all(isinstance(one[2], torch.Tensor) and other[1] is one[2] for one, other in itertools.pairwise(ran))
    return joined and [name for name, _, _ in ran] == list(parts)
