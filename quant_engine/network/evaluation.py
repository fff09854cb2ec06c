"""Running a network with some of its weights replaced and inputs quantized, from the first changed layer on."""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections import OrderedDict, deque
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
CACHE_BYTES = 256 << 20  # of all networks and inputs together
UNCHANGED_BYTES = 192 << 20  # of one run, behind unchanged layers
CHANGED_BYTES = 32 << 20  # of one run, behind changed layers: filling fresh memory takes as long as computing it

UNCHANGED = LayerChange()
Prefix = tuple[str, ...]


class LayerInputs:
    """The inputs of layers that all runners keep, by runner and the keys of the changes before the layer.

    Where room is short, those behind unchanged layers stay longest. Safe to call from several threads.
    """

    def __init__(self, most_bytes: int) -> None:
        """Start empty."""
        self._most = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, Prefix], Tensor] = OrderedDict()
        self._gone: deque[int] = deque()
        self._size = 0

    @property
    def size_bytes(self) -> int:
        """What is kept now."""
        with self._lock:
            return self._size

    def find(self, owner: int, prefix: Prefix) -> Tensor | None:
        """Return a layer's input, if it is kept."""
        with self._lock:
            found = self._kept.get((owner, prefix))
            if found is not None:
                self._kept.move_to_end((owner, prefix))
            return found

    def keep(self, owner: int, prefix: Prefix, x: Tensor) -> None:
        """Keep a layer's input, and forget others as long as there is no room."""
        with self._lock:
            while self._gone:
                self._forget_all(self._gone.popleft())
            self._forget((owner, prefix))
            self._kept[owner, prefix] = x
            self._size += x.nbytes
            while self._size > self._most:
                self._forget(next((key for key in self._kept if any(key[1])), next(iter(self._kept))))

    def release(self, owner: int) -> None:
        """Let go of what a runner kept that has gone, with the next input kept: Python may collect it anywhere."""
        self._gone.append(owner)

    def _forget_all(self, owner: int) -> None:
        for key in [key for key in self._kept if key[0] == owner]:
            self._forget(key)

    def _forget(self, key: tuple[int, Prefix]) -> None:
        former = self._kept.pop(key, None)
        self._size -= 0 if former is None else former.nbytes


LAYER_INPUTS = LayerInputs(CACHE_BYTES)
_owners = itertools.count()


class Runner:
    """Runs one architecture on one set of inputs, keeping the inputs of layers it has computed.

    The input of a layer, before it is quantized, depends on the changes of the layers before it and is kept under their
    keys, up to `CACHE_BYTES` over all runners. Safe to call from several threads.
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
        self._owner = next(_owners)
        weakref.finalize(self, LAYER_INPUTS.release, self._owner)

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
                LAYER_INPUTS.keep(self._owner, prefix, values)
            return outputs

    def _worth_keeping(self, changes: Mapping[str, LayerChange], start: int) -> list[tuple[Prefix, Shape]]:
        """Return which inputs of layers from step `start` on to keep: the keys of the layers before, and the shape.

        These are, from the end of the network on, what there is room for behind unchanged layers and behind others.
        """
        found: list[tuple[Prefix, Shape]] = []
        ahead: Prefix = ()
        for step, shape, _one_sided in self._architecture.layer_inputs():
            if ahead and self._steps.index(step) >= start:
                found.append((ahead, shape))
            ahead = (*ahead, changes.get(step.name, UNCHANGED).key)
        room = {True: CHANGED_BYTES, False: UNCHANGED_BYTES}
        worth = []
        for prefix, shape in reversed(found):
            size = 4 * len(self._inputs) * math.prod(shape)
            if size <= room[any(prefix)]:
                room[any(prefix)] -= size
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

    def _resume(self, changes: Mapping[str, LayerChange]) -> tuple[int, Prefix, Tensor]:
        """Return the furthest step whose input is kept, the keys of the changes before it, and that input."""
        start, found = 0, self._inputs
        keys: Prefix = ()
        ahead = keys
        for position, step in enumerate(self._steps):
            if isinstance(step, Weighted):
                if ahead and (kept := LAYER_INPUTS.find(self._owner, ahead)) is not None:
                    start, keys, found = position, ahead, kept
                ahead = (*ahead, changes.get(step.name, UNCHANGED).key)
        return start, keys, found


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
