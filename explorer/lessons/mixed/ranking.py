"""Layers ranked by what is cheap to know of their weights, against the damage that is measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import streamlit as st

from explorer import charts, compute
from explorer.background import Task, live
from explorer.fields import Choice, named
from explorer.figures.slopes import Column, describe_slopes, slope_figure
from explorer.lessons.framework import study
from explorer.lessons.framework.glossary import linked
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.mixed import plans
from explorer.lessons.mixed.additivity import TOGETHER, Divergences, measured_of
from explorer.notation import short
from quant_engine import QuantizerSpec
from quant_engine.tasks.score import mean

SLUG = "mixed"


def _kurtosis(mix: Mix, layer: str, spec: QuantizerSpec) -> float:
    return compute.statistics_of(mix.model, layer).kurtosis


def _weight_mse(mix: Mix, layer: str, spec: QuantizerSpec) -> float:
    return compute.outcome(mix.model, layer, spec).report.mse


PROXIES: dict[str, Callable[[Mix, str, QuantizerSpec], float]] = {"kurtosis": _kurtosis, "weight MSE": _weight_mse}
PROXY = Choice(f"{SLUG}_proxy", named(PROXIES), default="kurtosis", menu=True, width=132)


@dataclass(frozen=True)
class Ranking:
    """How a proxy ranks layers, against their measured divergences.

    Of all `pairs` of layers the proxy puts `wrong` in the other order, `sure` of them where the 95 % interval of the
    difference, sample by sample, leaves out 0. `correlation` is Spearman's. `misplaced` are the layers furthest from
    their measured place, none where every place is right.
    """

    proxy: dict[str, float]
    measured: dict[str, float]
    pairs: int
    wrong: int
    sure: int
    correlation: float
    misplaced: tuple[str, ...]

    @property
    def lies(self) -> bool:
        """Whether the order is wrong beyond chance."""
        return self.sure > 0


def ranking(proxy: Mapping[str, float], found: Divergences) -> Ranking:
    """Compare the order of layers by a proxy with that by their mean divergences."""
    measured = {layer: float(values.mean()) for layer, values in found.items()}
    pairs = [*itertools.combinations(measured, 2)]
    wrong = [(a, b) for a, b in pairs if (proxy[a] - proxy[b]) * (measured[a] - measured[b]) < 0]
    differences = (mean("difference", found[a] - found[b]).interval for a, b in wrong)
    places = Column("", proxy).ranks, Column("", measured).ranks
    apart = {layer: abs(places[0][layer] - places[1][layer]) for layer in measured}
    furthest = max(apart.values())
    return Ranking(
        dict(proxy),
        measured,
        len(pairs),
        len(wrong),
        sum(low > 0 or high < 0 for low, high in differences),
        rank_correlation(proxy, measured),
        tuple(layer for layer in measured if furthest and apart[layer] == furthest),
    )


def rank_correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return Spearman's correlation of two measures of the same things, without ties.

    >>> a, b = {"p": 1.0, "q": 2.0, "r": 3.0, "s": 5.0}, {"p": 2.0, "q": 1.0, "r": 3.0, "s": 9.0}
    >>> round(rank_correlation(a, b), 2)
    0.8
    """
    first, second = (Column("", values).ranks for values in (one, other))
    return float(np.corrcoef([first[name] for name in one], [second[name] for name in one])[0, 1])


def ranking_section(bench: Bench, mix: Mix, at: int, name: str) -> None:
    """Draw the places of layers by a proxy and as measured, once each layer alone has been measured."""
    words, one = read_prose(SLUG).laboratory, measured_of(mix, at)
    st.subheader(words["rank_title"])
    st.markdown(linked(words[f"rank_{name.replace(' ', '_')}"]))
    live(partial(_draw, bench, mix, at, name), lambda: study.active(one.key))


def _draw(bench: Bench, mix: Mix, at: int, name: str) -> None:
    words, task = read_prose(SLUG).laboratory, compute.session().find(measured_of(mix, at).key)
    found = measured_in(task)
    if len(found) < len(mix.bits):
        st.caption(words["rank_none"])
        return
    spec = plans.spec_of(mix, at)
    ranked = ranking({layer: PROXIES[name](mix, layer, spec) for layer in found}, found)
    left, right = Column(name, ranked.proxy), Column(words["rank_measured"], ranked.measured)
    marked = ranked.misplaced if ranked.lies else ()
    figure = slope_figure(left, right, marked, bench.canvas)
    charts.show(figure, f"{SLUG}_chart_ranking", describe_slopes(left, right))
    st.markdown(verdict(name, ranked))


def measured_in(task: Task | None) -> Divergences:
    """Return the divergences with each layer alone that a task has found."""
    return {layer: values for layer, values in (task.items if task else ()) if layer != TOGETHER}


def verdict(name: str, ranked: Ranking) -> str:
    """Say whether the proxy's ranking lies, and which layer it misplaces most."""
    words = read_prose(SLUG).laboratory
    key = "rank_lies" if ranked.lies else "rank_ties" if ranked.wrong else "rank_right"
    places = Column("", ranked.proxy).ranks, Column("", ranked.measured).ranks
    listed = [
        words["rank_place"].format(layer=layer, proxy=places[0][layer], name=name, measured=places[1][layer])
        for layer in ranked.misplaced
    ]
    return words[key].format(
        name=name,
        pairs=ranked.pairs,
        wrong=ranked.wrong,
        sure=ranked.sure,
        correlation=short(ranked.correlation, 2),
        misplaced=" · ".join(listed),
    )
