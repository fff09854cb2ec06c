"""What layers receive and models give, of the first calibration samples, with how far the runs are."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np

from quant_engine.batches import cut, sample_count, split_batch
from quant_engine.execution import finite_outputs, stepwise
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models import layer_of
from quant_engine.models.layer import Shape
from quant_engine.network import Network
from quant_engine.steps import scaled
from quant_engine.tasks.base import pick_output

OBSERVED = 64  # calibration samples at most
MAX_VALUES = 1 << 22  # of them
UNKNOWN: tuple[Shape, Shape] = ((1,), (1,))  # what a layer receives and gives of one sample

Observing = Generator[float, None, Float32Array]  # yields the share that is done
See = Callable[[Inputs], Observing]  # of some samples


def observed_inputs(network: Network, layer: str) -> Observing:
    """Yield how far it is, and return what a layer receives."""

    def see(inputs: Inputs) -> Observing:
        result = yield from stepwise(network.executor, inputs, layer)
        return np.asarray(result.numpy())

    given, _ = network.executor.trace.shapes.get(layer, UNKNOWN)
    return _observed(network, see, given, layer_of(network.model, layer).channel_axis)


def observed_logits(network: Network, max_values: int = MAX_VALUES) -> Observing:
    """Yield how far it is, and return what the model gives."""

    def see(inputs: Inputs) -> Observing:
        result = yield from stepwise(network.executor, inputs)
        [outputs] = finite_outputs(network.executor, network.layers(), {}, [inputs], [result])
        return np.asarray(pick_output(outputs, None, "logits"))

    trace = network.executor.trace
    _, gives = trace.shapes.get(trace.layers[-1], UNKNOWN)
    return _observed(network, see, gives, -1, max_values)


def given_inputs(network: Network) -> Observing:
    """Return what the model itself is given."""

    def see(inputs: Inputs) -> Observing:
        yield from ()
        return np.asarray(pick_output(inputs, None, ""))

    return _observed(network, see, UNKNOWN[0], 1)


def _observed(network: Network, see: See, shape: Shape, channel_axis: int, max_values: int = MAX_VALUES) -> Observing:
    """Return what is seen of the first calibration samples: of a large model of fewer, and of vectors that fit.

    `shape` is about that of what is seen of one sample.
    """
    parts: list[Float32Array] = []
    batches = network.input_batches(stop=OBSERVED)
    left, done, each = max_values, 0.0, _share_of_sample(batches, shape, max_values)
    for inputs in batches:
        one = yield from scaled(see(cut(inputs, 0, 1)), done, each)
        done += each
        fitting = left // one.size
        if fitting < 2:
            parts.append(one)
            left -= one.size
        for chunk in split_batch(cut(inputs, 0, fitting)) if fitting > 1 else ():
            share = each * sample_count(chunk)
            parts.append((yield from scaled(see(chunk), done, share)))
            left -= parts[-1].size
            done += share
        if left < one.size:
            break
    values = _together(parts, channel_axis)
    if values.size <= max_values:
        return values
    return values.reshape(-1, values.shape[-1])[: max(max_values // values.shape[-1], 1)]


def _share_of_sample(batches: Sequence[Inputs], shape: Shape, max_values: int) -> float:
    """Return about which share of the work one sample is, the first of which is run twice unless it is all."""
    first = next(iter(batches[0].values())) if isinstance(batches[0], Mapping) else batches[0]
    size = math.prod(shape) if first.dtype.kind == "f" else math.prod(first.shape[1:]) * shape[-1]
    samples = min(sum(map(sample_count, batches)), max(max_values // max(size, 1), 1))
    return 1 / (samples + (samples > 1))


def _together(parts: list[Float32Array], channel_axis: int) -> Float32Array:
    """Return samples of one shape as they are, and others as vectors (places, channels)."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    rows = [np.moveaxis(part, channel_axis, -1) for part in parts]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in rows])
