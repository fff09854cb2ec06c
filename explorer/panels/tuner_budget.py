"""A budget of bits a weight: plans proposed by what layers cost alone, and measured before they are believed."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer import charts, compute, tuner_session
from explorer.background import Task
from explorer.commands.settings import SHARING
from explorer.figures.plan_scores import ScoredPlan, describe_plan_scores, plan_scores_figure, prediction_figure
from explorer.figures.score_axis import axis_title, scaled_interval, scaled_value
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.notation import short, shown_interval, shown_score, unbroken
from explorer.sources import ModelKey
from explorer.tuner_budget import SHARED, TEST_SPLIT, Tested, front_study, points_of, tested_study
from explorer.tuner_results import engine_plan, split_of
from explorer.tuner_tried import tested, title_of
from explorer.tuning.tuned_plan import TunedPlan, tuned_of
from quant_engine import QuantizationPlan, QuantizerSpec
from quant_engine.studies.measured_front import FrontPoint, MeasuredFront

BUDGET, SHARED_BY = "tuner_bits", "tuner_shared_by"


def budget_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Offer the search, draw its plans and take one of them; and offer the test, once a plan is chosen."""
    said = read_words("tuner")["budget"]
    sharing = st.pills(
        said["sharing"],
        SHARING,
        selection_mode="multi",
        default=SHARED,
        key=SHARED_BY,
        format_func=said["shared"].__getitem__,
        help=said["sharing_help"],
    )
    one = front_study(model, plan, sharing or SHARED)
    study.offer(one, said["begin"], said["measuring"], partial(_draw, model, plan))
    _test(model, plan)


def _draw(model: ModelKey, plan: TunedPlan, task: Task | None) -> None:
    """Draw the plans that are measured so far, and the best within the budget."""
    said, points = read_words("tuner")["budget"], points_of(task)
    if not points:
        st.caption(said["costs_first"])
        return
    first = points[0].measured
    title, now = axis_title(first.score), engine_plan(model, plan).key
    shown = [_point(place, point, now) for place, point in enumerate(points)]
    plain = scaled_value(first.score, first.score.value - first.change.value)
    figure = plan_scores_figure(shown, plain, title, first.score.better, charts.canvas("tuner budget", model))
    load = partial(_load, model, points)
    charts.pick(figure, "tuner_budget_figure", describe_plan_scores(shown, title), load)
    found = task.last if task is not None else None
    if isinstance(found, MeasuredFront):
        _choose(model, plan, found, points)
        with st.expander(said["predicted"], key="tuner_predicted"):
            pairs = [(point.predicted, point.measured.measure.value) for point in points]
            name = first.measure.name
            figure = prediction_figure(pairs, name, charts.canvas("tuner predicted", model))
            charts.show(figure, "tuner_predicted_figure", said["predicted_alt"].format(n=len(pairs)))
    tuner_session.follow()


def _choose(model: ModelKey, plan: TunedPlan, found: MeasuredFront, points: list[FrontPoint]) -> None:
    """Draw the budget, and what is best within it."""
    said = read_words("tuner")["budget"]
    low, high = (float(f"{found.points[place].bits_per_weight:.2f}") for place in (0, -1))
    bits = st.slider(said["bits"], low, max(high, low + 0.1), min(max(5.0, low), high), 0.05, key=BUDGET)
    best = found.best_within(bits + 0.005)
    told = {"bits": short(best.bits_per_weight), "score": unbroken(shown_score(best.measured.score))}
    st.markdown(said["best"].format(budget=short(bits), **told))
    args = (model, [best], 0)
    st.button(said["take"], key="tuner_take", type="primary", on_click=_load, args=args)


def _point(place: int, point: FrontPoint, now: str) -> ScoredPlan:
    said, score = read_words("tuner")["budget"], point.measured.score
    uniform = point.uniform is not None
    name = said["uniform" if uniform else "mixed"].format(bits=short(point.bits_per_weight))
    kind = "now" if point.plan.key == now else "pinned" if uniform else "plan"
    letter = str(point.uniform.format.bits) if point.uniform is not None else ""
    interval = scaled_interval(score)
    return ScoredPlan(str(place), name, point.bits_per_weight, scaled_value(score), interval, kind, letter)


def _load(model: ModelKey, points: list[FrontPoint], place: int | str) -> None:
    """Take a plan of the search for the next one; locked layers and inputs stay as they are (a callback)."""
    plan, layers = tuner_session.history(model).now, compute.network(model).layers()
    found = tuned_of(_with_inputs(points[int(place)].plan, plan), layers, plan.base)
    tuner_session.change(model, found.locked(plan.locks, True))


def _with_inputs(found: QuantizationPlan, plan: TunedPlan) -> QuantizationPlan:
    """Return a plan of weights with the inputs that all layers have."""
    if plan.base.activation_bits is None:
        return found
    layers = dict(found.layers)
    for name, one in found.layers.items():
        if name not in plan.locks and isinstance(one.weight, QuantizerSpec):
            layers[name] = plan.base.layer_plan(one.weight)
    return QuantizationPlan(layers)


def _test(model: ModelKey, plan: TunedPlan) -> None:
    """Offer to score the plan on test data, where another split was searched."""
    said, splits = read_words("tuner")["budget"], compute.network(model).given_task.splits
    if TEST_SPLIT not in splits or split_of(model) == TEST_SPLIT:
        return
    one = tested_study(model, engine_plan(model, plan))
    label = said["test"].format(samples=compute.samples(model, TEST_SPLIT))
    study.offer(one, label, said["testing"], partial(_tested, model, plan))
    st.caption(said["test_note"] if not tested(model) else _times(model))


def _tested(model: ModelKey, plan: TunedPlan, task: Task | None) -> None:
    found: Tested | None = None if task is None else task.last
    if found is None:
        return
    tested(model)[engine_plan(model, plan).key] = f"{title_of(plan)}: {shown_score(found.planned)}"
    told = {"samples": compute.samples(model, TEST_SPLIT), "plain": shown_score(found.plain)}
    told |= {"score": shown_score(found.planned), "interval": shown_interval(found.planned)}
    st.markdown(read_words("tuner")["budget"]["tested"].format(**told))


def _times(model: ModelKey) -> str:
    """Say how many plans were scored on test data in this session, and which."""
    known = [*tested(model).values()]
    return str(read_words("tuner")["budget"]["test_used"].format(n=len(known), listed="; ".join(known)))
