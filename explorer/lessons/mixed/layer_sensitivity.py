"""How much the network minds each layer's quantization: measured in the background, drawn as bars."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import streamlit as st

from explorer import charts, controls
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.fields import Choice, Number, named
from explorer.figures.sensitivity import describe_sensitivity, sensitivity_figure
from explorer.lessons.clipping.calibration import activation_spec
from explorer.lessons.framework import study
from explorer.lessons.framework.fields import SLIDER_WIDTH
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.framework.study import Study
from explorer.lessons.mixed import plans
from explorer.notation import short
from quant_engine import MinMax, QuantizerSpec
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

SLUG = "mixed"
NAME = f"{SLUG}_survey"
AT = Number(
    f"{SLUG}_at",
    2,
    8,
    default=3,
    width=SLIDER_WIDTH,
)
SCOPES: dict[str, Scope] = {"only this layer": "only", "all but this one": "others"}
SCOPE = Choice(
    f"{SLUG}_scope",
    named(SCOPES),
    default="only this layer",
)


@dataclass(frozen=True)
class Metric:
    """A number that says how much a layer is minded: measured of an effect beside none, or predicted."""

    title: str
    measured: Callable[[Effect, Effect], float] | None = None
    predicted: Callable[[Prediction], float] | None = None
    more_is_worse: bool = True


METRICS: dict[str, Metric] = {
    "loss": Metric("rise of the loss", lambda found, plain: found.loss - plain.loss),
    "accuracy": Metric("accuracy lost, points", lambda found, plain: 100 * (plain.score.value - found.score.value)),
    "KL": Metric("KL divergence of the outputs, nats", lambda found, plain: found.divergence),
    "SQNR": Metric("SQNR of the logits, dB", lambda found, plain: found.sqnr_db, more_is_worse=False),
    "weight MSE": Metric("mean squared error of the weights", predicted=lambda found: found.weight_mse),
    "Fisher": Metric("predicted rise of the loss, ½ Σ F δ²", predicted=lambda found: found.loss_increase),
}
METRIC = Choice(
    f"{SLUG}_metric",
    named(METRICS),
    default="loss",
    menu=True,
    width=170,
)
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
        for layer in network.layers():
            yield predicted(mix, layer, weight)

    return Study(ResultKey(NAME, mix.model, mix.shared, at), steps, 5 * len(network.layers()))


def predicted(mix: Mix, layer: str, spec: QuantizerSpec) -> Prediction:
    """Return what a layer's error lets expect, found once."""
    known = plans.findings(mix.model, mix.shared).predictions
    if (layer, spec.key) not in known:
        known[layer, spec.key] = predict_sensitivity(plans.network_of(mix), layer, spec)
    return known[layer, spec.key]


def rises(mix: Mix, at: int) -> dict[str, float]:
    """Return by how much the loss rises with each layer's weight alone at `at` bits; waits for what is missing."""
    network, known = plans.network_of(mix), plans.findings(mix.model, mix.shared).trials
    spec = plans.spec_of(mix, at)
    for _ in sensitivities(network, trials(network, [spec]), known):
        pass
    return {layer: known[Trial(layer, spec).key].loss - plain_of(mix).loss for layer in network.layers()}


def survey(bench: Bench, mix: Mix) -> int:
    """Draw the controls and the bars, which grow while measuring goes on; return the bits that are tried."""
    words = read_prose(SLUG).laboratory
    st.subheader(words["survey_title"])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key=f"{SLUG}_survey"):
        name = controls.show(METRIC)
        scope = controls.show(SCOPE, disabled=METRICS[name].measured is None)
        at = controls.show(AT)

    def draw(_: Task | None) -> None:
        if bench.predicted:
            _bars(bench, mix, at, name, scope)
        else:
            st.info(words["locked"], icon=":material/lock:")

    study.show(survey_of(mix, at), words["surveying"], draw)
    return at


def values_of(mix: Mix, at: int, name: str, scope: str) -> dict[str, list[float | None]]:
    """Return the sensitivity of each layer's weight and input, None where it is not known yet."""
    metric, found = METRICS[name], plans.findings(mix.model, mix.shared)
    layers = list(plans.network_of(mix).layers())
    weight = plans.spec_of(mix, at)
    if metric.predicted is not None:
        known = [found.predictions.get((layer, weight.key)) for layer in layers]
        return {"weights": [None if one is None else metric.predicted(one) for one in known]}
    assert metric.measured is not None
    plain = found.plans.get(())
    values: dict[str, list[float | None]] = {}
    for title, part in PARTS.items():
        spec = weight if part == "weight" else activation_spec(at, MinMax())
        effects = [found.trials.get(Trial(layer, spec, part, SCOPES[scope]).key) for layer in layers]
        values[title] = [None if one is None or plain is None else metric.measured(one, plain) for one in effects]
    return values


def _bars(bench: Bench, mix: Mix, at: int, name: str, scope: str) -> None:
    words, metric = read_prose(SLUG).laboratory, METRICS[name]
    values = values_of(mix, at, name, scope)
    layers = list(plans.network_of(mix).layers())
    figure = sensitivity_figure(layers, values, metric.title, bench.canvas)
    charts.show(figure, f"{SLUG}_chart_survey", describe_sensitivity(layers, values, metric.title))
    st.caption(_ranked(mix, values["weights"], metric, scope, at))
    with st.expander(words["survey_numbers"], key=f"{SLUG}_survey_numbers"):
        st.table(_table(layers, values))


def _ranked(mix: Mix, weights: Sequence[float | None], metric: Metric, scope: str, at: int) -> str:
    """Say which weight is minded most, and where the biggest layer stands."""
    words = read_prose(SLUG).laboratory
    if any(value is None for value in weights):
        return words["survey_under_way"].format(what=metric.title, scope=scope, at=at)
    known = dict(zip(plans.network_of(mix).layers(), (float(value or 0) for value in weights), strict=True))
    alone = metric.predicted is not None or SCOPES[scope] == "only"
    order = sorted(known, key=lambda layer: known[layer], reverse=metric.more_is_worse == alone)
    big = biggest(mix)
    text = words["survey_ranked" if alone else "survey_ranked_others"]
    first, rank = order[0], order.index(big) + 1
    return text.format(layer=first, value=short(known[first]), what=metric.title, big=big, rank=rank, n=len(order))


def biggest(mix: Mix) -> str:
    """Return the layer with the most weights."""
    layers = plans.network_of(mix).layers()
    return max(layers, key=lambda layer: layers[layer].parameters)


def _table(layers: Sequence[str], values: dict[str, list[float | None]]) -> list[dict[str, str]]:
    return [
        {
            "layer": layer,
            **{title: "…" if one[place] is None else short(one[place] or 0.0) for title, one in values.items()},
        }
        for place, layer in enumerate(layers)
    ]
