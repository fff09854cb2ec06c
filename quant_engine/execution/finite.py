"""Whether what a model computes is finite, and which layer is the first that receives what is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import Outputs, sample_count
from quant_engine.errors import QuantError
from quant_engine.execution.executor import Executor, Override
from quant_engine.execution.tensors import as_outputs, as_tensors
from quant_engine.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor


def validate_computed(what: str, values: NDArray[Any], start: int = 0) -> None:
    """Check what a network has computed for samples from `start` on; `what` says it, with its verb.

    Raises:
        QuantError: for values that are not finite, with how many there are and the first sample.
    """
    finite = np.isfinite(values)
    if not finite.all():
        nan = int(np.isnan(values).sum())
        sample = start + int(np.argmin(finite.reshape(len(values), -1).all(axis=1)))
        raise QuantError(
            f"{what} {nan} NaN and {int((~finite).sum()) - nan} infinite values, the first in sample {sample}: the "
            "model is broken there or before; check the inputs and the weights of the layers up to there"
        )


def finite_outputs(
    executor: Executor,
    layers: Iterable[str],
    overrides: Mapping[str, Override],
    batches: Sequence[Inputs],
    results: Iterable[Any] | None = None,
) -> Iterator[Outputs]:
    """Yield the outputs for each batch, of an executor's results where they are at hand.

    Raises:
        QuantError: for values that are not finite, with the first of the layers that receives such.
    """
    start = 0
    for result, batch in zip(results or _results(executor, overrides, batches), batches, strict=True):
        outputs = as_outputs(result)
        for array in outputs.values() if isinstance(outputs, dict) else [outputs]:
            if not np.isfinite(array).all():
                _validate_received(executor, layers, overrides, batch, start)
                validate_computed("the network gives", array, start)
        start += sample_count(batch)
        yield outputs


def _results(executor: Executor, overrides: Mapping[str, Override], batches: Sequence[Inputs]) -> Iterator[Any]:
    import torch

    for batch in batches:
        with torch.inference_mode():  # not around the loop: whoever takes the results would run in it too
            result = executor.run(as_tensors(batch), overrides)
        yield result


def _validate_received(
    executor: Executor, layers: Iterable[str], overrides: Mapping[str, Override], batch: Inputs, start: int
) -> None:
    """Run a batch again, and check what every layer receives."""
    import torch

    def validate(name: str, x: Tensor) -> None:
        validate_computed(f"layer {name!r} receives", x.numpy(), start)

    with torch.inference_mode():
        executor.run(as_tensors(batch), overrides, taps={name: partial(validate, name) for name in layers})
