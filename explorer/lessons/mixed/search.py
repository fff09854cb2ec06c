"""Plans that the optimiser finds: exactly from layer costs, greedily from whole plans; a click loads one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute, controls
from explorer.background import Task, live
from explorer.caches import ResultKey
from explorer.fields import Choice, Text, named
from explorer.figures.plans import (
    Kinds,
    PlanPoint,
    describe_plans,
    describe_scatter,
    front_figure,
    scatter_figure,
)
from explorer.lessons.framework import study
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.framework.study import Study
from explorer.lessons.mixed import plans
from explorer.lessons.mixed.harm import validate_measure
from explorer.lessons.mixed.layer_sensitivity import plain_of
from explorer.lessons.mixed.plans import WIDTHS, Bits
from quant_engine import QuantError
from quant_engine.allocation import allocate
from quant_engine.studies import Effect, greedy_search, layer_costs, sensitivities, trials

SLUG = "mixed"
EXACT, GREEDY = f"{SLUG}_exact", f"{SLUG}_greedy"
LOADED_KEY = f"{SLUG}_loaded"


@dataclass(frozen=True)
class Cost:
    """What a layer costs: its names in the engine and in words, how a plan is measured, and by what greedy goes."""

    engine: str
    word: str
    same_unit: bool
    greedy: str

    @property
    def title(self) -> str:
        """What it is called."""
        return read_prose(SLUG).laboratory[f"cost_{self.word}"]

    def of(self, found: Effect, plain: Effect) -> float:
        """Return what is measured of a whole plan."""
        if self.engine == "divergence":
            return found.divergence
        if self.engine == "score":
            return plain.score.value - found.score.value
        return found.loss - plain.loss


COSTS = {
    "KL": Cost("divergence", "KL", True, "divergence"),
    "loss": Cost("loss", "loss", True, "loss"),
    "accuracy": Cost("score", "accuracy", True, "score"),
    "Fisher": Cost("predicted loss", "loss", True, "loss"),
    "weight error": Cost("predicted error", "loss", False, "loss"),
}
COST = Choice(f"{SLUG}_cost", named(COSTS), default="KL", menu=True, width=140)
PLAN = Text(f"{SLUG}_plan", plans.read_plan, plans.write_plan)


def exact_of(mix: Mix, name: str) -> Study:
    """Return the study of what every layer costs at every width, and then the best plans of many budgets."""
    network, found, cost = plans.network_of(mix), plans.findings(mix.model, mix.shared), COSTS[name]
    wanted = trials(network, plans.candidates(mix.shared)) if not cost.engine.startswith("predicted") else []

    def steps() -> Generator[object, None, None]:
        yield plain_of(mix)
        yield from sensitivities(network, wanted, found.trials)
        costs = found.costs[name] = layer_costs(network, plans.candidates(mix.shared), cost.engine, found.trials)
        yield None
        yield from _uniform(mix)
        for budget in _budgets(mix):
            bits = best_plan(mix, costs, budget)
            plans.effect_of(replace(mix, bits=bits))
            found.fronts.setdefault((EXACT, name), []).append(bits)
            yield bits

    return Study(_key(mix, EXACT, name), steps, len(wanted) + 2 + len(WIDTHS) + len(_budgets(mix)))


def greedy_of(mix: Mix, name: str) -> Study:
    """Return the study of stepping down from 16-bit floats everywhere, each plan measured as a whole."""
    network, found = plans.network_of(mix), plans.findings(mix.model, mix.shared)

    def steps() -> Generator[object, None, None]:
        yield from _uniform(mix)
        for step in greedy_search(network, plans.candidates(mix.shared), 0, COSTS[name].greedy):
            bits = tuple(int(spec.format.bits) for spec in step.choices.values())
            found.plans[bits] = step.measured
            found.fronts.setdefault((GREEDY, COSTS[name].greedy), []).append(bits)
            yield bits

    return Study(_key(mix, GREEDY, name), steps, len(WIDTHS) + 1 + len(mix.bits) * (len(WIDTHS) - 1))


def _uniform(mix: Mix) -> Iterator[object]:
    for width in WIDTHS:
        yield plans.effect_of(plans.uniform(replace(mix, uniform=width)))


def _budgets(mix: Mix) -> list[float]:
    """Return the bytes of uniform plans of 2 to 8 bits, and those half-way between them."""
    whole = plans.sizes(mix).sum(axis=0)[: WIDTHS.index(8) + 1].tolist()
    return sorted([*whole, *((a + b) / 2 for a, b in pairwise(whole))])


def best_plan(mix: Mix, costs: NDArray[np.float64], budget: float) -> Bits:
    """Return the plan of least summed cost within a budget of bytes, exactly."""
    return tuple(WIDTHS[choice] for choice in allocate(costs, plans.sizes(mix), budget))


def greedy_plan(mix: Mix, name: str) -> Bits | None:
    """Return the first plan on greedy's way down that fits the budget."""
    steps = plans.findings(mix.model, mix.shared).fronts.get((GREEDY, COSTS[name].greedy), [])
    return next((bits for bits in steps if plans.size_of(mix, bits) <= plans.budget_of(mix)), None)


def search(bench: Bench, mix: Mix) -> None:
    """Draw the buttons, the front with plans to click, and predicted beside measured."""
    words = read_prose(SLUG).laboratory
    compute.require_task(mix.model)
    with bench.controls:
        name = controls.show(COST)
    validate_measure(mix.model, name)  # before minutes are spent
    searches = exact_of(mix, name), greedy_of(mix, name)
    with st.container(horizontal=True):
        for one in searches:
            st.button(
                words[one.place.removeprefix(f"{SLUG}_")],
                key=f"{one.place}_run",
                icon=":material/play_arrow:",
                on_click=_ask,
                args=(one,),
            )
    for one in searches:
        if study.asked(one.place) == one.key:
            study.show(one, words[f"{one.place.removeprefix(f'{SLUG}_')}_running"], partial(_take_over, mix, name, one))
        else:
            compute.session().leave(one.place)
    live(lambda: _drawn(bench, mix, name), lambda: any(study.active(one.key) for one in searches))
    st.caption(words["search_lead"])


def _key(mix: Mix, kind: str, name: str) -> ResultKey:
    return ResultKey(kind, mix.model, mix.shared, name if kind == EXACT else COSTS[name].greedy)


def _ask(one: Study) -> None:
    """Begin to search, and take over the plan when it is there (a callback)."""
    study.start(one)
    st.session_state[f"{one.place}_wanted"] = True


def _take_over(mix: Mix, name: str, one: Study, _: Task | None) -> None:
    """Put the plan into the steppers where the search has found what was asked for."""
    found = _found(mix, name, one.place)
    if found is not None and st.session_state.pop(f"{one.place}_wanted", False):
        controls.assign({PLAN.key: plans.write_plan(found)})
        st.rerun()


def _found(mix: Mix, name: str, kind: str) -> Bits | None:
    if kind == GREEDY:
        return greedy_plan(mix, name)
    costs = plans.findings(mix.model, mix.shared).costs.get(name)
    try:
        return None if costs is None else best_plan(mix, costs, plans.budget_of(mix))
    except QuantError:
        return None


def kinds_of(mix: Mix, name: str) -> Kinds:
    """Return the plans that have been measured, by kind."""
    found = plans.findings(mix.model, mix.shared)
    every = {
        "uniform": [(width,) * len(mix.bits) for width in WIDTHS],
        "exact": found.fronts.get((EXACT, name), []),
        "greedy": found.fronts.get((GREEDY, COSTS[name].greedy), []),
        "yours": [mix.bits],
    }
    return {
        kind: [_point(mix, name, bits) for bits in dict.fromkeys(listed) if bits in found.plans]
        for kind, listed in every.items()
    }


def _point(mix: Mix, name: str, bits: Bits) -> PlanPoint:
    found, cost = plans.findings(mix.model, mix.shared), COSTS[name]
    effect, plain, costs = found.plans[bits], found.plans.get(()), found.costs.get(name)
    chosen = [WIDTHS.index(width) for width in bits]
    return PlanPoint(
        plans.write_plan(bits),
        ", ".join(map(str, bits)),
        plans.size_of(mix, bits),
        effect.score.value,
        None if costs is None else float(costs[np.arange(len(chosen)), chosen].sum()),
        None if plain is None else cost.of(effect, plain),
    )


def _drawn(bench: Bench, mix: Mix, name: str) -> None:
    if st.session_state.pop(LOADED_KEY, False):
        st.rerun()  # a click reruns this part alone, and the steppers are elsewhere
    words, kinds, cost = read_prose(SLUG).laboratory, kinds_of(mix, name), COSTS[name]
    if not any(kinds[kind] for kind in ("exact", "greedy")):
        st.caption(words["search_none"].format(cost=name))
        return
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(words["front_title"])
        figure = front_figure(kinds, plans.budget_of(mix), bench.canvas)
        charts.pick(figure, f"{SLUG}_chart_front", describe_plans(kinds), _load)
    with right:
        st.markdown(words["scatter_title"])
        if name in plans.findings(mix.model, mix.shared).costs:
            scatter = scatter_figure(kinds, cost.title, cost.same_unit, bench.canvas)
            charts.pick(scatter, f"{SLUG}_chart_scatter", describe_scatter(kinds, cost.title), _load)
        else:
            st.caption(words["scatter_none"])
    st.caption(words["front_note"])


def _load(code: str) -> None:
    """Put a plan that was clicked into the steppers (a callback)."""
    if PLAN.accepts(code):
        controls.assign({PLAN.key: code, LOADED_KEY: True})
