"""The parts of a module that follow each other, joined by a single tensor: where a run may begin and end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


def call(module: nn.Module, inputs: Any) -> Any:
    """Call a module with a tensor, a tuple of positional arguments or a mapping of named ones."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


def spans_of(stages: Sequence[Stage], layers: Sequence[str]) -> tuple[Span, ...]:
    """Return a model cut at every stage that has layers in it and layers before it."""
    cuts = [i for i, stage in enumerate(stages) if stage.layers and stage.before]
    edges: list[tuple[int | None, tuple[str, ...]]] = [(i, stages[i].before) for i in cuts]
    pairs = zip([(None, ()), *edges], [*edges, (None, tuple(layers))], strict=True)
    return tuple(
        Span(start, stop, tuple(layer for layer in ahead if layer not in behind))
        for (start, behind), (stop, ahead) in pairs
    )


def find_stages(
    module: nn.Module, layers: Sequence[str], example: Any = None
) -> tuple[tuple[str, ...], tuple[Stage, ...]]:
    """Return the layers in the order in which they first run, and a module's stages.

    These are the children of an `nn.Sequential`, nested or not, or the blocks of the longest chain in a module's lists.
    What lies in an `nn.ModuleList` is a chain if, when the module runs on `example`, each of its parts runs once, one
    after the other, and receives the very tensor that the one before gave. Layers that do not run come last.
    """
    from torch import nn

    if type(module) is not nn.Sequential:
        return _traced(module, tuple(layers), example) if example is not None else (tuple(layers), ())
    stages: list[Stage] = []
    before: tuple[str, ...] = ()
    for name in _children(module):
        inside = _inside(name, layers)
        stages.append(Stage(name, inside, before))
        before += inside
    return before, tuple(stages)


def _children(module: nn.Module, prefix: str = "") -> Iterator[str]:
    from torch import nn

    for name, part in module.named_children():
        if type(part) is nn.Sequential:
            yield from _children(part, f"{prefix}{name}.")
        else:
            yield prefix + name


def _inside(stage: str, layers: Sequence[str]) -> tuple[str, ...]:
    return tuple(layer for layer in layers if layer == stage or layer.startswith(f"{stage}."))


def _traced(module: nn.Module, layers: tuple[str, ...], example: Any) -> tuple[tuple[str, ...], tuple[Stage, ...]]:
    import torch
    from torch import nn

    lists = [name for name, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part) > 1]
    chains = [[f"{name}.{i}" for i in range(len(module.get_submodule(name)))] for name in lists]  # type: ignore[arg-type]
    calls: list[str] = []
    given: dict[str, Any] = {}
    results: dict[str, Any] = {}

    def entered(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            calls.append(name)
            given[name] = args[0] if args else None

        return hook

    def left(name: str) -> Any:
        def hook(_: nn.Module, __: Any, result: Any) -> None:
            results[name] = result

        return hook

    for name in {*layers, *(part for chain in chains for part in chain)}:
        module.get_submodule(name).register_forward_pre_hook(entered(name))
        module.get_submodule(name).register_forward_hook(left(name))
    with torch.no_grad():
        call(module, example)

    def is_chain(parts: list[str]) -> bool:
        once = all(calls.count(part) == 1 for part in parts)
        joined = once and all(
            isinstance(results[a], torch.Tensor) and given[b] is results[a] for a, b in itertools.pairwise(parts)
        )
        return joined and sorted(parts, key=calls.index) == parts

    chain = max(filter(is_chain, chains), key=len, default=[])
    order = tuple(dict.fromkeys([*(name for name in calls if name in layers), *layers]))
    return order, tuple(Stage(name, _inside(name, order), _ahead(name, calls, layers)) for name in chain)


def _ahead(stage: str, calls: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in calls[: calls.index(stage)] if name in layers))
