"""How well a layer's outputs survive when its weight alone is quantized, on real inputs, from their second moments.

The inputs are run once for any number of specs: ‖(Ŵ − W)X‖² = tr(Δ Σ Δᵀ) with Δ = Ŵ − W and Σ = XXᵀ. How much of what
is lost the layers behind make up for, or make worse, it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quant_engine.batches import cut, sample_count, split_batch
from quant_engine.compensation import layer_error
from quant_engine.execution import as_tensors, draw_places
from quant_engine.execution.executor import ReachedError
from quant_engine.inputs import Float32Array, Float64Array, Inputs
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.quantizer import QuantizerSpec, fit

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES, PLACES = 64, 4096  # at most; places are those of all samples together
PLACES_EACH = 256  # of one sample at most
BATCH = 4  # samples
MAX_BYTES = 128 << 20  # of the moments that are held at once
ROWS = 4096  # of a weight, whose error is worked out at a time


class LayerMoment(NamedTuple):
    """Σ = XXᵀ of what a layer receives, (groups, in, in); of an embedding how often each row is looked up, (rows,)."""

    layer: str
    moment: Float64Array


def input_moments(
    network: Network, layers: Iterable[str], max_bytes: int = MAX_BYTES
) -> Generator[LayerMoment | None, None, None]:
    """Yield the second moment of each layer's input, and None after each batch that was run.

    From calibration samples, or those of the first split there is: no more than 64 of them, and about 4,096 places
    (pixels, tokens) a layer, drawn with seed 0. The model runs once for as many layers as have moments of `max_bytes`.
    Layers that it does not run have none.

    Raises:
        QuantError: for a network without a task, and inputs that it does not run on.

    Example:
        >>> from quant_engine.network import load
        >>> [*found] = filter(None, input_moments(load("fashion-cnn"), ["conv1", "fc2"]))
        >>> [(one.layer, one.moment.shape) for one in found]
        [('conv1', (1, 9, 9)), ('fc2', (1, 96, 96))]
    """
    known = network.layers()
    for group in _groups({name: known[name] for name in layers}, max_bytes):
        sums = _Sums(group)
        for batch in first_samples(network):
            sums.run(network, batch)
            yield None
            if sums.full:
                break
        for name, total in sums.totals.items():
            if sums.places[name]:
                yield LayerMoment(name, total)


def first_samples(network: Network) -> Iterator[Inputs]:
    """Yield the first calibration samples, or those of the first split there is: 64 at most, a few at a time."""
    task = network.given_task
    split = "calibration" if "calibration" in task.splits else min(task.splits)
    left = SAMPLES
    for batch in task.batches(split):
        taken = cut(network.model.as_inputs(batch.inputs), 0, left)
        yield from split_batch(taken, BATCH)
        left -= sample_count(taken)
        if not left:
            return


def output_sqnr_db(weight: Float32Array, other: Float32Array, moment: Float64Array) -> float:
    """Return 10·log10(‖WX‖²/‖(W − Ŵ)X‖²), with W and Ŵ (out, in) and a moment as `LayerMoment` has it.

    Infinite without an error.

    Raises:
        QuantError: for shapes that do not go together, and values that are not finite.

    Example:
        >>> X = np.array([[1.0, 2.0], [0.0, 1.0]])  # two inputs, two samples
        >>> W, W_hat = np.array([[1, 1]], np.float32), np.array([[1, 0]], np.float32)
        >>> round(output_sqnr_db(W, W_hat, (X @ X.T)[None]), 6)  # 10·log10(10/1)
        10.0
    """
    signal, noise = _square(weight, np.zeros_like(weight), moment), _square(weight, other, moment)
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else math.inf


def layer_output_sqnr_db(network: Network, layer: str, spec: QuantizerSpec, moment: Float64Array) -> float:
    """Return the SQNR of a layer's outputs in dB with its weight under a spec.

    Raises:
        QuantError: as `output_sqnr_db`, and for a spec that does not fit.
    """
    weight = network.weight(layer).reshape(network.layers()[layer].matrix_shape)
    return output_sqnr_db(weight, fit(weight, spec).fake_quantize(weight), moment)


def _square(weight: Float32Array, other: Float32Array, moment: Float64Array) -> float:
    """Return ‖(W − Ŵ)X‖²; a layer without groups is taken some rows at a time, a copy of a large one being larger."""
    if moment.ndim == 1:
        return sum(
            float(moment[rows] @ np.square(weight[rows].astype(np.float64) - other[rows]).sum(axis=1))
            for rows in _parts(len(weight))
        )
    if len(moment) > 1:
        return layer_error(weight, other, moment)
    return sum(layer_error(weight[rows], other[rows], moment) for rows in _parts(len(weight)))


def _parts(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, rows, ROWS))


class _Sums:
    """What adds up over batches, of a few layers."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        import torch

        self._layers = layers
        self._generator = torch.Generator().manual_seed(0)
        self.totals = {name: np.zeros(_moment_shape(layer)) for name, layer in layers.items()}
        self.places = dict.fromkeys(layers, 0)

    @property
    def full(self) -> bool:
        """Whether every layer has as many places as it may have."""
        return min(self.places.values()) >= PLACES

    def run(self, network: Network, batch: Inputs) -> None:
        """Run the model up to the last of the layers."""
        import torch

        heard: set[str] = set()
        with torch.inference_mode():
            network.executor.run(
                as_tensors(batch), taps={name: partial(self._hear, heard, name) for name in self._layers}
            )

    def _hear(self, heard: set[str], name: str, x: Tensor) -> None:
        heard.add(name)
        if self.places[name] < PLACES:
            self._add(name, x)
        if len(heard) == len(self._layers):
            raise ReachedError(x)

    def _add(self, name: str, x: Tensor) -> None:
        if self._layers[name].op == "embedding":
            rows = x.reshape(-1).long().numpy()
            self.totals[name] += np.bincount(rows, minlength=len(self.totals[name]))
            self.places[name] += rows.size
            return
        drawn = draw_places(self._layers[name], x, PLACES_EACH, self._generator).double()
        self.totals[name] += (drawn.transpose(1, 2) @ drawn).numpy()
        self.places[name] += drawn.shape[1]


def _moment_shape(layer: Layer) -> tuple[int, ...]:
    outputs, inputs = layer.matrix_shape
    return (outputs,) if layer.op == "embedding" else (layer.groups, inputs, inputs)


def _groups(layers: Mapping[str, Layer], max_bytes: int) -> Iterator[dict[str, Layer]]:
    """Yield layers together whose moments have the room that there is, at least one."""
    group: dict[str, Layer] = {}
    size = 0
    for name, layer in layers.items():
        needed = 8 * math.prod(_moment_shape(layer))
        if group and size + needed > max_bytes:
            yield group
            group, size = {}, 0
        group[name] = layer
        size += needed
    if group:
        yield group
