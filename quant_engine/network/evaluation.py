"""Running a network with some of its weights replaced and inputs quantized, from the first changed layer on."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from quant_engine.inputs import Float32Array
from quant_engine.network.activations import LayerChange, refuse_broken
from quant_engine.network.architectures import Architecture, Shape, Step, Weighted
from quant_engine.network.layers import Parameters

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 200  # images whose values stay in the processor's caches from layer to layer
CACHE_BYTES = 512 << 20
CHANGED_BYTES = 32 << 20  # of one run, behind changed layers: filling fresh memory takes as long as computing it

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

        self._architecture = architecture
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
            kept = {prefix: x.new_empty((len(x), *shape)) for prefix, shape in self._worth_keeping(changes, start)}
            parts = []
            for first in range(0, len(x), BATCH):
                part, ahead = x[first : first + BATCH], keys
                for step in self._steps[start:]:
                    if isinstance(step, Weighted):
                        if ahead in kept:
                            kept[ahead][first : first + BATCH] = part
                        ahead = (*ahead, changes.get(step.name, UNCHANGED).key)
                    part = self._run(step, part, changes)
                parts.append(part)
            outputs = np.asarray(torch.cat(parts).numpy())
            if not np.isfinite(outputs).all():
                self._refuse_first_broken(changes)
                refuse_broken("the network gives", outputs)
            for prefix, values in kept.items():
                self._keep(prefix, values)
            return outputs

    def _worth_keeping(self, changes: Mapping[str, LayerChange], start: int) -> list[tuple[tuple[str, ...], Shape]]:
        """Return which inputs of layers from step `start` on to keep: the keys of the layers before, and the shape.

        These are all behind unchanged layers and, from the end of the network on, what there is room for behind others.
        """
        found: list[tuple[tuple[str, ...], Shape]] = []
        ahead: tuple[str, ...] = ()
        for step, shape, _one_sided in self._architecture.layer_inputs():
            if ahead and self._steps.index(step) >= start:
                found.append((ahead, shape))
            ahead = (*ahead, changes.get(step.name, UNCHANGED).key)
        room = CHANGED_BYTES
        worth = []
        for prefix, shape in reversed(found):
            size = 4 * len(self._inputs) * math.prod(shape)
            if any(prefix):
                if size > room:
                    continue
                room -= size
            worth.append((prefix, shape))
        return worth

    def _run(self, step: Step, x: Tensor, changes: Mapping[str, LayerChange]) -> Tensor:
        """Return the outputs of one step."""
        import torch

        if not isinstance(step, Weighted):
            return step.run(x)
        change, (weight, bias) = changes.get(step.name, UNCHANGED), self._parameters[step.name]
        if change.quantize is not None:
            x = torch.from_numpy(change.of_input(step.name, x.numpy()))
        return step.run(
            x,
            weight if change.weight is None else torch.from_numpy(change.weight),
            bias if change.bias is None else torch.from_numpy(change.bias.copy()),
        )

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
