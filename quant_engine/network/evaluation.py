"""Running a network with some of its weights replaced and inputs quantized, from the first changed layer on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from quant_engine.inputs import Float32Array
from quant_engine.network.activations import LayerChange, refuse_broken
from quant_engine.network.architectures import Architecture, Step, Weighted
from quant_engine.network.layers import Parameters

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 500
CACHE_BYTES = 256 << 20

UNCHANGED = LayerChange()


class Runner:
    """Runs one architecture on one set of inputs, keeping the inputs of layers it has computed.

    The input of a layer, before it is quantized, depends on the changes of the layers before it and is kept under their
    keys, up to `CACHE_BYTES` in all. Safe to call from several threads.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Parameters,
        inputs: Float32Array,
    ) -> None:
        """Keep copies of folded weights and biases, and of the inputs."""
        import torch

        self._steps = architecture.steps
        self._parameters = _tensors(parameters)
        self._inputs = torch.from_numpy(inputs.copy())
        self._kept: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def logits(self, changes: Mapping[str, LayerChange]) -> Float32Array:
        """Return the network's outputs, shape (inputs, classes), with layers changed.

        Raises:
            QuantError: if the network computes NaN or infinity, with the first layer that receives it.
        """
        import torch

        with torch.inference_mode():
            start, keys, x = self._resume(changes)
            for step in self._steps[start:]:
                if isinstance(step, Weighted):
                    self._keep(keys, x)
                    keys = (*keys, changes.get(step.name, UNCHANGED).key)
                x = self._run(step, x, changes)
            outputs = np.asarray(x.numpy())
            if not np.isfinite(outputs).all():
                self._refuse_first_broken(changes)
                refuse_broken("the network gives", outputs)
            return outputs

    def _run(self, step: Step, x: Tensor, changes: Mapping[str, LayerChange]) -> Tensor:
        """Return the outputs of one step."""
        import torch

        if not isinstance(step, Weighted):
            return step.run(x)
        change, (weight, bias) = changes.get(step.name, UNCHANGED), self._parameters[step.name]
        chosen = weight if change.weight is None else torch.from_numpy(change.weight)

        def seen(part: Tensor) -> Tensor:
            return part if change.quantize is None else torch.from_numpy(change.of_input(step.name, part.numpy()))

        return torch.cat([step.run(seen(part), chosen, bias) for part in torch.split(x, BATCH)])

    def _refuse_first_broken(self, changes: Mapping[str, LayerChange]) -> None:
        """Run again from the start and refuse the first layer's input that is not finite."""
        x = self._inputs
        for step in self._steps:
            if isinstance(step, Weighted):
                refuse_broken(f"layer {step.name!r} receives", x.numpy())
            x = self._run(step, x, changes)

    def _resume(self, changes: Mapping[str, LayerChange]) -> tuple[int, tuple[str, ...], Tensor]:
        """Return the furthest step whose input is kept, the keys of the changes before it, and that input."""
        start, found = 0, self._inputs
        keys: tuple[str, ...] = ()
        ahead = keys
        with self._lock:
            for position, step in enumerate(self._steps):
                if isinstance(step, Weighted):
                    if ahead in self._kept:
                        start, keys, found = position, ahead, self._kept[ahead]
                        self._kept.move_to_end(ahead)
                    ahead = (*ahead, changes.get(step.name, UNCHANGED).key)
        return start, keys, found

    def _keep(self, keys: tuple[str, ...], x: Tensor) -> None:
        """Keep a layer's input; where room is short, those behind unchanged layers stay longest."""
        if not keys:
            return  # the inputs themselves
        with self._lock:
            self._kept[keys] = x
            self._kept.move_to_end(keys)
            while self._kept and sum(kept.nbytes for kept in self._kept.values()) > CACHE_BYTES:
                oldest = next((kept for kept in self._kept if any(kept)), next(iter(self._kept)))
                del self._kept[oldest]


def layer_inputs(
    architecture: Architecture, parameters: Parameters, inputs: Float32Array, layers: Collection[str]
) -> dict[str, Float32Array]:
    """Return the input of each named layer in floating point, shape (inputs, …), read-only."""
    import torch

    found: dict[str, Float32Array] = {}
    tensors = _tensors(parameters)
    with torch.inference_mode():
        x = torch.from_numpy(inputs.copy())
        for step in architecture.steps:
            if isinstance(step, Weighted):
                if step.name in layers:
                    found[step.name] = np.asarray(x.numpy())
                    found[step.name].flags.writeable = False
                x = torch.cat([step.run(part, *tensors[step.name]) for part in torch.split(x, BATCH)])
            else:
                x = step.run(x)
            if len(found) == len(set(layers)):
                break
    return found


def _tensors(parameters: Parameters) -> dict[str, tuple[Tensor, Tensor]]:
    """Return weights and biases as torch tensors of their own."""
    import torch

    return {
        name: (torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy()))
        for name, (weight, bias) in parameters.items()
    }
