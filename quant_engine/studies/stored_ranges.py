"""The ranges that a file stores of what flows between layers, over the values that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_engine.batches import cut, sample_count
from quant_engine.distribution import Distribution
from quant_engine.inputs import Float32Array
from quant_engine.models import Model, OnnxModel, TensorModel, layer_of
from quant_engine.network import Network

ROUNDING = 2.0**-22  # of an end: values beyond it by no more are not clipped


@dataclass(frozen=True)
class StoredRange:
    """The range of a tensor between layers.

    Attributes:
        tensor: its name in the file.
        codes: the type of its codes.
        low: the lowest level, of all scales together.
        high: the highest level.
        scales: how many scales it has.
        layer: a layer that receives it, if the file's model can be run and has one.
    """

    tensor: str
    codes: str
    low: float
    high: float
    scales: int
    layer: str | None = None


@dataclass(frozen=True, eq=False)
class RangeUse:
    """What a stored range does to the values of its tensor.

    Attributes:
        stored: the range.
        outside_share: share of the values outside.
        used_share: width of the values' own range inside, over that of the stored one.
        values: their distribution.
    """

    stored: StoredRange
    outside_share: float
    used_share: float
    values: Distribution


def stored_ranges(model: Model | TensorModel) -> tuple[StoredRange, ...]:
    """Return the stored ranges of tensors between layers, in the file's order; those of floats have none."""
    if not isinstance(model, TensorModel | OnnxModel) or (file := model.file) is None:
        return ()
    nodes = model.nodes if isinstance(model, OnnxModel) else {}
    receivers = {node.source: name for name, node in reversed(list(nodes.items()))}
    found = []
    for tensor, stored in file.activations.items():
        if not stored.has_scale or not stored.blocks:
            continue
        low, high = stored.ends()
        ends = float(low.min()), float(high.max())
        found.append(StoredRange(tensor, stored.name, *ends, stored.blocks, receivers.get(tensor)))
    return tuple(found)


def range_use(network: Network, stored: StoredRange, split: str, samples: int) -> RangeUse:
    """Return how a stored range suits what its layer receives of the first samples of a split.

    Raises:
        QuantError: for a range that no layer receives, and as `Network.capture`.
    """
    layer, found, left = layer_of(network.model, stored.layer or "").name, [], samples
    for batch in network.given_task.batches(split):  # samples of several sizes, such as lines of text, come in batches
        inputs = cut(batch.inputs, 0, left)
        found.append(network.capture(inputs, [layer])[layer].reshape(-1))
        left -= sample_count(inputs)
        if left <= 0:
            break
    return use_of(stored, np.concatenate(found))


def use_of(stored: StoredRange, x: Float32Array) -> RangeUse:
    """Return how a stored range suits values.

    Example:
        >>> x = np.array([-1, 0, 1, 3], np.float32)
        >>> use = use_of(StoredRange("x", "uint8", 0.0, 2.0, 1), x)
        >>> use.outside_share, use.used_share
        (0.5, 1.0)
    """
    room = ROUNDING * max(abs(stored.low), abs(stored.high))
    outside = int(np.count_nonzero((x < stored.low - room) | (x > stored.high + room)))
    width = stored.high - stored.low
    inside = min(float(x.max()), stored.high) - max(float(x.min()), stored.low)
    return RangeUse(stored, outside / x.size, max(inside, 0.0) / width if width else 0.0, Distribution(x))
