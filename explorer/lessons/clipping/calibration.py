"""The second laboratory of lesson 5: activations batch by batch, static and dynamic, and how many samples it takes."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np
import streamlit as st

from explorer import charts, compute, model_scores
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.figures.calibration import Seen, describe_seen, describe_study, seen_figure, study_figure
from explorer.lessons.framework import study
from explorer.lessons.framework.prose import words
from explorer.lessons.framework.study import Study
from explorer.notation import count, share, short, shown_score
from explorer.refusals import refusals_said
from explorer.sources import ModelKey
from quant_engine import IntFormat, LayerPlan, MinMax, MinMSE, Percentile, QuantizationPlan, QuantizerSpec
from quant_engine.batches import sample_count
from quant_engine.clipping import Clipping
from quant_engine.inputs import Float32Array
from quant_engine.network import Score
from quant_engine.observers import observer_for
from quant_engine.studies import activation_costs, calibration_study

OBSERVED: dict[str, Clipping] = {"min–max": MinMax(), "99.9 %": Percentile(99.9), "least MSE": MinMSE()}
DYNAMIC = "dynamic"  # the point without calibration
PLACE = "clipping_study"


def calibration_section(model: ModelKey, layer: str, bits: int) -> None:
    """Draw ranges against samples seen, what dynamic ranges cost, and the study."""
    st.subheader(words()["calibration_title"])
    st.markdown(words()["calibration_lead"].format(layer=layer, unit=compute.sample_unit(model)))
    with refusals_said():
        compute.require_task(model)
        left, right = st.columns(2, gap="medium")
        with left:
            _batches(model, layer, bits)
        with right:
            _study(model, bits)


def _batches(model: ModelKey, layer: str, bits: int) -> None:
    plan = QuantizationPlan({layer: LayerPlan(activation=activation_spec(bits, MinMax()))})
    seen = compute.kept(ResultKey("seen", model, layer, bits), lambda: ranges_seen(model, layer, bits))
    canvas = charts.canvas(model, layer, bits)
    charts.show(seen_figure(seen, canvas), "clipping_chart_seen", describe_seen(seen))
    key = ResultKey("cost", model, layer, bits)
    cost = compute.kept(key, lambda: activation_costs(compute.network(model), plan)[layer])
    facts = {"values": count(cost.values), "unit": compute.sample_unit(model), "ratio": f"×{short(cost.ratio)}"}
    st.caption(words()["dynamic_cost"].format(**facts))


def ranges_seen(model: ModelKey, layer: str, bits: int) -> Seen:
    """Feed one layer's inputs to an observer of each kind, batch by batch."""
    network = compute.network(model)
    ends = sizes(sum(map(sample_count, network.input_batches())), 2)
    specs = {name: activation_spec(bits, clipping) for name, clipping in OBSERVED.items()}
    observers = {name: observer_for(spec.clipping, bits) for name, spec in specs.items()}
    betas: dict[str, list[float]] = {name: [] for name in observers}
    own, seen, highest = [], 0, -math.inf
    for batch in _cut_at(ends, (found[layer] for found in network.activation_batches([layer]))):
        seen, highest = seen + len(batch), max(highest, float(batch.max()))
        for observer in observers.values():
            observer.update(batch)
        if seen in ends:
            own.append(highest)
            highest = -math.inf
            for name, observer in observers.items():
                betas[name].append(observer.range(specs[name])[1])
    return Seen(ends, betas, own)


def _cut_at(ends: Sequence[int], batches: Iterable[Float32Array]) -> Iterator[Float32Array]:
    """Yield the samples of batches in pieces none of which goes over an end."""
    start = 0
    for batch in batches:
        yield from np.split(batch, [end - start for end in ends if start < end < start + len(batch)])
        start += len(batch)


def _study(model: ModelKey, bits: int) -> None:
    """Draw the study, a point at a time, or the button that begins it."""
    one = study_of(model, bits)
    label = words()["study_run"].format(bits=bits, unit=compute.sample_unit(model))
    study.offer(one, label, words()["study_progress"], lambda task: _study_results(model, bits, one.key, task))


def _study_results(model: ModelKey, bits: int, key: ResultKey, task: Task | None) -> None:
    """Draw what has been found so far."""
    lines: dict[str, dict[int, Score]] = {}
    for name, samples, found in [] if task is None else task.items:
        lines.setdefault(name, {})[samples] = found
    if not lines:
        return
    plain, dynamic = model_scores.score(model, None), lines.pop(DYNAMIC)[0]
    if lines:
        figure = study_figure(lines, plain, charts.canvas(key))
        charts.show(figure, "clipping_chart_study", describe_study(lines))
    st.caption(
        words()["study_dynamic"].format(
            bits=bits,
            dynamic=shown_score(dynamic),
            plain=shown_score(plain),
            n=count(plain.n),
            unit=compute.sample_unit(model),
            one=share(1 / plain.n),
        )
    )


def study_of(model: ModelKey, bits: int) -> Study:
    """Return the study of one width: its first point is that of dynamic ranges."""
    batches = compute.network(model).given_task.batches("calibration")
    wanted = sizes(sum(sample_count(batch.inputs) for batch in batches), 4)
    return Study(ResultKey(PLACE, model, bits), lambda: _points(model, bits, wanted), 1 + len(wanted) * len(OBSERVED))


def sizes(total: int, factor: int) -> tuple[int, ...]:
    """Return how many samples are looked at: one, each time `factor` times as many, and all.

    >>> sizes(100, 4)
    (1, 4, 16, 64, 100)
    """
    return *(factor**power for power in range(total.bit_length()) if factor**power < total), total


def _points(model: ModelKey, bits: int, wanted: Sequence[int]) -> Generator[tuple[str, int, Score], None, None]:
    """Yield the accuracy with dynamic ranges, then with each calibrator after each number of samples."""
    network = compute.network(model)
    spec = activation_spec(bits, MinMax())
    dynamic = QuantizationPlan({name: LayerPlan(activation=spec, dynamic=True) for name in network.layers()})
    yield DYNAMIC, 0, network.evaluate(dynamic)
    for name, clipping in OBSERVED.items():
        static = activation_spec(bits, clipping)
        plan = QuantizationPlan({layer: LayerPlan(activation=static) for layer in network.layers()})
        for point in calibration_study(network, plan, wanted):
            yield name, point.samples, point.score


def activation_spec(bits: int, clipping: Clipping) -> QuantizerSpec:
    """Return how activations are quantized here: asymmetric, so that inputs after a ReLU use all codes."""
    return QuantizerSpec(IntFormat(bits, signed=False), symmetric=False, clipping=clipping)
