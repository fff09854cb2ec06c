"""Where the scale of a channel can move: from what gives it into the layers that read it.

Pairs are found by running the model, not by reading it: a candidate's channels are multiplied by powers of two where
they are given and divided by them where they are read, which rounds nothing. If every output stays, and the reader sees
just those channels multiplied, then what lies between commutes with scaling (ReLU, pooling, a sum over tokens) and
nobody else reads it. GELU, ReLU6 and a residual sum fail.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_engine.batches import cut
from quant_engine.compensation import FloatLayer
from quant_engine.execution import LayerInputs, Override, as_tensors
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.methods.layer_by_layer import inputs_of
from quant_engine.models import OnnxModel, shared_copy, watched
from quant_engine.network import Network

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 2
REACH = 12  # powers of two, up and down: enough for a GELU to be seen to bend
CLOSE = 1e-4  # of the greatest output

_FOUND: weakref.WeakKeyDictionary[Network, tuple[Pair, ...]] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Pair:
    """What gives channels, a norm or a layer, and the layers that read them, and that alone do."""

    producer: str
    consumers: tuple[str, ...]
    norm: bool = False


def scaling_pairs(network: Network) -> tuple[Pair, ...]:
    """Return the pairs of a network, in the order in which it runs, found once on some calibration data."""
    with _LOCK:
        found = _FOUND.get(network)
    if found is None:
        found = tuple(_Probe(network).pairs())
        with _LOCK:
            _FOUND[network] = found
    return found


def float_layers(network: Network, pairs: tuple[Pair, ...]) -> dict[str, FloatLayer]:
    """Return all layers but embeddings, each with the channels that it reads."""
    layers = network.layers()
    channels = {reader: layers[pair.producer].shape[0] for pair in pairs if not pair.norm for reader in pair.consumers}
    return {
        name: FloatLayer(network.weight(name), network.bias_or_zeros(name), layer.groups, channels.get(name, 0))
        for name, layer in layers.items()
        if layer.op != "embedding"
    }


def norm_parameters(network: Network, norm: str) -> tuple[Float32Array, Float32Array | None]:
    """Return a norm's weight and its bias, if it has one."""
    part = network.model.module.get_submodule(norm)
    weight, bias = (
        None if (own := getattr(part, role, None)) is None else own.detach().float().numpy()
        for role in ("weight", "bias")
    )
    assert weight is not None  # else it would be no norm
    return weight, bias


class _Probe:
    """A network, some inputs, and what it makes of them."""

    def __init__(self, network: Network) -> None:
        self._network, self._layers = network, network.layers()
        self._inputs = as_tensors(cut(inputs_of(network, "calibration")[0], 0, SAMPLES))
        self._plain, self._received = self._run({}, tuple(self._layers))

    def pairs(self) -> Iterator[Pair]:
        """Yield norms with the layers that read them, and layers with the next one, in the order of the readers."""
        alone = {name for name, layer in self._layers.items() if layer.op != "embedding" and not self._shared(name)}
        norms = {readers[0]: Pair(norm, readers, True) for norm, readers in self._norms().items()}
        before: dict[str, str] = {second: first for first, second in pairwise(self._layers)}
        for name in self._layers:
            if name in norms and alone.issuperset(norms[name].consumers) and self._norm_holds(norms[name]):
                yield norms[name]
            elif name in alone and (first := before.get(name)) in alone and self._layers_hold(str(first), name):
                yield Pair(str(first), (name,))

    def _shared(self, name: str) -> bool:
        return any(name in (layer.tied_to, layer.name) and layer.tied_to for layer in self._layers.values())

    def _norms(self) -> dict[str, tuple[str, ...]]:
        """Return the parts with a weight for each channel whose output is what layers receive."""
        if isinstance(self._network.model, OnnxModel):
            return {}
        module = shared_copy(self._network.model.module)
        norms = [
            name
            for name, part in module.named_modules()
            if name not in self._layers and getattr(getattr(part, "weight", None), "ndim", 0) == 1
        ]
        run = watched(module, {*norms, *self._layers}, self._inputs)
        given = {id(result): name for name, _, result in run if name in norms}
        readers: dict[str, tuple[str, ...]] = {}
        for name, received, _ in run:
            if name in self._layers and id(received) in given:
                norm = given[id(received)]
                readers[norm] = (*readers.get(norm, ()), name)
        return readers

    def _norm_holds(self, pair: Pair) -> bool:
        weight, bias = norm_parameters(self._network, pair.producer)
        if any(self._layers[name].input_channels != len(weight) for name in pair.consumers):
            return False
        factors = _factors(len(weight))
        grown = Override(_tensor(weight) * factors, None if bias is None else _tensor(bias) * factors)
        return self._holds({pair.producer: grown}, pair.consumers, factors.numpy())

    def _layers_hold(self, first: str, second: str) -> bool:
        outputs, reader = self._layers[first].shape[0], self._layers[second]
        if reader.input_channels % outputs:
            return False
        factors = _factors(outputs).numpy()
        given = FloatLayer(self._network.weight(first), self._network.bias_or_zeros(first))
        given = given.scaled_outputs(factors)
        grown = Override(_tensor(given.weight), _tensor(given.bias) if self._layers[first].has_bias else None)
        return self._holds({first: grown}, (second,), factors)

    def _holds(self, grown: Mapping[str, Override], readers: tuple[str, ...], factors: Float32Array) -> bool:
        overrides = dict(grown)
        for name in readers:
            layer = FloatLayer(
                self._network.weight(name), self._network.bias_or_zeros(name), self._layers[name].groups, len(factors)
            )
            overrides[name] = Override(_tensor(layer.scaled_inputs(1 / factors.astype(np.float64)).weight))
        outputs, received = self._run(overrides, readers)
        pairs = [*zip(outputs, self._plain, strict=True)]
        for name in readers:
            channels = [inputs[name].by_channel(len(factors)) for inputs in (received, self._received)]
            pairs.append((_tensor(channels[0] / factors[:, None]), _tensor(channels[1])))
        return all(_close(one, other) for one, other in pairs)

    def _run(
        self, overrides: Mapping[str, Override], layers: tuple[str, ...]
    ) -> tuple[list[Tensor], dict[str, LayerInputs]]:
        import torch

        found: dict[str, Any] = {}
        taps = {name: (lambda x, name=name: found.setdefault(name, x.clone())) for name in layers}
        with torch.no_grad():
            outputs = self._network.executor.run(self._inputs, overrides, taps=taps)
        return _tensors(outputs), {name: LayerInputs(self._layers[name], [x]) for name, x in found.items()}


def _factors(channels: int) -> Tensor:
    import torch

    powers = np.random.default_rng(0).integers(-REACH, REACH + 1, channels)
    return torch.from_numpy(np.ldexp(np.ones(channels, np.float32), powers))


def _tensor(array: Float32Array | Float64Array) -> Tensor:
    import torch

    return torch.from_numpy(np.array(array, np.float32))


def _tensors(outputs: Any) -> list[Tensor]:
    """Return all tensors among what a model gives."""
    import torch

    if isinstance(outputs, torch.Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= CLOSE * other.abs().max())
