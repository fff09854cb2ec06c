"""Each layer quantized alone, and all of them together: whether the damage adds up."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st

from explorer import charts, compute
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.figures.additivity import additivity_figure, describe_additivity
from explorer.lessons.framework import study
from explorer.lessons.framework.glossary import linked
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.framework.study import Study
from explorer.lessons.mixed import plans
from explorer.notation import count, short
from quant_engine import QuantError, QuantizationPlan
from quant_engine.inputs import Float64Array
from quant_engine.network import Score
from quant_engine.studies import Trial, divergences
from quant_engine.tasks import LogitsTask
from quant_engine.tasks.score import mean, ratio

SLUG = "mixed"
NAME = f"{SLUG}_alone"
TOGETHER = ""  # no layer's name

Divergences = dict[str, Float64Array]  # of every sample's outputs from floating point, by the layer that is quantized


@dataclass(frozen=True)
class Additivity:
    """Mean KL divergences with each layer quantized alone, their sum, that of all together, and its ratio to the sum.

    All have 95 % intervals over the samples. `ratio` is None where the sum does not differ from 0.
    """

    alone: dict[str, Score]
    total: Score
    together: Score
    ratio: Score | None

    @property
    def verdict(self) -> str:
        """Whether damage adds up, as far as the interval tells, to the figures that are shown of it."""
        if self.ratio is None:
            return "none"
        low, high = (float(f"{end:.3g}") for end in self.ratio.interval)
        return "more" if low > 1 else "less" if high < 1 else "same"


def additivity(alone: Divergences, together: Float64Array) -> Additivity:
    """Compare the sum of what layers do alone with what they do together, sample by sample."""
    summed = sum(alone.values(), start=0 * together)
    total = mean("sum", summed, "nats")
    return Additivity(
        {layer: mean(layer, values, "nats") for layer, values in alone.items()},
        total,
        mean("together", together, "nats"),
        ratio("additivity", together, summed) if total.interval[0] > 0 else None,
    )


def measured_of(mix: Mix, at: int) -> Study:
    """Return the measuring of every layer alone with `at` bits, and of all together."""

    def steps() -> Generator[tuple[str, Float64Array], None, None]:
        spec = plans.spec_of(mix, at)
        for layer in plans.layers_of(mix.model):
            yield layer, _divergences(mix, at, layer, Trial(layer, spec).plan(plans.network_of(mix)))
        yield TOGETHER, _divergences(mix, at, TOGETHER, plans.engine_plan(replace(mix, bits=(at,) * len(mix.bits))))

    return Study(ResultKey(NAME, mix.model, mix.shared, at), steps, len(mix.bits) + 1)


def _divergences(mix: Mix, at: int, layer: str, plan: QuantizationPlan) -> Float64Array:
    key = ResultKey("divergences", mix.model, mix.shared, at, layer)
    return compute.kept(key, lambda: divergences(plans.network_of(mix), plan))


def sum_of_parts(bench: Bench, mix: Mix, at: int) -> None:
    """Draw what the layers do alone, one after the other, beside what they do together."""
    words = read_prose(SLUG).laboratory
    st.subheader(words["sum_title"])
    st.markdown(linked(words["sum_lead"].format(at=at)))
    _require_logits(mix)
    label = words["sum_begin"].format(runs=len(mix.bits) + 1, samples=compute.samples(mix.model, "calibration"))
    study.offer(measured_of(mix, at), label, words["sum_measuring"], partial(_draw, bench, mix, at))


def _require_logits(mix: Mix) -> None:
    """Refuse to go on where outputs have no probabilities.

    Raises:
        QuantError: for a task that knows no logits.
    """
    if not isinstance(plans.network_of(mix).given_task, LogitsTask):
        raise QuantError(f"the outputs of {compute.name(mix.model)} are no logits, so they have no KL divergence")


def _draw(bench: Bench, mix: Mix, at: int, task: Task | None) -> None:
    found: Divergences = dict(task.items) if task is not None else {}
    if TOGETHER not in found:
        return
    together = found.pop(TOGETHER)
    compared = additivity(found, together)
    figure = additivity_figure(compared.alone, compared.total, compared.together, bench.canvas)
    said = describe_additivity(compared.alone, compared.total, compared.together)
    charts.show(figure, f"{SLUG}_chart_sum", said)
    st.markdown(verdict(mix, at, compared))


def verdict(mix: Mix, at: int, compared: Additivity) -> str:
    """Say whether the damage of layers adds up."""
    said = {
        "at": str(at),
        "n": count(compared.total.n),
        "unit": compute.sample_unit(mix.model),
        "total": short(compared.total.value),
        "together": short(compared.together.value),
    }
    if compared.ratio is not None:
        low, high = compared.ratio.interval
        said |= {"ratio": short(compared.ratio.value), "low": short(low), "high": short(high)}
    return read_prose(SLUG).laboratory[f"sum_{compared.verdict}"].format_map(said)
