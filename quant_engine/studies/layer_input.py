"""What a layer receives of real inputs, in a few numbers, as a tensor that can be quantized itself."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from quant_engine.batches import sample_count
from quant_engine.clipping import MinMax, MinMSE
from quant_engine.errors import QuantError
from quant_engine.execution import stepwise
from quant_engine.formats import IntFormat
from quant_engine.inputs import Float32Array, raise_non_finite
from quant_engine.models import layer_of
from quant_engine.network import Network
from quant_engine.quantizer import QuantizerSpec, fit
from quant_engine.steps import finished, scaled
from quant_engine.studies.hardness import outlier_channels
from quant_engine.studies.output_sqnr import first_samples
from quant_engine.studies.tensor_statistics import TensorStatistics, tensor_statistics

BITS = 8
MAX_VALUES = 1 << 22


@dataclass(frozen=True, eq=False)
class LayerInput:
    """What a layer receives.

    Attributes:
        values: (channels, values of a channel), read-only.
        samples: of how many samples.
        statistics: over all values.
        outlier_channels: those whose largest magnitude is more than 3 times the median channel's.
        best_range: the range of least mean squared error at 8 bits, asymmetric, with one scale.
        gain_db: how much more SQNR that has than min–max.
    """

    values: Float32Array
    samples: int
    statistics: TensorStatistics
    outlier_channels: tuple[int, ...]
    best_range: tuple[float, float]
    gain_db: float


def layer_input(network: Network, layer: str) -> LayerInput:
    """Return what a layer receives of the first samples, 64 at most, and no more than about 4 million values.

    Raises:
        QuantError: for a layer there is not, an embedding (it receives tokens), a network without a task, and values
            that are not finite.

    Example:
        >>> from quant_engine.network import load
        >>> found = layer_input(load("fashion-cnn"), "conv2")
        >>> found.samples, found.values.shape, found.statistics.min
        (64, (16, 12544), 0.0)
    """
    return finished(layer_input_steps(network, layer))


def layer_input_steps(network: Network, layer: str) -> Generator[float, None, LayerInput]:
    """Yield about how much of the samples has run, and return what `layer_input` does.

    Raises:
        QuantError: as `layer_input`.
    """
    values, samples = yield from _received(network, layer)
    plain = QuantizerSpec(IntFormat(BITS, signed=False), symmetric=False)
    best, whole = (fit(values, replace(plain, clipping=one)) for one in (MinMSE(), MinMax()))
    levels = best.levels()
    before, after = whole.measure(values).sqnr_db, best.measure(values).sqnr_db
    return LayerInput(
        values,
        samples,
        tensor_statistics(values),
        outlier_channels(values),
        (float(levels[0]), float(levels[-1])),
        0.0 if before == after else after - before,
    )


def _received(network: Network, layer: str) -> Generator[float, None, tuple[Float32Array, int]]:
    """Return the values, channel by channel, and the number of samples."""
    info = layer_of(network.model, layer)
    if info.op == "embedding":
        raise QuantError(f"{layer!r} is an embedding, which receives numbers of its rows; look at its weight")
    parts: list[Float32Array] = []
    batches = [*first_samples(network)]
    total, samples, size = sum(map(sample_count, batches)), 0, 0
    for batch in batches:
        count = sample_count(batch)
        each = max(1 / total, size / MAX_VALUES / samples if samples else 0.0)  # of all, is one sample
        run = scaled(stepwise(network.executor, batch, layer), samples * each, count * each)
        x = (yield from run).float().numpy()
        parts.append(np.moveaxis(x, info.channel_axis, 0).reshape(x.shape[info.channel_axis], -1))
        samples += count
        size += x.size
        if size >= MAX_VALUES:
            break
    values = np.ascontiguousarray(np.concatenate(parts, axis=1))
    if not np.isfinite(values).all():
        raise_non_finite(values, f"what {layer!r} receives")
    values.flags.writeable = False
    return values, samples
