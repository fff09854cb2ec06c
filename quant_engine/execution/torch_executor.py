"""Runs any torch module with some of its layers changed, and shows what its parts receive.

Each call works on a structural copy of the module that shares its parameters and buffers: the module itself is never
touched.

*Stages* are parts of a module that follow each other, each of which takes the one tensor that the part before gives:
the children of an `nn.Sequential`, nested or not, or the blocks of an `nn.ModuleList` (`trace`). A call may begin
at a stage, given what it receives: the parts before it are not run. It may end before a stage, with what that would
receive. Any other module has none and always runs as a whole.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from quant_engine.errors import QuantError
from quant_engine.execution.executor import NOTHING, Executor, Override, ReachedError, Tap
from quant_engine.models import Layer, Stage, Trace, call, shared_copy, ties

if TYPE_CHECKING:
    from torch import Tensor, nn

PATCHING = threading.RLock()  # one for all modules, so that two threads that patch several cannot wait for each other


class TorchExecutor(Executor):
    """Runs a module in evaluation mode; safe to call from several threads.

    Inputs are a tensor, a tuple of positional arguments or a mapping of named ones.

    Example:
        >>> import torch
        >>> from quant_engine.models import trace
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
        >>> executor, x = TorchExecutor(module, trace(module, ["0"])), torch.ones(1, 2)
        >>> executor.run(x, {"0": Override(3 * torch.eye(2))}).tolist()
        [[3.0, 3.0]]
        >>> seen = []
        >>> _ = executor.run(x, {"0": Override(3 * torch.eye(2))}, taps={"1": seen.append})
        >>> seen[0].tolist()
        [[3.0, 3.0]]
    """

    def __init__(self, module: nn.Module, how: Trace) -> None:
        """Keep the module and how it runs (`trace`)."""
        self._module, self.trace = module.eval(), how
        self._idle: list[nn.Module] = []
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
        """Return what the module makes of its inputs.

        `start` is a stage's number and what it receives; the stages before it are not run. With `stop`, a later stage's
        number, the result is what that stage receives. Gradients flow into overrides, unless the caller turns them off.
        """
        with self._borrowed() as module, contextlib.ExitStack() as undo:
            if start is not None:
                _enter(module.get_submodule(self.trace.stages[start[0]].name), start[1], undo)
            _listen(module, taps, undo)
            skipped = () if start is None else self.trace.stages[: start[0]]
            idle = {layer for stage in skipped for layer in stage.layers}
            _override(module, {name: other for name, other in overrides.items() if name not in idle}, undo)
            if start is not None:
                _skip(module, skipped, start[1], undo)
            if stop is not None:
                part = module.get_submodule(self.trace.stages[stop].name)
                undo.callback(part.register_forward_pre_hook(_end_here).remove)
            try:
                return call(module, inputs)
            except ReachedError as reached:
                return reached.value
            except (RuntimeError, IndexError) as error:  # torch's: shapes, types, tokens beyond the vocabulary
                raise QuantError(f"{type(module).__name__} does not run on {_described(inputs)}: {error}") from error

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[nn.Module]:
        """Lend a copy of the module that nobody else uses meanwhile."""
        with self._lock:
            module = self._idle.pop() if self._idle else None
        module = module if module is not None else shared_copy(self._module)
        try:
            yield module
        finally:
            with self._lock:
                self._idle.append(module)


@contextlib.contextmanager
def patched(module: nn.Module, layers: Mapping[str, Layer], overrides: Mapping[str, Override]) -> Iterator[nn.Module]:
    """Change a module itself as overrides say, and change it back at the end, whatever happens before.

    Weights and biases become parameters, one for layers that share a weight. Another thread that wants to patch any
    module waits; the same thread may patch again what it has patched.
    """
    from torch import nn

    with PATCHING, contextlib.ExitStack() as undo:
        shared = {user: own for own, users in ties(layers).items() for user in users}
        weights: dict[str, nn.Parameter] = {}
        lasting = {}
        for name, override in overrides.items():
            own = module.get_parameter(f"{name}.weight")
            weight, bias = (
                None if other is None else nn.Parameter(other.to(own), requires_grad=False)
                for other in (override.weight, override.bias)
            )
            if weight is not None:
                weight = weights.setdefault(shared[name], weight)
            lasting[name] = Override(weight, bias, override.input, override.output)
        _override(module, lasting, undo)
        yield module


def _described(inputs: Any) -> str:
    """Return shapes and types of inputs."""
    parts = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else [inputs]
    return "inputs of " + ", ".join(f"shape {tuple(part.shape)} and {part.dtype}" for part in parts)


def _end_here(part: nn.Module, given: tuple[Any, ...]) -> None:
    raise ReachedError(given[0])


def _enter(part: nn.Module, received: Tensor, undo: contextlib.ExitStack) -> None:
    """Let the first stage that runs receive what it is given, whatever the module does before its stages."""
    undo.callback(part.register_forward_pre_hook(lambda _, given: (received, *given[1:])).remove)


def _listen(module: nn.Module, taps: Mapping[str, Tap], undo: contextlib.ExitStack) -> None:
    """Let taps hear what parts receive; called before `_override`, whose hooks then run after these."""
    for name, tap in taps.items():

        def hear(part: nn.Module, given: tuple[Any, ...], tap: Tap = tap) -> None:
            tap(given[0])

        undo.callback(module.get_submodule(name).register_forward_pre_hook(hear).remove)


def _override(module: nn.Module, overrides: Mapping[str, Override], undo: contextlib.ExitStack) -> None:
    for name, override in overrides.items():
        layer = module.get_submodule(name)
        for role, other in (("weight", override.weight), ("bias", override.bias)):
            if other is not None:
                undo.callback(layer._parameters.__setitem__, role, layer._parameters[role])
                layer._parameters[role] = other  # type: ignore[assignment]  # no Parameter: gradients go on to others
        if override.input is not None:

            def change(part: nn.Module, given: tuple[Any, ...], by: Any = override.input) -> tuple[Any, ...]:
                return by(given[0]), *given[1:]

            undo.callback(layer.register_forward_pre_hook(change).remove)
        if override.output is not None:

            def give(part: nn.Module, given: tuple[Any, ...], result: Any, by: Any = override.output) -> Any:
                return by(result)

            undo.callback(layer.register_forward_hook(give).remove)


def _skip(module: nn.Module, stages: tuple[Stage, ...], result: Tensor, undo: contextlib.ExitStack) -> None:
    """Let stages not run; the last of them gives `result`."""
    for stage in stages:
        part = module.get_submodule(stage.name)
        given = result if stage is stages[-1] else None
        undo.callback(vars(part).pop, "forward")
        vars(part)["forward"] = lambda *args, given=given, **kwargs: given
