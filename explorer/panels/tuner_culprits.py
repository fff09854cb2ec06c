"""The layers to blame: the score as one more layer is quantized, a sentence, and a click that spares them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from explorer import charts, tuner_session
from explorer.background import Task
from explorer.figures.plan_scores import describe_score_curve, score_curve_figure
from explorer.figures.score_axis import axis_title, scaled_value
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.notation import shown_score
from explorer.sentences import Sentence, verbatim
from explorer.sources import ModelKey
from explorer.tuner_culprits import culprit_study, damage_study, with_eight_bits
from explorer.tuner_results import engine_plan
from explorer.tuning.names import short_names
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine.network import Score
from quant_engine.studies import Culprits, CulpritStep

MAX_NAMED = 6  # layers in a sentence


def culprits_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Offer to find the layers to blame, and to measure what each layer does alone."""
    said, engine = read_words("tuner")["culprits"], engine_plan(model, plan)
    if not engine.layers:
        st.caption(said["all_float"])
        return
    search = culprit_study(model, engine)
    study.offer(search, said["begin"], said["measuring"], partial(_draw, model, plan))
    one = damage_study(model, engine)
    if one is None:
        return
    before = study.asked(one.place)
    if before is not None and before.about[0] == model and before != one.key and not study.stopped(one.place):
        study.start(one)  # what an edit has changed is measured by itself
    if before is None and study.asked(search.place) == search.key:
        return  # the search for culprits measures it, too
    study.offer(one, said["measure"].format(n=one.total - 2), said["measuring"], lambda task: None)


def _draw(model: ModelKey, plan: TunedPlan, task: Task | None) -> None:
    """Draw the curve as far as it is measured, and what was found."""
    said, items = read_words("tuner")["culprits"], () if task is None else task.items
    forward = [step for step in items if isinstance(step, CulpritStep) and step.phase == "forward"]
    if not forward:
        if items:
            st.caption(said["alone_first"])
        return
    found = items[-1] if isinstance(items[-1], Culprits) else None
    _curve(model, forward, found)
    if found is not None:
        parts = [*(["several"] if len(found.falls) > 1 else []), found.verdict]
        st.markdown(" ".join(said[part].format(**_told(found)) for part in parts))
        if found.mend is not None:
            _mend(model, plan, found)


def _curve(model: ModelKey, forward: list[CulpritStep], found: Culprits | None) -> None:
    names, first = [step.layer for step in forward], forward[0].damage
    short = short_names(names)
    falls = {} if found is None else {fall.layer: short[fall.layer] for fall in found.falls}
    scores = [scaled_value(step.damage.score) for step in forward]
    plain = scaled_value(first.score, first.score.value - first.change.value)
    title = axis_title(first.score)
    figure = score_curve_figure(names, scores, falls, plain, title, charts.canvas("tuner culprits", model))
    charts.show(figure, "tuner_culprits_figure", describe_score_curve(names, scores, title))


def _told(found: Culprits) -> Mapping[str, Any]:
    """Return the numbers of the sentence."""
    told: dict[str, Any] = {
        "n": len(found.order),
        "falls": len(found.falls),
        "score": shown_score(found.curve[-1].score),
    }
    if found.falls:
        fall = found.falls[0]
        told |= {"layer": fall.layer, "others": _listed(fall.together_with)}
        told |= {"lost": _points(found, fall.lost), "alone": _points(found, fall.alone)}
    return told


def _points(found: Culprits, lost: Score) -> str:
    """Write a loss of a score: of a share in points."""
    score = found.curve[-1].score
    value = scaled_value(score, lost.value)
    said = read_words("tuner")["culprits"]
    return said["points"].format(value=f"{value:.1f}") if value != lost.value else f"{value:.3g} {score.unit}".strip()


def _listed(layers: tuple[str, ...]) -> str:
    named = Sentence(", ".join(f"**{verbatim(layer)}**" for layer in layers[:MAX_NAMED]))
    more = len(layers) - MAX_NAMED
    return read_words("tuner")["culprits"]["and_more"].format(listed=named, n=more) if more > 0 else named


def _mend(model: ModelKey, plan: TunedPlan, found: Culprits) -> None:
    """Say what sparing the layers brings, and offer to do it."""
    said, mend = read_words("tuner")["culprits"], found.mend
    assert mend is not None
    told = {"layers": _listed(mend.layers), "score": shown_score(mend.in_float.score)}
    lines = [said["mended" if mend.mended else "not_mended"].format(**told)]
    choices = [("float", plan.in_float(mend.layers))]
    if mend.in_eight_bits is not None:
        eight = shown_score(mend.in_eight_bits.score)
        lines.append(said["eight_mended" if mend.mended_in_eight_bits else "eight_not_mended"].format(score=eight))
        choices.insert(0, ("eight", with_eight_bits(plan, mend.layers)))
    st.markdown(" ".join(lines))
    with st.container(horizontal=True, gap="xsmall", key="tuner_mend"):
        for name, mended in choices:
            args = (model, mended)
            st.button(said[f"apply_{name}"], key=f"tuner_mend_{name}", on_click=tuner_session.change, args=args)
    tuner_session.follow()
