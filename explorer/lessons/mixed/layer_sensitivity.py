"""How much the network minds each layer's quantization: measured in the background, drawn as bars."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import streamlit as st

from explorer import charts, compute, controls, tables
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.fields import Choice, Number, named
from explorer.figures.sensitivity import describe_sensitivity, sensitivity_figure
from explorer.layer_outputs import validate_fisher_size
from explorer.lessons.clipping.calibration import activation_spec
from explorer.lessons.framework import study
from explorer.lessons.framework.fields import SLIDER_WIDTH
from explorer.lessons.framework.layout import more
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.framework.study import Study
from explorer.lessons.mixed import plans
from explorer.lessons.mixed.harm import harm, is_quick, knows_loss, validate_measure
from explorer.notation import short
from explorer.sources import ModelKey
from quant_engine import MinMax, QuantError, QuantizerSpec
from quant_engine.studies import (
    Effect,
    Part,
    Prediction,
    Scope,
    Trial,
    effect,
    predict_sensitivity,
    sensitivities,
    trials,
)
from quant_engine.studies.fisher import missing_gradients

SLUG = "mixed"
NAME = f"{SLUG}_survey"
AT = Number(f"{SLUG}_at", 2, 8, default=3, width=SLIDER_WIDTH)
SCOPES: dict[str, Scope] = {"only this layer": "only", "all but this one": "others"}
SCOPE = Choice(f"{SLUG}_scope", named(SCOPES), default="only this layer")


@dataclass(frozen=True)
class Metric:
    """A number that says how much a layer is minded: measured of an effect beside none, or predicted."""

    word: str
    measured: Callable[[Effect, Effect], float] | None = None
    predicted: Callable[[Prediction], float] | None = None
    more_is_worse: bool = True

    def title(self, model: ModelKey) -> str:
        """Return what it is called."""
        word = "noise" if self.word == "loss" and not knows_loss(model) else self.word
        return read_prose(SLUG).laboratory[f"metric_{word}"]


METRICS: dict[str, Metric] = {
    "loss": Metric("loss", harm),
    "accuracy": Metric("accuracy", lambda found, plain: 100 * (plain.score.value - found.score.value)),
    "KL": Metric("KL", lambda found, plain: found.divergence),
    "SQNR": Metric("SQNR", lambda found, plain: found.sqnr_db, more_is_worse=False),
    "weight MSE": Metric("weight_MSE", predicted=lambda found: found.weight_mse),
    "Fisher": Metric("Fisher", predicted=lambda found: found.loss_increase),
}
METRIC = Choice(f"{SLUG}_metric", named(METRICS), default="loss", menu=True, width=124)
FIELDS = METRIC, SCOPE, AT
Values = dict[str, list[float | None]]  # of layers, by part; None where it is not known yet
PARTS: dict[str, Part] = {"weights": "weight", "inputs": "activation"}


def plain_of(mix: Mix) -> Effect:
    """Return the effect of floating point, found once."""
    known = plans.findings(mix.model, mix.shared).plans
    if () not in known:
        known[()] = effect(plans.network_of(mix))
    return known[()]


def survey_of(mix: Mix, at: int) -> Study:
    """Return the measuring of all layers with `at` bits: what is asked for first comes first."""
    network, found = plans.network_of(mix), plans.findings(mix.model, mix.shared)
    weight, inputs = plans.spec_of(mix, at), activation_spec(at, MinMax())

    def steps() -> Generator[object, None, None]:
        plain_of(mix)
        wanted = [
            *trials(network, [weight]),
            *trials(network, [inputs], ("activation",)),
            *trials(network, [weight], scopes=("others",)),
            *trials(network, [inputs], ("activation",), ("others",)),
        ]
        yield from sensitivities(network, wanted, found.trials)
        with suppress(QuantError):  # why there is no Fisher information is said where it is asked for
            for layer in network.layers():
                yield predicted(mix, layer, weight)

    return Study(ResultKey(NAME, mix.model, mix.shared, at), steps, 5 * len(network.layers()))


def predicted(mix: Mix, layer: str, spec: QuantizerSpec) -> Prediction:
    """Return what a layer's error lets expect, found once.

    Raises:
        QuantError: for a network without Fisher information, and one that is too large for it.
    """
    known = plans.findings(mix.model, mix.shared).predictions
    if (layer, spec.key) not in known:
        validate_fisher_size(plans.network_of(mix))
        known[layer, spec.key] = predict_sensitivity(plans.network_of(mix), layer, spec)
    return known[layer, spec.key]


def predicted_now(mix: Mix, layer: str, spec: QuantizerSpec) -> Prediction:
    """Return what a layer's error lets expect, where a page need not wait for it.

    Raises:
        QuantError: where it has not been found yet of a large network, and as `predicted`.
    """
    if not is_quick(mix.model) and (layer, spec.key) not in plans.findings(mix.model, mix.shared).predictions:
        if reason := missing_gradients(plans.network_of(mix)):
            raise QuantError(reason)
        validate_fisher_size(plans.network_of(mix))
        raise QuantError(read_prose(SLUG).laboratory["not_predicted"])
    return predicted(mix, layer, spec)


def rises(mix: Mix, at: int) -> dict[str, float]:
    """Return by how much the loss rises with each layer's weight alone at `at` bits; waits for what is missing."""
    network, known = plans.network_of(mix), plans.findings(mix.model, mix.shared).trials
    spec = plans.spec_of(mix, at)
    for _ in sensitivities(network, trials(network, [spec]), known):
        pass
    return {layer: harm(known[Trial(layer, spec).key], plain_of(mix)) for layer in network.layers()}


def survey(bench: Bench, mix: Mix) -> None:
    """Draw the controls and the bars, which grow while measuring goes on."""
    words = read_prose(SLUG).laboratory
    compute.require_task(mix.model)
    with bench.controls:
        name, at = controls.show(METRIC), controls.show(AT)
        with more(SLUG):
            scope = controls.show(SCOPE, disabled=METRICS[name].measured is None)
    if name == "KL":  # for a loss, the noise of the outputs stands in
        validate_measure(mix.model, name)
    if METRICS[name].predicted is not None and not study.active(survey_of(mix, at).key):
        predicted_now(mix, next(iter(plans.layers_of(mix.model))), plans.spec_of(mix, at))

    def draw(_: Task | None) -> None:
        values = values_of(mix, at, name, scope)
        if bench.predicted:
            _bars(bench, mix, METRICS[name], values)
            _numbers(mix, at, name, scope, values)
        else:
            st.info(words["locked"], icon=":material/lock:")
            _bars(bench, mix, METRICS[name], {part: [None] * len(found) for part, found in values.items()})

    study.show(survey_of(mix, at), words["surveying"], draw)


def values_of(mix: Mix, at: int, name: str, scope: str) -> Values:
    """Return the sensitivity of each layer's weight and input."""
    metric, found = METRICS[name], plans.findings(mix.model, mix.shared)
    layers = list(plans.network_of(mix).layers())
    weight = plans.spec_of(mix, at)
    if metric.predicted is not None:
        known = [found.predictions.get((layer, weight.key)) for layer in layers]
        return {"weights": [None if one is None else metric.predicted(one) for one in known]}
    assert metric.measured is not None
    plain = found.plans.get(())
    values: Values = {}
    for title, part in PARTS.items():
        spec = weight if part == "weight" else activation_spec(at, MinMax())
        effects = [found.trials.get(Trial(layer, spec, part, SCOPES[scope]).key) for layer in layers]
        values[title] = [None if one is None or plain is None else metric.measured(one, plain) for one in effects]
    return values


def _bars(bench: Bench, mix: Mix, metric: Metric, values: Values) -> None:
    layers = list(plans.network_of(mix).layers())
    title = metric.title(mix.model)
    figure = sensitivity_figure(layers, values, title, bench.canvas)
    charts.show(figure, f"{SLUG}_chart_survey", describe_sensitivity(layers, values, title))


def _numbers(mix: Mix, at: int, name: str, scope: str, values: Values) -> None:
    st.caption(_ranked(mix, values["weights"], METRICS[name], scope, at))
    with st.expander(read_prose(SLUG).laboratory["survey_numbers"], key=f"{SLUG}_survey_numbers"):
        tables.table(_table(list(plans.network_of(mix).layers()), values))


def _ranked(mix: Mix, weights: Sequence[float | None], metric: Metric, scope: str, at: int) -> str:
    """Say which weight is minded most, and where the biggest layer stands."""
    words = read_prose(SLUG).laboratory
    if any(value is None for value in weights):
        return words["survey_under_way"].format(what=metric.title(mix.model), scope=scope, at=at)
    known = dict(zip(plans.network_of(mix).layers(), (float(value or 0) for value in weights), strict=True))
    alone = metric.predicted is not None or SCOPES[scope] == "only"
    order = sorted(known, key=lambda layer: known[layer], reverse=metric.more_is_worse == alone)
    big = biggest(mix)
    text = words["survey_ranked" if alone else "survey_ranked_others"]
    first, rank = order[0], order.index(big) + 1
    return text.format(
        layer=first, value=short(known[first]), what=metric.title(mix.model), big=big, rank=rank, n=len(order)
    )


def biggest(mix: Mix) -> str:
    """Return the layer with the most weights."""
    layers = plans.network_of(mix).layers()
    return max(layers, key=lambda layer: layers[layer].parameters)


def _table(layers: Sequence[str], values: Values) -> list[dict[str, str]]:
    return [
        {
            "layer": layer,
            **{title: "…" if one[place] is None else short(one[place] or 0.0) for title, one in values.items()},
        }
        for place, layer in enumerate(layers)
    ]
