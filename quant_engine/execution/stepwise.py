"""One run of a model from stage to stage, so that whoever waits sees how far it is and may leave it there."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from quant_engine.execution.executor import Executor
from quant_engine.execution.tensors import as_tensors
from quant_engine.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor


def stepwise(executor: Executor, inputs: Inputs, part: str | None = None) -> Generator[float, None, Any]:
    """Yield the share of the layers that have run, stage by stage, and return what the model gives.

    With a `part`, a layer's name, the run ends there and returns what the layer receives. The bits are those of a run
    in one piece.

    Raises:
        QuantError: as `Executor.run`, and if the model does not run the layer.

    Example:
        >>> import torch
        >>> from quant_engine.execution import TorchExecutor
        >>> from quant_engine.models import trace
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        >>> executor = TorchExecutor(module, trace(module, ["0", "1"]))
        >>> [*stepwise(executor, torch.ones(1, 2).numpy())]
        [0.5]
    """
    import torch

    spans = executor.trace.spans
    last = next((i for i, span in enumerate(spans) if part in span.layers), len(spans) - 1)
    total, done = sum(len(span.layers) for span in spans[: last + 1]), 0
    at: tuple[int, Tensor] | None = None
    for span in spans[:last]:
        assert span.stop is not None  # of all but the last of all
        with torch.inference_mode():  # not around the loop: whoever takes the shares would run in it too
            at = span.stop, executor.run(as_tensors(inputs), start=at, stop=span.stop)
        done += len(span.layers)
        yield done / total
    with torch.inference_mode():
        if part is None:
            return executor.run(as_tensors(inputs), start=at)
        return executor.capture(as_tensors(inputs), [part], start=at)[part]
