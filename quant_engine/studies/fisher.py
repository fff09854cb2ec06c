"""The diagonal of the empirical Fisher information: how sensitive the loss is to a change of each weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from quant_engine.batches import cut, sample_count
from quant_engine.errors import QuantError
from quant_engine.execution import Override, TorchExecutor, as_tensors, named_tensors
from quant_engine.inputs import Float32Array
from quant_engine.models import ties
from quant_engine.network import Network
from quant_engine.tasks import Batch, LogitsTask, take

if TYPE_CHECKING:
    from torch import Tensor

_FOUND: WeakKeyDictionary[Network, Mapping[str, Float32Array]] = WeakKeyDictionary()


def fisher(network: Network) -> Mapping[str, Float32Array]:
    """Return the diagonal of each weight's empirical Fisher information, on the calibration data, read-only.

    F = 1/n Σ (∂ loss/∂ w)² over samples, of the weight's shape, found once for a network. A sample's loss is the cross
    entropy, summed over what is predicted in it (one class, or each next token), of which there are n in all samples.
    This is the empirical Fisher information, which stands in for the second derivative of the mean loss near a minimum
    (Martens 2020, section 11); what is predicted in one sample counts as independent. A weight that layers share is
    one weight, with one gradient.

    Raises:
        QuantError: for a model without gradients, and a task without labels or a calibration split.
    """
    if network not in _FOUND:
        _FOUND[network] = MappingProxyType(_diagonal(network))
    return _FOUND[network]


def missing_gradients(network: Network) -> str | None:
    """Return why a network has no gradients, or None where it has."""
    if isinstance(network.executor, TorchExecutor):
        return None
    return f"{network.name} does not run in torch; give from_module the torch module that it was exported from"


def _diagonal(network: Network) -> dict[str, Float32Array]:
    import torch

    if reason := missing_gradients(network):
        raise QuantError(f"Fisher information takes gradients, but {reason}")
    layers = network.layers()
    weights = {name: torch.from_numpy(network.weight(name).copy()).requires_grad_() for name in ties(layers)}
    totals = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    overrides = {name: Override(weights[info.tied_to or name]) for name, info in layers.items()}
    count = 0
    for loss, predicted in _losses(network, overrides):
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for total, gradient in zip(totals.values(), gradients, strict=True):
            total += gradient.double().square()
        count += predicted
    found = {name: (total / count).float().numpy() for name, total in totals.items()}
    for array in found.values():
        array.flags.writeable = False
    return {name: found[info.tied_to or name] for name, info in layers.items()}


def _losses(network: Network, overrides: Mapping[str, Override]) -> Iterator[tuple[Tensor, int]]:
    """Yield each calibration sample's summed cross entropy, and of how many predictions."""
    import torch
    from torch.nn import functional

    task = network.given_task
    for batch in task.batches("calibration"):
        inputs = network.model.as_inputs(batch.inputs)
        for row in range(sample_count(inputs)):
            sample = Batch(cut(inputs, row, row + 1), take(batch.targets, slice(row, row + 1)))
            outputs = named_tensors(network.executor.run(as_tensors(sample.inputs), overrides))
            logits = task.logits(sample, outputs) if isinstance(task, LogitsTask) else None
            if logits is None or logits.classes is None:
                raise QuantError(
                    f"Fisher information takes a loss, but {type(task).__name__}, the task of {network.name}, has no "
                    "labels; give the network a task of Classification or NextToken"
                )
            targets = torch.from_numpy(logits.classes.astype("int64"))
            yield functional.cross_entropy(logits.values, targets, reduction="sum"), len(targets)
