"""Every plan tried in the session on one figure, and pinned plans beside the one at hand, sample by sample."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer import charts, compute, frame, tuner_session, tuner_tried
from explorer.background import Task, live
from explorer.comparison_fields import FIRST_AS, QUANTIZED, SECOND_AS, TUNED
from explorer.figures.plan_scores import ScoredPlan, describe_plan_scores, plan_scores_figure
from explorer.figures.score_axis import axis_title, scaled_interval, scaled_value
from explorer.language import read_words
from explorer.notation import short, shown_interval, shown_score
from explorer.page_table import COMPARE, pages_folder
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from explorer.tuner_results import engine_plan, score_task, split_of
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import QuantError
from quant_engine.network import Score
from quant_engine.studies import PairedComparison


def tried_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Draw what was tried, as the scores come, and the pins."""
    now = engine_plan(model, plan).key
    awaited = [score_task(model, engine_plan(model, plan), split_of(model))]
    live(partial(_figure, model, now), lambda: any(task is not None and task.active for task in awaited))
    _pins(model, plan)
    st.page_link(
        pages_folder() / COMPARE,
        label=read_words("tuner")["tried"]["compare"],
        icon=":material/compare:",
        query_params={
            frame.MODEL_KEY: compute.name(model),
            FIRST_AS.key: QUANTIZED,
            SECOND_AS.key: TUNED,
            **plan.base.link(),
        },
    )


def _figure(model: ModelKey, now: str) -> None:
    said, found = read_words("tuner")["tried"], tuner_tried.tried(model)
    if not found:
        st.caption(said["none"])
        return
    letters = {engine_plan(model, plan).key: letter for letter, plan in tuner_tried.pins(model).items()}
    plans = [
        _point(key, one.title, one.bits_a_weight, one.score, letters.get(key, ""), key == now)
        for key, one in found.items()
    ]
    any_score = next(iter(found.values())).score
    plain = score_task(model, None, split_of(model))
    level = scaled_value(plain.result()) if plain is not None and plain.state == "done" else None
    title = axis_title(any_score)
    figure = plan_scores_figure(plans, level, title, any_score.better, charts.canvas("tuner tried", model))
    alt = describe_plan_scores(plans, title)
    charts.pick(figure, "tuner_tried_figure", alt, partial(tuner_tried.load, model))
    st.caption(said["note"].format(n=len(plans)))
    tuner_session.follow()


def _point(key: str, title: str, bits: float, score: Score, letter: str, now: bool) -> ScoredPlan:
    kind = "now" if now else "pinned" if letter else "plan"
    return ScoredPlan(key, title, bits, scaled_value(score), scaled_interval(score), kind, letter)


def _pins(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the pinned plans, each beside the one at hand."""
    said, held = read_words("tuner")["tried"], tuner_tried.pins(model)
    if plan not in held.values() and len(held) < len(tuner_tried.LETTERS):
        args = (model, plan)
        st.button(said["pin"], key="tuner_pin", icon=":material/keep:", on_click=tuner_tried.pin, args=args)
    for letter, pinned in held.items():
        scored = compute.network(model).task is not None
        task = None if pinned == plan or not scored else tuner_tried.paired(f"tuner {letter}", model, pinned, plan)
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=f"tuner_pinned_{letter}"):
            load, drop = (tuner_session.change, (model, pinned)), (tuner_tried.unpin, (model, letter))
            st.button(letter, key=f"tuner_load_{letter}", help=said["load"], on_click=load[0], args=load[1])
            live(partial(_beside, model, letter, pinned, task), partial(_is_active, task))
            st.button(
                "",
                key=f"tuner_unpin_{letter}",
                icon=":material/close:",
                help=said["unpin"],
                on_click=drop[0],
                args=drop[1],
            )


def _is_active(task: Task | None) -> bool:
    return task is not None and task.active


def _beside(model: ModelKey, letter: str, pinned: TunedPlan, task: Task | None) -> None:
    """Say what a pinned plan scores, and what changes from it to the plan at hand."""
    said = read_words("tuner")["tried"]
    known = tuner_tried.tried(model).get(engine_plan(model, pinned).key)
    score = "" if known is None else f"{shown_score(known.score)} ({shown_interval(known.score)})"
    line = said["pinned"].format(title=tuner_tried.title_of(pinned), score=score)
    if task is None:
        st.caption(line)
        return
    if not task.ended:
        st.caption(f"{line} {said['comparing']}")
        return
    try:
        found: PairedComparison = task.result()
    except QuantError as error:
        st.caption(f"{line} {verbatim(error)}")
        return
    change = next(iter(found.changes.values()))
    told: dict[str, object] = {"letter": letter, "fixed": len(found.fixed), "broken": len(found.broken)}
    if found.p_value is not None:
        line += " " + said["paired"].format(p=short(found.p_value, 2), **told)
    else:
        told |= dict(zip(("change", "low", "high"), map(short, (change.value, *change.interval)), strict=True))
        line += " " + said["changed"].format(**told)
    st.caption(line)
