"""Static ranges from the wrong calibration data: from all classes, from one class alone, and from noise."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial

import streamlit as st

from explorer import charts, compute, model_scores
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.figures import theme
from explorer.figures.intervals import Row, describe_intervals, intervals_figure
from explorer.lessons.clipping.calibration import activation_spec
from explorer.lessons.framework import study
from explorer.lessons.framework.model import beyond
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.study import Study
from explorer.notation import count, shown_score
from explorer.sources import ModelKey
from quant_engine import LayerPlan, MinMax, QuantError, QuantizationPlan
from quant_engine.network import Network, Score
from quant_engine.studies import CalibrationSets, calibration_sets
from quant_engine.studies.calibration_sets import IN_DOMAIN as ALL
from quant_engine.studies.calibration_sets import NOISE
from quant_engine.studies.calibration_sets import ONE_CLASS as ONE
from quant_engine.tasks import Classification

SLUG = "clipping"
NAME = f"{SLUG}_sets"
FLOAT = "float32"

Found = Mapping[str, Sequence[Score]]  # by the kind of calibration data


def sets_study(model: ModelKey, bits: int) -> Study:
    """Return the scoring of the network in floating point, then with every layer's input calibrated on each set.

    Raises:
        QuantError: for a model whose task has no labels.
    """
    network = compute.network(model)
    kinds = _kinds(network, model)

    def steps() -> Generator[tuple[str, Score], None, None]:
        yield FLOAT, model_scores.score(model, None)
        static = LayerPlan(activation=activation_spec(bits, MinMax()))
        layers = [name for name, info in network.layers().items() if info.op != "embedding"]
        plan = QuantizationPlan(dict.fromkeys(layers, static))
        for kind, sets in kinds.sets.items():
            for one in sets:
                yield kind, network.evaluate(network.freeze(plan, one))

    return Study(ResultKey(NAME, model, bits), steps, 1 + sum(map(len, kinds.sets.values())))


def _kinds(network: Network, model: ModelKey) -> CalibrationSets:
    if not isinstance(network.given_task, Classification):
        raise QuantError(f"{compute.name(model)} has no labels, so no class can be picked out of its calibration data")
    return compute.kept(ResultKey("calibration sets", model), lambda: calibration_sets(*network.data("calibration")))


def sets_section(model: ModelKey, bits: int) -> None:
    """Offer the study, and draw it."""
    words = read_prose(SLUG).laboratory
    st.subheader(words["sets_title"])
    one = sets_study(model, bits)
    said = {"size": _kinds(compute.network(model), model).size, "unit": compute.sample_unit(model), "bits": bits}
    st.markdown(words["sets_lead"].format(**said))
    study.offer(one, words["sets_begin"].format(runs=one.total), words["sets_measuring"], partial(_draw, model, bits))


def _draw(model: ModelKey, bits: int, task: Task | None) -> None:
    found: dict[str, list[Score]] = {}
    for kind, score in task.items if task is not None else ():
        found.setdefault(kind, []).append(score)
    if not found:
        return
    rows = rows_of(found)
    canvas = charts.canvas(NAME, model, bits)
    charts.show(intervals_figure(rows, canvas), f"{SLUG}_chart_sets", describe_intervals(rows))
    if task is not None and task.state == "done":
        st.markdown(verdict(found, compute.sample_unit(model)))


def rows_of(found: Found) -> list[Row]:
    """Return what is drawn of the scores found so far."""
    words = read_prose(SLUG).laboratory
    return [
        Row(words[f"sets_{kind}"].format(sets=len(scores)), scores, COLORS[kind], reference=kind == FLOAT)
        for kind, scores in found.items()
    ]


def verdict(found: Found, unit: str) -> str:
    """Say which sets are worse than those of all classes, and which cannot be told apart."""
    words, n = read_prose(SLUG).laboratory, found[ALL][0].n
    parts = [words["sets_said_all"].format(**_span(found[ALL]), sets=len(found[ALL]))]
    for kind in (ONE, NOISE):
        if kind in found:
            parts.append(
                words[f"sets_said_{kind}"].format(**_span(found[kind]), judged=_judged(found[kind], found[ALL]))
            )
    return " ".join([*parts, words["sets_note"].format(n=count(n), unit=unit)])


def _span(scores: Sequence[Score]) -> dict[str, str]:
    ordered = sorted(scores, key=lambda found: found.value)
    return {"least": shown_score(ordered[0]), "most": shown_score(ordered[-1])}


def _judged(scores: Sequence[Score], others: Sequence[Score]) -> str:
    """Say how many scores lie below or above all of the others, beyond the intervals."""
    words = read_prose(SLUG).laboratory
    sides = [beyond(found, others) for found in scores]
    counts = {"below": sides.count(-1), "above": sides.count(1)}
    said = [words[f"sets_{name}"].format(some=some, sets=len(scores)) for name, some in counts.items() if some]
    return " ".join(said) or words["sets_level"]


COLORS = {FLOAT: theme.ORIGINAL, ALL: theme.QUANTIZED, ONE: theme.ERROR, NOISE: theme.NEUTRAL}
