"""Two models, files or settings: how far their weights are apart, and which samples only one of them gets right."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from explorer import charts, compute, controls, frame, notation, tables, tuner_session
from explorer.background import Kind, Task, live
from explorer.caches import ResultKey
from explorer.comparison_fields import AS_IS, FIRST_AS, QUANTIZED, SECOND_AS, TUNED, compare_with_field
from explorer.figures.weight_differences import describe_weight_differences, weight_differences_figure
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.own_files import models
from explorer.page_table import TEXT, pages_folder
from explorer.panels.flips import flips_table
from explorer.refusals import refusals_said
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.tuner_results import engine_plan, fitted_plan
from quant_engine import LayerPlan, QuantError, QuantizationPlan
from quant_engine.studies import (
    PairedComparison,
    WeightDifference,
    WeightSet,
    compare_paired,
    compare_weights,
    footprint,
    weights_of,
)
from quant_engine.tasks import NextToken, Score

SETTINGS = ("bits", "granularity")  # of the playground, which takes them over
SPLIT = "test"
TABLE_HEIGHT = 320  # pixels
PICO_IN_MILLI = 1e9
MIN_P = 1e-300  # of a p-value that is written: floats end there
SHARES = (0.36, 0.64)  # of the page: numbers and figure


@dataclass(frozen=True)
class Side:
    """One of the two: a model as it is, or under a plan."""

    model: ModelKey
    plan: QuantizationPlan | None
    title: str
    link: Mapping[str, str] = field(default_factory=dict)  # to the same setting on other pages

    def fitted(self) -> QuantizationPlan | None:
        """Return the plan with its weights fitted."""
        return None if self.plan is None else fitted_plan(self.model, self.plan)


def model_comparison_panel() -> None:
    """Draw the choice of two; at the left what they score, at the right how far their weights are apart."""
    said = read_words("comparison")
    first, second = _chosen()
    task = _comparing(first, second)
    left, right = st.columns(SHARES, gap="medium")
    with left:
        live(lambda: st.markdown(_summary(list(task.items), first, second, task, said)), lambda: task.active)
        with refusals_said():
            _scores(first, second, said)
    with right:
        live(lambda: _figure(first, second, task), lambda: task.active)
    _details(first, second, said)
    with st.expander(said["table"], key="compare_table"):
        live(lambda: _table(list(task.items), said), lambda: task.active)


def _chosen() -> tuple[Side, Side]:
    """Draw the controls and return both sides."""
    fields = PlaygroundState.fields()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="compare_settings"):
        model = frame.choose_model()
        first = controls.show(FIRST_AS)
        other = controls.show(compare_with_field())
        second = controls.show(SECOND_AS)
        shown = SETTINGS if QUANTIZED in (first, second) else ()
        settings = replace(PlaygroundState(), **{name: controls.show(fields[name], help=None) for name in shown})
    return _side(model, first, settings), _side(models().key(other) if other else model, second, settings)


def _side(model: ModelKey, mode: str, settings: PlaygroundState) -> Side:
    """Return a model as it is, with all layers by the setting, or under the plan that the tuner has for it."""
    name = compute.name(model)
    if mode == AS_IS:
        return Side(model, None, name)
    if mode == TUNED:
        title = read_words("comparison")["tuned"].format(name=name)
        return Side(model, engine_plan(model, tuner_session.history(model).now), title)
    plan = QuantizationPlan(dict.fromkeys(compute.network(model).layers(), LayerPlan(settings.spec(-1.0, 1.0))))
    return Side(model, plan, f"{name}, {settings.description}", {frame.MODEL_KEY: name, **settings.link()})


def _comparing(first: Side, second: Side) -> Task:
    """Return the reading of all weights of both, one by one."""

    def steps() -> Generator[WeightDifference, None, None]:
        yield from compare_weights(*(_weights(side) for side in (first, second)))

    key = ResultKey("weight differences", first.model, first.plan, second.model, second.plan)
    total = len(compute.network(first.model).layers())
    return compute.session().ask("compare weights", key, steps, Kind.STUDY, total)


def _weights(side: Side) -> WeightSet:
    network = compute.network(side.model)
    return weights_of(network, None if side.plan is None else network.freeze(side.plan))


def _figure(first: Side, second: Side, task: Task) -> None:
    """Draw how far the weights are apart that have been read."""
    if task.error is not None:
        if not isinstance(task.error, QuantError):
            raise task.error
        st.info(verbatim(task.error), icon=":material/block:")
    shown = [one for one in task.items if not math.isnan(one.sqnr_db)]
    if shown:
        figure = weight_differences_figure(shown, charts.canvas("weight differences", task.key))
        charts.show(figure, "weight_differences", describe_weight_differences(shown, first.title, second.title))


def _summary(rows: Sequence[WeightDifference], first: Side, second: Side, task: Task, said: Mapping[str, Any]) -> str:
    """Say in a line how many weights differ, and what both take."""
    matched = [one for one in rows if one.name is not None and one.other is not None]
    values = sum(math.prod(one.shape) for one in matched) or 1
    told = {
        "first": first.title,
        "second": second.title,
        "matched": notation.count(len(matched)),
        "changed": notation.count(sum(one.changed > 0 for one in matched)),
        "sizes": notation.sizes(*(_bits(matched, at) / 8 for at in (0, 1))),
        "bits": said["to"].format(*(notation.short(_bits(matched, at) / values) for at in (0, 1))),
    }
    parts = [said["summary"].format(**told)]
    if not task.active and all(compute.network(side.model).task is not None for side in (first, second)):
        energies = [notation.short(_joules(side)) for side in (first, second)]
        unit = compute.sample_unit(first.model)
        parts.append(said["energy"].format(change=said["to"].format(*energies), unit=unit))
    alone = [sum(getattr(one, side) is None for one in rows) for side in ("other", "name")]
    for count, name in zip(alone, (first.title, second.title), strict=True):
        if count:
            parts.append(said["alone"].format(n=notation.count(count), name=name))
    if task.active:
        parts.append(said["reading"].format(done=len(rows), total=task.total))
    return " ".join(parts)


def _bits(rows: Sequence[WeightDifference], side: int) -> float:
    return sum(one.bits[side] * math.prod(one.shape) for one in rows)


def _joules(side: Side) -> float:
    """Return the estimated millijoules of one sample: arithmetic, and reading each weight once."""
    key = ResultKey("energy", side.model, side.plan)
    found = compute.kept(key, lambda: footprint(compute.network(side.model), side.plan))
    return (found.compute + found.move).picojoules / PICO_IN_MILLI


def _table(rows: Sequence[WeightDifference], said: Mapping[str, Any]) -> None:
    """Draw the weights, those first that are furthest apart."""
    columns = said["columns"]
    ordered = sorted(rows, key=lambda one: one.sqnr_db if not math.isnan(one.sqnr_db) else math.inf)
    st.dataframe(
        {
            columns["name"]: [one.name or "–" for one in ordered],
            columns["other"]: [one.other or "–" for one in ordered],
            columns["shape"]: [notation.shape(one.shape) for one in ordered],
            columns["first_bits"]: [one.bits[0] for one in ordered],
            columns["second_bits"]: [one.bits[1] for one in ordered],
            columns["sqnr"]: [one.sqnr_db if math.isfinite(one.sqnr_db) else None for one in ordered],
            columns["max_abs"]: [one.max_abs for one in ordered],
            columns["changed"]: [100 * one.changed for one in ordered],
            columns["note"]: [one.refusal for one in ordered],
        },
        hide_index=True,
        height=TABLE_HEIGHT,
        column_config={
            columns[name]: st.column_config.NumberColumn(format="%.3g")
            for name in ("first_bits", "second_bits", "sqnr", "max_abs", "changed")
        },
        placeholder="–",
        alt=said["table"],
    )


def _scores(first: Side, second: Side, said: Mapping[str, Any]) -> None:
    """Offer to measure both, and draw what they score and which samples flip."""
    networks = compute.network(first.model), compute.network(second.model)
    for side, network in zip((first, second), networks, strict=True):
        if network.task is None:
            st.caption(said["no_task"].format(name=compute.name(side.model)))
            return
    if networks[0].given_task.key != networks[1].given_task.key:
        st.caption(said["other_task"])
        return
    if isinstance(networks[0].task, NextToken) and second.link:
        st.page_link(pages_folder() / TEXT, label=said["text"], icon=":material/notes:", query_params=second.link)
    one = _study(first, second)
    label = said["measure"].format(samples=compute.samples(first.model, _split(first)))
    study.offer(one, label, said["measuring"], lambda task: _measured(task, said))


def _study(first: Side, second: Side) -> Study:
    """Return the measuring of both on the same samples."""

    def steps() -> Generator[PairedComparison, None, None]:
        networks = (compute.network(side.model) for side in (first, second))
        yield compare_paired(next(networks), first.fitted(), second.fitted(), _split(first), next(networks))

    return Study(ResultKey("compare scores", first.model, first.plan, second.model, second.plan), steps, 1)


def _split(side: Side) -> str:
    """Return the split that both are measured on."""
    splits = compute.network(side.model).given_task.splits
    return SPLIT if SPLIT in splits else min(splits)


def _measured(task: Task | None, said: Mapping[str, Any]) -> None:
    """Draw the change of the first score, and whether chance could do it."""
    found: PairedComparison | None = None if task is None else task.last
    if found is None:
        return
    name, score = next(iter(found.after.items()))
    before, change = found.before[name], found.changes[name]
    with st.container(key="hero", width="content"):
        st.metric(
            said["hero"].format(name=name),
            said["to"].format(notation.shown_score(before), notation.shown_score(score)),
            _changed(change, notation.is_share(score)),
            delta_color="off",
            delta_arrow="off",
        )
    if found.p_value is not None:
        told = {"fixed": notation.count(len(found.fixed)), "broken": notation.count(len(found.broken))}
        chance = said["chance" if found.p_value >= 0.05 else "no_chance"]
        p = f"= {notation.short(found.p_value, 2)}" if found.p_value > MIN_P else said["tiny"]
        st.markdown(said["flips"].format(p=p, chance=chance, **told))


def _changed(change: Score, in_points: bool) -> str:
    """Write a change with its paired interval, of shares in points of a per cent as the scores are."""
    if not in_points:
        return notation.scored(change)
    ends = change.value, *change.interval
    value, low, high = (notation.fixed(100 * end, 1).replace("-", notation.MINUS) for end in ends)
    return notation.unbroken(read_words("comparison")["points"].format(value=value, low=low, high=high))


def _details(first: Side, second: Side, said: Mapping[str, Any]) -> None:
    """Draw all scores and the samples that flip, once both are measured."""
    task = compute.session().find(_study(first, second).key)
    found: PairedComparison | None = None if task is None else task.last
    if found is None:
        return
    with st.expander(said["which"], key="compare_flips"):
        flips_table(first.model, _split(first), found)
    with st.expander(said["all_scores"], key="compare_scores_all"):
        tables.table(
            [
                {
                    said["score"]: name,
                    said["first"]: notation.scored(found.before[name]) if name in found.before else "",
                    said["second"]: notation.scored(after),
                    said["change"]: notation.scored(found.changes[name]),
                }
                for name, after in found.after.items()
            ]
        )
