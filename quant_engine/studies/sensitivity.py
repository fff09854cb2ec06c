"""How sensitive a network is to each layer's quantization: measured on the calibration data, and predicted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np

from quant_engine.checks import as_choice, as_instance, as_list
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec, fit
from quant_engine.studies.effect import Effect, effect
from quant_engine.studies.fisher import fisher

Part = Literal["weight", "activation"]
Scope = Literal["only", "others"]
PARTS: tuple[Part, ...] = ("weight", "activation")
SCOPES: tuple[Scope, ...] = ("only", "others")

SPEC_REMEDY = "give QuantizerSpec(format, …)"

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Trial:
    """One measurement: the weight or the input activation quantized by `spec` in one layer, or in all others.

    A weight that layers share is one weight: it is quantized in all of them. What an embedding receives are numbers of
    rows, which stay as they are.
    Activations are static: their ranges are fixed on the calibration data.
    """

    layer: str
    spec: QuantizerSpec
    part: Part = "weight"
    scope: Scope = "only"

    def __post_init__(self) -> None:
        """Check the choices."""
        as_instance(self.layer, str, "layer", "give a layer's name")
        as_instance(self.spec, QuantizerSpec, "spec", SPEC_REMEDY)
        as_choice(self.part, PARTS, "part")
        as_choice(self.scope, SCOPES, "scope")

    @property
    def key(self) -> Key:
        """What results of one network are kept under: layer, the spec's key, part, scope."""
        return self.layer, self.spec.key, self.part, self.scope

    def plan(self, network: Network) -> QuantizationPlan:
        """Return the plan that is measured.

        Raises:
            QuantError: for a layer the network does not have.
        """
        as_instance(network, Network, "network", "load() gives one").weight(self.layer)  # refuses a layer there is not
        layers = network.layers()
        meant = {self.layer}
        if self.part == "weight":
            own = layers[self.layer].tied_to or self.layer
            meant = {name for name, info in layers.items() if (info.tied_to or name) == own}
        changed = [name for name in layers if (name in meant) == (self.scope == "only")]
        if self.part == "activation":
            changed = [name for name in changed if layers[name].op != "embedding"]
        change = LayerPlan(self.spec) if self.part == "weight" else LayerPlan(activation=self.spec)
        return QuantizationPlan(dict.fromkeys(changed, change))


class Progress(NamedTuple):
    """A measured trial, and how many of how many are done with it."""

    trial: Trial
    effect: Effect
    done: int
    total: int


def trials(
    network: Network,
    candidates: Iterable[QuantizerSpec],
    parts: Iterable[Part] = ("weight",),
    scopes: Iterable[Scope] = ("only",),
) -> list[Trial]:
    """Return a trial for each candidate, part, scope and layer; the last layers first, which run the fastest.

    Raises:
        QuantError: for candidates that are no specs, and unknown parts and scopes.
    """
    specs = as_list(candidates, QuantizerSpec, "candidates", SPEC_REMEDY)
    which = as_list(parts, str, "parts", f"give some of {', '.join(PARTS)}")
    where = as_list(scopes, str, "scopes", f"give some of {', '.join(SCOPES)}")
    layers = as_instance(network, Network, "network", "load() gives one").layers()
    return [
        Trial(layer, spec, cast(Part, part), cast(Scope, scope))
        for spec in specs
        for part in which
        for scope in where
        for layer in reversed(layers)
        if part == "weight" or layers[layer].op != "embedding"
    ]


def sensitivities(
    network: Network, wanted: Iterable[Trial], kept: MutableMapping[Key, Effect] | None = None
) -> Iterator[Progress]:
    """Measure trials on the calibration data, one when the next is asked for; never on test data.

    A caller shows progress between two results, or stops. Results are put into `kept`, a mapping for this one network,
    and taken from it where they are already there, so that measuring goes on where it was stopped.

    Raises:
        QuantError: when its turn comes, for a layer the network does not have, and a spec that does not fit it.

    Example:
        >>> from quant_engine import IntFormat
        >>> from quant_engine.network import load
        >>> network, kept = load("fashion-cnn"), {}
        >>> wanted = trials(network, [QuantizerSpec(IntFormat(2))])
        >>> first = next(sensitivities(network, wanted, kept))
        >>> first.trial.layer, first.done, first.total, len(kept)
        ('fc2', 1, 5, 1)
    """
    as_instance(network, Network, "network", "load() gives one")
    if kept is not None and not isinstance(kept, MutableMapping):
        raise QuantError(f"kept={kept!r} is no mapping; give a dict for this network, or None")
    results: MutableMapping[Key, Effect] = {} if kept is None else kept
    listed = as_list(wanted, Trial, "wanted", "trials() gives them")
    for done, trial in enumerate(listed, 1):
        if trial.key not in results:
            results[trial.key] = effect(network, trial.plan(network))
        yield Progress(trial, results[trial.key], done, len(listed))


class Prediction(NamedTuple):
    """What a weight's error lets expect: its mean square, and the increase of the loss, ½ Σ F·(ŵ − w)²."""

    weight_mse: float
    loss_increase: float


def predict_sensitivity(network: Network, layer: str, spec: QuantizerSpec) -> Prediction:
    """Return what quantizing one layer's weight by a spec is expected to do, without running the network so quantized.

    F is the diagonal empirical Fisher information of the calibration data (`fisher`). Near a minimum the loss
    rises by ½ δᵀ H δ for a change δ of the weights; the diagonal of F stands in for the Hessian H (Dong et al. 2019;
    Kim et al. 2024, SqueezeLLM, equation 3).

    Raises:
        QuantError: for a layer the network does not have, and a spec that does not fit it.

    Example:
        >>> from quant_engine import IntFormat
        >>> from quant_engine.network import load
        >>> two, eight = (predict_sensitivity(load("fashion-cnn"), "fc2", QuantizerSpec(IntFormat(b))) for b in (2, 8))
        >>> two.loss_increase > 1000 * eight.loss_increase > 0
        True
    """
    error = weight_error(network, layer, spec)
    information = fisher(network)[layer].reshape(error.shape)
    return Prediction(float(error.mean()), float(0.5 * (information * error).sum()))


def weight_error(network: Network, layer: str, spec: QuantizerSpec) -> Float64Array:
    """Return (ŵ − w)² of a layer's weight under a spec, (out, everything else).

    Raises:
        QuantError: for a layer the network does not have, and a spec that does not fit it.
    """
    as_instance(network, Network, "network", "load() gives one")
    weight = network.weight(layer).reshape(network.layers()[layer].matrix_shape)
    error: Float64Array = np.square(fit(weight, spec).fake_quantize(weight) - weight, dtype=np.float64)
    return error
