"""What runs a model: with some of its layers changed, from a stage on or up to one, with what parts receive in sight.

An *override* gives a layer another weight, another bias or a function of its input or output; a *tap* is told what a
part of the model receives. Both hold for one call. Calls do not see each other: threads may run different plans at
once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.execution.tensors import as_tensors
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models import Trace

if TYPE_CHECKING:
    from torch import Tensor

Tap = Callable[["Tensor"], Any]  # told what a part receives, before an override changes it
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Override:
    """What a layer has for one call instead of its own: a weight, a bias, its input and output through a function."""

    weight: Tensor | None = None
    bias: Tensor | None = None
    input: Callable[[Tensor], Tensor] | None = None
    output: Callable[[Tensor], Tensor] | None = None  # of torch modules only


class Executor(ABC):
    """Runs a model; safe to call from several threads. Its `trace` says how."""

    trace: Trace

    @abstractmethod
    def run(
        self,
        inputs: Any,
        overrides: Mapping[str, Override] = NOTHING,
        *,
        taps: Mapping[str, Tap] = NOTHING,
        start: tuple[int, Tensor] | None = None,
        stop: int | None = None,
    ) -> Any:
        """Return what the model makes of its inputs: a tensor, a tuple of positional ones or a mapping of named ones.

        `start` is a stage's number and what it receives; the stages before it are not run. With `stop`, a later stage's
        number, the result is what that stage receives.
        """

    def capture(
        self,
        inputs: Any,
        parts: Collection[str],
        overrides: Mapping[str, Override] = NOTHING,
        start: tuple[int, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return what parts receive, before overrides of their own; the run ends when the last of them has it.

        Raises:
            QuantError: if the model does not run one of them.
        """
        found: dict[str, Tensor] = {}

        def keep(name: str, x: Tensor) -> None:
            found[name] = x
            if len(found) == len(parts):
                raise ReachedError(x)

        self.run(inputs, overrides, taps={name: partial(keep, name) for name in parts}, start=start)
        if missing := set(parts) - set(found):
            raise QuantError(f"the model does not run {', '.join(sorted(missing))} on these inputs; leave it out")
        return found


def captured_inputs(
    executor: Executor, batches: Iterable[Inputs], parts: Collection[str], overrides: Mapping[str, Override]
) -> dict[str, Float32Array]:
    """Return what parts receive of batches, joined, read-only."""
    import torch

    with torch.inference_mode():
        found = [executor.capture(as_tensors(batch), parts, overrides) for batch in batches]
        arrays = {name: np.asarray(torch.cat([part[name] for part in found]).numpy()) for name in parts}
    return _read_only(arrays)


def joined_inputs(parts: Sequence[Mapping[str, Float32Array]]) -> dict[str, Float32Array]:
    """Return what layers receive of consecutive samples as one array each, (samples, …), read-only.

    Raises:
        QuantError: for a layer that receives another shape of some samples.
    """
    for name in parts[0]:
        first, *others = dict.fromkeys(part[name].shape[1:] for part in parts)
        if others:
            raise QuantError(
                f"layer {name!r} receives {first} of some samples and {others[0]} of others; use activation_batches"
            )
    if len(parts) == 1:
        return dict(parts[0])
    return _read_only({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _read_only(arrays: dict[str, Float32Array]) -> dict[str, Float32Array]:
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


class ReachedError(Exception):
    """A run has come to where it ends, and gives what it has there."""

    def __init__(self, value: Tensor) -> None:
        """Keep the result."""
        super().__init__()
        self.value = value
