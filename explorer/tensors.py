"""Where the tensor of a page comes from: a real one of the chosen network, or a synthetic one that says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.fields import Choice, Number, named
from explorer.language import read_words
from explorer.notation import count
from explorer.sources import ModelKey
from quant_engine import Distribution, QuantError
from quant_engine.batches import cut
from quant_engine.inputs import Inputs
from quant_engine.network import Network
from quant_engine.tasks.base import pick_output

SEED = 0
SAMPLES = 10_000
SAMPLE_ROW = 80  # synthetic values in a row, where they are taken as a matrix
OBSERVED = 64  # calibration samples at most, for activations
MAX_VALUES = 1 << 22  # of them
MAX_SIGMAS = 60
AFTER = {(0.0, math.inf): "inputs_relu", (0.0, 6.0): "inputs_relu6"}  # by the range of what a layer receives

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Subject:
    """A tensor on display: `key` names its content for caches, `name` and `about` are what its title is made of.

    Its values, each a `unit`, are flat; `row` of them lie along its last axis.
    """

    key: ResultKey
    name: str
    unit: str
    values: Float32Array
    row: int = 1
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called, in the middle of a sentence."""
        told = {**self.about, "n": count(len(self.matrix if self.name == "pairs" else self.values))}
        return str(read_words("tensors")["titles"].get(self.name, self.name).format(**told))

    @property
    def matrix(self) -> Float32Array:
        """The values as rows of the tensor's last axis."""
        return self.values.reshape(-1, self.row)

    @property
    def statistics(self) -> Distribution:
        """The tensor's statistics, kept."""
        exact = self.values.size <= compute.EXACT_UP_TO
        return compute.kept(ResultKey("distribution", self.key), lambda: Distribution(self.values, exact=exact))

    @property
    def is_weight(self) -> bool:
        """Whether the playground can show it."""
        return self.unit == "weight"


def _weights(model: ModelKey, layer: str) -> Subject:
    key = ResultKey("weights", model, layer)
    return Subject(key, "weights", "weight", compute.matrix(model, layer), about={"layer": layer})


def _layer_inputs(model: ModelKey, layer: str) -> Subject:
    info, network = compute.network(model).layers()[layer], compute.network(model)
    about = {"layer": layer}
    after = AFTER.get(info.input_range, "inputs")
    _require_real(info.op != "embedding", after, about)
    values = _observed(network, lambda inputs: network.capture(inputs, [layer])[layer], info.channel_axis)
    return Subject(ResultKey("inputs", model, layer), after, "activation", values, about=about)


def _logits(model: ModelKey, layer: str) -> Subject:
    network = compute.network(model)
    values = _observed(network, lambda inputs: np.asarray(pick_output(network.run(inputs), None, "logits")), -1)
    return Subject(ResultKey("logits", model), "logits", "logit", values, about={"model": compute.name(model)})


def _network_inputs(model: ModelKey, layer: str) -> Subject:
    about = {"model": compute.name(model)}
    values = _observed(compute.network(model), lambda inputs: np.asarray(pick_output(inputs, None, "")), 1)
    _require_real(values.dtype.kind == "f", "network_inputs", about)
    key = ResultKey("network inputs", model)
    return Subject(key, "network_inputs", "input value", values, about=about)


def _require_real(real: bool, name: str, about: Mapping[str, str]) -> None:
    if not real:
        words = read_words("tensors")
        raise QuantError(words["refusals"]["tokens"].format(tensor=words["titles"][name].format(**about)))


def _observed(network: Network, of: Callable[[Inputs], Float32Array], channel_axis: int) -> Float32Array:
    """Return what is made of the first calibration samples: of a large model of fewer, and of vectors that fit."""
    parts: list[Float32Array] = []
    left = MAX_VALUES
    for inputs in network.input_batches(stop=OBSERVED):
        one = of(cut(inputs, 0, 1))
        fitting = left // one.size
        parts.append(of(cut(inputs, 0, fitting)) if fitting > 1 else one)
        left -= parts[-1].size
        if left < one.size:
            break
    values = _together(parts, channel_axis)
    if values.size <= MAX_VALUES:
        return values
    return values.reshape(-1, values.shape[-1])[: max(MAX_VALUES // values.shape[-1], 1)]


def _together(parts: list[Float32Array], channel_axis: int) -> Float32Array:
    """Return samples of one shape as they are, and others as vectors (places, channels)."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    rows = [np.moveaxis(part, channel_axis, -1) for part in parts]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in rows])


REAL: dict[str, Callable[[ModelKey, str], Subject]] = {
    "weights": _weights,
    "layer inputs": _layer_inputs,
    "logits": _logits,
    "network inputs": _network_inputs,
}
SYNTHETIC: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {  # each of unit deviation
    "synthetic Gaussian": lambda rng: rng.standard_normal(SAMPLES),
    "synthetic Laplace": lambda rng: rng.laplace(scale=0.5**0.5, size=SAMPLES),
    "synthetic uniform": lambda rng: rng.uniform(-(3**0.5), 3**0.5, SAMPLES),
    "synthetic two humps": lambda rng: 0.3 * rng.standard_normal(SAMPLES) + 0.91**0.5 * rng.choice([-1, 1], SAMPLES),
}


def _all_weights(model: ModelKey, layer: str) -> Subject:
    network = compute.network(model)
    values = np.concatenate([network.weight(name).reshape(-1) for name in network.layers()])
    return Subject(ResultKey("all", model), "network", "any weight", values, about={"model": compute.name(model)})


WHOLE: dict[str, Callable[[ModelKey, str], Subject]] = {  # for pages on a network as a whole; in no menu
    "all weights": _all_weights,
    "chosen weight": REAL["weights"],
}


def source_field(prefix: str, default: str = "weights") -> Choice[str]:
    """Return the field that chooses where a page's tensor comes from."""
    return Choice(
        f"{prefix}_tensor",
        named((*REAL, *SYNTHETIC)),
        default=default,
        menu=True,
        width=132,
        words="tensor_of",
    )


def outlier_field(prefix: str) -> Number[int]:
    """Return the field that places an outlier among synthetic values."""
    return Number(f"{prefix}_outlier", 0, MAX_SIGMAS, 0, width=110, words="outlier")


def subject(source: str, model: ModelKey, layer: str, outlier: int = 0) -> Subject:
    """Return the tensor of a source, kept and read-only; `outlier` counts for synthetic ones."""
    about = (outlier,) if source in SYNTHETIC else (model, layer)
    return compute.kept(ResultKey("subject", source, *about), lambda: _read_only(_make(source, model, layer, outlier)))


def another(source: str, model: ModelKey, layer: str) -> tuple[str, str]:
    """Return the source and layer of another real tensor, for a question: the next layer's, of the same kind if any."""
    layers = list(compute.network(model).layers())
    following = layers[(layers.index(layer) + 1) % len(layers)]
    return (source if source == "weights" else "layer inputs") if source in REAL else "weights", following


def _make(source: str, model: ModelKey, layer: str, outlier: int) -> Subject:
    real = {**REAL, **WHOLE}
    if source in real:
        return real[source](model, layer)
    values = SYNTHETIC[source](np.random.default_rng(SEED)).astype(np.float32)
    if outlier:
        values[0] = outlier
    return Subject(ResultKey(source, outlier), source, "value", values.reshape(-1, SAMPLE_ROW))


def _read_only(made: Subject) -> Subject:
    values = np.ascontiguousarray(made.values).reshape(-1)
    if values.flags.writeable:
        values.flags.writeable = False
    return replace(made, values=values, row=made.values.shape[-1])


def tensor_fields(prefix: str, default: str = "weights") -> tuple[Choice[str], Number[int]]:
    """Return both fields of a page's tensor."""
    return source_field(prefix, default), outlier_field(prefix)
