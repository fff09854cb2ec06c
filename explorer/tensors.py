"""Where the tensor of a page comes from: a real one of the chosen network, or a synthetic one that says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.fields import Choice, Number, named
from explorer.language import read_words
from explorer.notation import count
from explorer.observing import given_inputs, observed_inputs, observed_logits
from explorer.sources import ModelKey
from quant_engine import Distribution, QuantError
from quant_engine.steps import finished

NONE = np.zeros(1, np.float32)  # stands for all weights of a network at once, which no page looks at
SEED = 0
SAMPLES = 10_000
SAMPLE_ROW = 80  # synthetic values in a row, where they are taken as a matrix
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


Reading = Generator[float, None, Subject]  # yields the share that is done


def _weights(model: ModelKey, layer: str) -> Subject:
    key = ResultKey("weights", model, layer)
    return Subject(key, "weights", "weight", compute.matrix(model, layer), about={"layer": layer})


def _layer_inputs(model: ModelKey, layer: str) -> Reading:
    info, network = compute.network(model).layers()[layer], compute.network(model)
    about = {"layer": layer}
    after = AFTER.get(info.input_range, "inputs")
    _require_real(info.op != "embedding", after, about)
    values = yield from observed_inputs(network, layer)
    return Subject(ResultKey("inputs", model, layer), after, "activation", values, about=about)


def _logits(model: ModelKey, layer: str) -> Reading:
    values = yield from observed_logits(compute.network(model))
    return Subject(ResultKey("logits", model), "logits", "logit", values, about={"model": compute.name(model)})


def _network_inputs(model: ModelKey, layer: str) -> Reading:
    about = {"model": compute.name(model)}
    values = yield from given_inputs(compute.network(model))
    _require_real(values.dtype.kind == "f", "network_inputs", about)
    key = ResultKey("network inputs", model)
    return Subject(key, "network_inputs", "input value", values, about=about)


def _require_real(real: bool, name: str, about: Mapping[str, str]) -> None:
    if not real:
        words = read_words("tensors")
        raise QuantError(words["refusals"]["tokens"].format(tensor=words["titles"][name].format(**about)))


REAL: dict[str, Callable[[ModelKey, str], Subject | Reading]] = {
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


def _whole(model: ModelKey, layer: str) -> Subject:
    about = {"model": compute.name(model)}
    return Subject(ResultKey("all", model), "network", "any weight", NONE, about=about)


WHOLE: dict[str, Callable[[ModelKey, str], Subject | Reading]] = {  # for pages on a network as a whole; in no menu
    "network": _whole,
    "chosen weight": REAL["weights"],
}
RUN = ("layer inputs", "logits")  # for which the model runs
LARGE = 1_000_000  # weights, from which on that takes longer than a page


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
    key = subject_key(source, model, layer, outlier)
    return compute.kept(key, lambda: _read_only(finished(_make(source, model, layer, outlier))))


def subject_key(source: str, model: ModelKey, layer: str, outlier: int = 0) -> ResultKey:
    """Return what names the tensor of a source."""
    return ResultKey("subject", source, *((outlier,) if source in SYNTHETIC else (model, layer)))


def is_awaited(source: str, model: ModelKey, layer: str) -> bool:
    """Say whether a large model has to run before the tensor of a source is there."""
    if source not in RUN or compute.at_hand(subject_key(source, model, layer)):
        return False
    return sum(info.parameters for info in compute.network(model).layers().values()) >= LARGE


def subject_steps(source: str, model: ModelKey, layer: str) -> Generator[float, None, None]:
    """Yield how far the model has run for a real tensor, and have it kept at the end."""
    made = yield from _make(source, model, layer, 0)
    compute.kept(subject_key(source, model, layer), lambda: _read_only(made))


def another(source: str, model: ModelKey, layer: str) -> tuple[str, str]:
    """Return the source and layer of another real tensor, for a question: the next layer's, of the same kind if any."""
    layers = list(compute.network(model).layers())
    following = layers[(layers.index(layer) + 1) % len(layers)]
    return (source if source == "weights" else "layer inputs") if source in REAL else "weights", following


def _make(source: str, model: ModelKey, layer: str, outlier: int) -> Reading:
    real = {**REAL, **WHOLE}
    if source in real:
        made = real[source](model, layer)
        return made if isinstance(made, Subject) else (yield from made)
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
