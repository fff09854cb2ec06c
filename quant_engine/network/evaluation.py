"""Running a network with some of its weights replaced, from the first changed layer on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from quant_engine.inputs import Float32Array
from quant_engine.network.architectures import Architecture, Weighted
from quant_engine.network.layers import Parameters

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 500
CACHE_BYTES = 256 << 20

Replacement = tuple[str, Float32Array]  # what identifies the weight, and its values


class Runner:
    """Runs one architecture on one set of inputs, keeping the inputs of layers it has computed.

    The input of a layer depends on the weights of the layers before it and is kept under their keys, up to
    `CACHE_BYTES` in all. Safe to call from several threads.
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

    def logits(self, replaced: Mapping[str, Replacement]) -> Float32Array:
        """Return the network's outputs, shape (inputs, classes), with the given weights replaced."""
        import torch

        with torch.inference_mode():
            start, keys, x = self._resume(replaced)
            for step in self._steps[start:]:
                if isinstance(step, Weighted):
                    self._keep(keys, x)
                    key, weight = replaced.get(step.name, ("", None))
                    keys = (*keys, key)
                    original, bias = self._parameters[step.name]
                    chosen = original if weight is None else torch.from_numpy(weight)
                    x = torch.cat([step.run(part, chosen, bias) for part in torch.split(x, BATCH)])
                else:
                    x = step.run(x)
            return np.asarray(x.numpy())

    def _resume(self, replaced: Mapping[str, Replacement]) -> tuple[int, tuple[str, ...], Tensor]:
        """Return the furthest step whose input is kept, the keys of the weights before it, and that input."""
        start, found = 0, self._inputs
        keys: tuple[str, ...] = ()
        ahead = keys
        with self._lock:
            for position, step in enumerate(self._steps):
                if isinstance(step, Weighted):
                    if ahead in self._kept:
                        start, keys, found = position, ahead, self._kept[ahead]
                        self._kept.move_to_end(ahead)
                    ahead = (*ahead, replaced.get(step.name, ("", None))[0])
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
