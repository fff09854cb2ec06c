"""Whether outputs that differ in their largest value differ by more than the rounding of float32.

Two runtimes add products in different orders. Where a code lies at the border between two, the last bit decides which
it is, and a whole step goes on from there. A difference of labels is a tie if float32's rounding alone moves this
engine's own outputs as far: weights are moved by one step of float32, up, down or not at all, and the plan runs again.
What such runs do not reach is no tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import join_batches, split_batch
from quant_engine.execution import Override, finite_outputs
from quant_engine.inputs import Inputs
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan

RUNS = 16
SEED = 0


@dataclass(frozen=True)
class Difference:
    """A sample, or a place in one, whose largest output is another in a file than under the plan.

    Attributes:
        sample: its place among the samples.
        ours: which output is the largest under the plan.
        theirs: which is the largest of the file's.
        margin: by how much ours is above theirs, under the plan.
        shift: by how much the file has moved that margin: at least the margin, or the labels would not differ.
        rounding: by how much float32's rounding moves it, at most.
    """

    sample: int
    ours: int
    theirs: int
    margin: float
    shift: float
    rounding: float

    @property
    def is_tie(self) -> bool:
        """Whether rounding moves the plan's own outputs as far as the file's are from them."""
        return self.shift <= self.rounding


def differences(
    network: Network, plan: QuantizationPlan, inputs: Inputs, ours: NDArray[Any], theirs: NDArray[Any], first: int = 0
) -> list[Difference]:
    """Return where the largest outputs differ, with what rounding does there; `first` is added to samples.

    Outputs are the model's only or first ones, (n, …, classes), of a frozen plan and of a file for the same inputs.
    """
    places = np.argwhere(ours.argmax(-1) != theirs.argmax(-1))
    if not len(places):
        return []
    samples, rows = np.unique(places[:, 0], return_inverse=True)
    at = (rows, *places[:, 1:].T)
    before, after = ours[samples][at], theirs[samples][at]
    labels = before.argmax(-1), after.argmax(-1)
    margins, moved = _margins(before, *labels), np.zeros(len(places))
    for run in _rounded_runs(network, plan, _taken(inputs, samples)):
        moved = np.maximum(moved, np.abs(_margins(run[at], *labels) - margins))
    shifts = margins - _margins(after, *labels)
    found = zip(places[:, 0], *labels, margins, shifts, moved, strict=True)
    return [Difference(first + int(n), int(a), int(b), *map(float, numbers)) for n, a, b, *numbers in found]


def _rounded_runs(network: Network, plan: QuantizationPlan, inputs: Inputs) -> Iterator[NDArray[Any]]:
    """Yield the first output of runs with all weights moved by steps of float32."""
    import torch

    changes, batches = network.overrides(plan), [*split_batch(inputs)]
    draws, step = torch.Generator().manual_seed(SEED), float(np.finfo(np.float32).eps)
    for _ in range(RUNS):
        moved = {}
        for name, (weight, _) in network.model.parameters.items():
            change = changes.get(name, Override())
            held = torch.from_numpy(weight.copy()) if change.weight is None else change.weight
            steps = torch.randint(-1, 2, held.shape, generator=draws)
            moved[name] = replace(change, weight=held + held * (steps * step))
        yield first_output(join_batches([*finite_outputs(network.executor, network.model.layers, moved, batches)]))


def first_output(found: Any) -> Any:
    """Return the only or first one."""
    return next(iter(found.values())) if isinstance(found, Mapping) else found


def _margins(rows: NDArray[Any], ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    places = np.arange(len(rows))
    margins: NDArray[Any] = rows[places, ours].astype(np.float64) - rows[places, theirs]
    return margins


def _taken(inputs: Inputs, samples: NDArray[Any]) -> Inputs:
    """Return some samples of a batch."""
    if isinstance(inputs, Mapping):
        return {name: array[samples] for name, array in inputs.items()}
    found: NDArray[Any] = inputs[samples]
    return found
