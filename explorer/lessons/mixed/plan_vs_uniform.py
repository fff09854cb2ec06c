"""Your plan against the uniform one: on calibration data while you search, on test data when you ask."""

from __future__ import annotations

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
from explorer.lessons.mixed.plans import Bits
from explorer.notation import accuracy, count, short
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
    network, said = plans.network_of(mix), {"unit": compute.sample_unit(mix.model)}
    for name, split in (("seen", "calibration"), ("hidden", "test")):
        said[name] = compute.samples(mix.model, split)
        said[f"one_{name}"] = short(100 / len(network.data(split)[1]))
    return said


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
            note = "…" if found is None else words["loss_is"].format(loss=short(found.loss))
            value = "…" if found is None else accuracy(found.score.value)
            st.metric(name, value, note, delta_color="off", delta_arrow="off", width=150)
    if uniform is None or yours is None:
        st.caption(words["measuring_plan"].format(**_data(mix)))
        return
    over = plans.size_of(mix) - plans.budget_of(mix)
    total = yours.score.n
    ahead = round((yours.score.value - uniform.score.value) * total)
    name = "over" if over > 0 else "same" if mix.bits == plans.uniform(mix).bits else (
        "ahead" if ahead > 0 else "behind" if ahead < 0 else "level"
    )  # fmt: skip
    text = words[f"duel_{name}"].format(
        over=count(max(over, 0)),
        ahead=abs(ahead),
        total=total,
        unit=compute.sample_unit(mix.model),
        one=short(100 / total),
        bits=_width(mix.uniform),
    )
    st.markdown(text)


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
    low, high = measured.interval
    return f"{accuracy(measured.value)} ({accuracy(low)} – {accuracy(high)})"
