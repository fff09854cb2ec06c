"""Each layer quantized alone, and all of them together: whether the damage adds up."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
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
from quant_engine import QuantError
from quant_engine.network import Score
from quant_engine.studies import Additivity, Attributed, Attribution, attribute
from quant_engine.tasks import LogitsTask

SLUG = "mixed"
NAME = f"{SLUG}_alone"


def measured_of(mix: Mix, at: int) -> Study:
    """Return the measuring of every layer alone with `at` bits, and of all together."""

    def steps() -> Generator[Attributed | Attribution, None, None]:
        plan = plans.engine_plan(replace(mix, bits=(at,) * len(mix.bits)))
        return attribute(plans.network_of(mix), plan, kept=compute.attributions(mix.model))

    return Study(ResultKey(NAME, mix.model, mix.shared, at), steps, len(mix.bits) + 2)


def measured_in(task: Task | None) -> Attribution | None:
    """Return what a task has found at its end."""
    found = None if task is None else task.last
    return found if isinstance(found, Attribution) else None


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
    found = measured_in(task)
    if found is None:
        return
    alone, compared = {layer: one.measure for layer, one in found.alone.items()}, found.additivity
    if compared.total is not None:
        figure = additivity_figure(alone, compared.total, compared.together, bench.canvas)
        said = describe_additivity(alone, compared.total, compared.together)
        charts.show(figure, f"{SLUG}_chart_sum", said)
        st.markdown(verdict(mix, at, compared.total, compared))


def verdict(mix: Mix, at: int, total: Score, compared: Additivity) -> str:
    """Say whether the damage of layers adds up, as far as the interval tells, to the figures that are shown of it."""
    said = {
        "at": str(at),
        "n": count(total.n),
        "unit": compute.sample_unit(mix.model),
        "total": short(total.value),
        "together": short(compared.together.value),
    }
    key = "none"
    if compared.ratio is not None:
        low, high = compared.ratio.interval
        said |= {"ratio": short(compared.ratio.value), "low": short(low), "high": short(high)}
        key = "more" if float(f"{low:.3g}") > 1 else "less" if float(f"{high:.3g}") < 1 else "same"
    return read_prose(SLUG).laboratory[f"sum_{key}"].format_map(said)
