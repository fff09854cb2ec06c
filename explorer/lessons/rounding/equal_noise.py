"""A layer's quantization error against Gaussian noise of the same size: does the network tell them apart?"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from functools import partial

import numpy as np
import streamlit as st

from explorer import charts, compute, model_scores
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.figures import theme
from explorer.figures.intervals import Row, describe_intervals, intervals_figure
from explorer.lessons.framework import study
from explorer.lessons.framework.model import Bench, beyond, overlap
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.study import Study
from explorer.notation import count, shown_score, with_interval
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.models import Layer
from quant_engine.network import Network, Score
from quant_engine.studies import equal_noise

SLUG = "rounding"
NAME = f"{SLUG}_noise"
DRAWS = 5
FLOAT, ALONE, EVERY = "float32", "alone", "every"

Found = Mapping[tuple[str, int | None], Score]  # by what is changed, and the draw of noise; None: quantized


def with_noise(network: Network, model: ModelKey, layers: Collection[str], spec: QuantizerSpec, draw: int) -> Network:
    """Return the network with noise on some layers' weights, as large as the error that a spec makes there."""
    changed = {}
    for place, name in enumerate(layers):
        weight = compute.matrix(model, name)
        error = compute.fitted(model, name, spec).fake_quantize(weight) - weight
        noisy = weight + equal_noise(error, spec, np.random.default_rng((draw, place)))
        changed[name] = noisy.reshape(network.layers()[name].shape), network.bias(name)
    return network.with_parameters(changed)


def changed_layers(layers: Mapping[str, Layer], layer: str) -> dict[str, list[str]]:
    """Return the layers whose weights are changed: that of one layer, and all; of shared ones, those that hold them."""
    return {ALONE: [layers[layer].tied_to or layer], EVERY: [n for n, info in layers.items() if info.tied_to is None]}


def noise_study(model: ModelKey, layer: str, spec: QuantizerSpec) -> Study:
    """Return the scoring of the quantized network, and of draws of noise in the error's place."""
    network = compute.network(model)
    layers = network.layers()

    def steps() -> Generator[tuple[tuple[str, int | None], Score], None, None]:
        yield (FLOAT, None), model_scores.score(model, None)
        for name, chosen in changed_layers(layers, layer).items():
            users = [user for user, info in layers.items() if (info.tied_to or user) in chosen]
            yield (name, None), network.evaluate(QuantizationPlan(dict.fromkeys(users, LayerPlan(spec))))
            for draw in range(DRAWS):
                yield (name, draw), with_noise(network, model, chosen, spec, draw).evaluate()

    return Study(ResultKey(NAME, model, layer, spec), steps, 1 + 2 * (1 + DRAWS))


def equal_noise_section(bench: Bench, spec: QuantizerSpec) -> None:
    """Offer the comparison, and draw it."""
    words = read_prose(SLUG).laboratory
    st.subheader(words["noise_title"])
    st.markdown(words["noise_lead"].format(layer=bench.layer))
    compute.require_task(bench.model)
    one = noise_study(bench.model, bench.layer, spec)
    label = words["noise_begin"].format(runs=one.total, samples=compute.samples(bench.model, "test"))
    study.offer(one, label, words["noise_measuring"], partial(_draw, bench))


def _draw(bench: Bench, task: Task | None) -> None:
    found: Found = dict(task.items) if task is not None else {}
    rows = rows_of(found, bench.layer)
    if not rows:
        return
    charts.show(intervals_figure(rows, bench.canvas), f"{SLUG}_chart_noise", describe_intervals(rows))
    for name in (ALONE, EVERY):
        if (name, DRAWS - 1) in found:
            st.markdown(verdict(found, name, bench.layer, compute.sample_unit(bench.model)))


def rows_of(found: Found, layer: str) -> list[Row]:
    """Return what is drawn of the scores found so far."""
    words = read_prose(SLUG).laboratory
    rows = [Row(FLOAT, [found[FLOAT, None]], theme.ORIGINAL, reference=True)] if (FLOAT, None) in found else []
    for name in (ALONE, EVERY):
        if (name, None) in found:
            rows.append(Row(words[f"noise_quantized_{name}"].format(layer=layer), [found[name, None]]))
        if drawn := _drawn(found, name):
            rows.append(Row(words["noise_drawn"].format(draws=len(drawn)), drawn, theme.ERROR))
    return rows


def _drawn(found: Found, name: str) -> list[Score]:
    return [found[name, draw] for draw in range(DRAWS) if (name, draw) in found]


def verdict(found: Found, name: str, layer: str, unit: str) -> str:
    """Say whether the error and noise of its size can be told apart by what they do."""
    words, real, drawn = read_prose(SLUG).laboratory, found[name, None], _drawn(found, name)
    near = sum(overlap(real, one) for one in drawn)
    key = {0: "noise_tie" if near == len(drawn) else "noise_unclear", -1: "noise_worse", 1: "noise_better"}
    ordered = sorted(drawn, key=lambda one: one.value)
    return words[key[beyond(real, drawn) * (1 if real.better == "higher" else -1)]].format(
        near=near,
        who=words[f"noise_quantized_{name}"].format(layer=layer),
        real=with_interval(real),
        least=shown_score(ordered[0]),
        most=shown_score(ordered[-1]),
        draws=len(drawn),
        n=count(real.n),
        unit=unit,
    )
