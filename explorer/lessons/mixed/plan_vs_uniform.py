"""Your plan against the uniform one: on calibration data while you search, on test data when you ask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from explorer import compute, tables
from explorer.background import Task, live
from explorer.caches import ResultKey
from explorer.lessons.framework.layout import numbers
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.mixed import plans
from explorer.lessons.mixed.harm import better_by, counts
from explorer.lessons.mixed.plans import Bits
from explorer.notation import accuracy, count, decibels, short, with_interval
from explorer.notation import scored as shown_score
from quant_engine.network import Score
from quant_engine.studies import Effect

SLUG = "mixed"
YOURS, UNIFORM = "yours", "uniform"


def plan_vs_uniform(mix: Mix) -> None:
    """Draw both plans' accuracy on the data that the search may see, and the table of those scored on others."""
    words = read_prose(SLUG).laboratory
    candidate = plans.uniform(mix)

    tasks = _asked("effect", plans.effect_of, (candidate, mix))
    live(lambda: _numbers(mix, *map(_result, tasks)), lambda: any(task.active for task in tasks))
    st.button(
        words["score"].format(**_data(mix)),
        key=f"{SLUG}_score",
        icon=":material/visibility:",
        on_click=_score,
        args=(mix,),
        disabled={mix.bits, candidate.bits} <= set(scored(mix)),
    )
    if scored(mix):
        _tested(mix, candidate)
    else:
        st.caption(words["score_none"].format(**_data(mix)))


def _data(mix: Mix) -> dict[str, str]:
    """Return what the texts call the data that the search sees, and those that judge it."""
    return {
        "unit": compute.sample_unit(mix.model),
        "seen": compute.samples(mix.model, "calibration"),
        "hidden": compute.samples(mix.model, "test"),
    }


def scored(mix: Mix) -> list[Bits]:
    """Return the plans that were scored on test data in this session, in order."""
    kept: dict[tuple[str, str], list[Bits]] = st.session_state.setdefault(f"{SLUG}_scored", {})
    return kept.setdefault((mix.model, mix.shared), [])


def _score(mix: Mix) -> None:
    """Score a plan and the uniform one on test data (a callback)."""
    for bits in (plans.uniform(mix).bits, mix.bits):
        if bits not in scored(mix):
            scored(mix).append(bits)


def _asked(name: str, measure: Callable[[Mix], Effect], mixes: Sequence[Mix]) -> list[Task]:
    """Return the tasks that measure plans."""
    session = compute.session()
    return [
        session.ask(f"{SLUG} {name} {n}", ResultKey(name, one.model, one.shared, one.bits), partial(measure, one))
        for n, one in enumerate(mixes)
    ]


def _result(task: Task) -> Effect | None:
    return task.result() if task.ended else None


def _numbers(mix: Mix, uniform: Effect | None, yours: Effect | None) -> None:
    words = read_prose(SLUG).laboratory
    with numbers():
        for name, found in (
            (words["uniform_plan"].format(bits=_width(mix.uniform)), uniform),
            (words["your_plan"], yours),
        ):
            note, value = ("…", "…") if found is None else (_note(found), _value(found.score))
            st.metric(name, value, note, delta_color="off", delta_arrow="off", width=150)
    if uniform is None or yours is None:
        st.caption(words["measuring_plan"].format(**_data(mix)))
        return
    over = plans.size_of(mix) - plans.budget_of(mix)
    gained = better_by(yours.score, uniform.score)
    shown = counts(yours.score)
    name = "over" if over > 0 else "same" if mix.bits == plans.uniform(mix).bits else (
        ("ahead" if shown else "better") if gained > 0 else ("behind" if shown else "worse") if gained < 0 else "level"
    )  # fmt: skip
    text = words[f"duel_{name}"].format(
        over=count(max(over, 0)),
        ahead=round(abs(gained) * yours.score.n),
        total=count(yours.score.n),
        unit=compute.sample_unit(mix.model),
        bits=_width(mix.uniform),
        name=yours.score.name,
        yours=short(yours.score.value, 4),
        uniform=short(uniform.score.value, 4),
    )
    st.markdown(text)


def _note(found: Effect) -> str:
    """Return the loss, or how far the outputs moved where there is none."""
    words = read_prose(SLUG).laboratory
    if math.isnan(found.loss):
        return words["sqnr_is"].format(sqnr=decibels(found.sqnr_db))
    return words["loss_is"].format(loss=short(found.loss))


def _value(score: Score) -> str:
    return accuracy(score.value) if counts(score) else f"{short(score.value, 4)} {score.unit}".rstrip()


def _width(width: int) -> str:
    return "FP16" if width == plans.FLOAT_BITS else f"{width} bits"


def _tested(mix: Mix, candidate: Mix) -> None:
    words, listed = read_prose(SLUG).laboratory, scored(mix)
    every = [replace(mix, bits=bits) for bits in listed]
    tasks = _asked("test", plans.tested, every)

    def draw() -> None:
        tables.table([_row(one, _result(task)) for one, task in zip(every, tasks, strict=True)])
        tried = sum(len(set(bits)) > 1 for bits in listed)
        st.caption(words["scored_one" if tried < 2 else "scored_many"].format(n=tried))

    live(draw, lambda: any(task.active for task in tasks))


def _row(mix: Mix, found: Effect | None) -> dict[str, str]:
    seen = plans.findings(mix.model, mix.shared).plans.get(mix.bits)
    return {
        "plan": ", ".join(map(str, mix.bits)),
        "bytes": count(plans.size_of(mix)),
        "calibration data": "…" if seen is None else _interval(seen.score),
        "test data": "…" if found is None else _interval(found.score),
    }


def _interval(measured: Score) -> str:
    return with_interval(measured) if counts(measured) else shown_score(measured)
