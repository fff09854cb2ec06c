"""Layers ranked by what is cheap to know of their weights, against the damage that is measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from explorer import charts, compute
from explorer.background import live
from explorer.fields import Choice, named
from explorer.figures.slopes import Column, describe_slopes, slope_figure
from explorer.lessons.framework import study
from explorer.lessons.framework.glossary import linked
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.mixed import plans
from explorer.lessons.mixed.additivity import measured_in, measured_of
from explorer.notation import short
from explorer.sentences import Sentence
from quant_engine import QuantizerSpec
from quant_engine.studies import Ranking, ranking

SLUG = "mixed"


def _kurtosis(mix: Mix, layer: str, spec: QuantizerSpec) -> float:
    return compute.statistics_of(mix.model, layer).kurtosis


def _weight_mse(mix: Mix, layer: str, spec: QuantizerSpec) -> float:
    return compute.outcome(mix.model, layer, spec).report.mse


PROXIES: dict[str, Callable[[Mix, str, QuantizerSpec], float]] = {"kurtosis": _kurtosis, "weight MSE": _weight_mse}
PROXY = Choice(f"{SLUG}_proxy", named(PROXIES), default="kurtosis", menu=True, width=132)


def ranking_section(bench: Bench, mix: Mix, at: int, name: str) -> None:
    """Draw the places of layers by a proxy and as measured, once each layer alone has been measured."""
    words, one = read_prose(SLUG).laboratory, measured_of(mix, at)
    st.subheader(words["rank_title"])
    st.markdown(linked(words[f"rank_{name.replace(' ', '_')}"]))
    live(partial(_draw, bench, mix, at, name), lambda: study.active(one.key))


def _draw(bench: Bench, mix: Mix, at: int, name: str) -> None:
    words, task = read_prose(SLUG).laboratory, compute.session().find(measured_of(mix, at).key)
    found = measured_in(task)
    if found is None:
        st.caption(words["rank_none"])
        return
    spec, alone = plans.spec_of(mix, at), {layer: one.measure for layer, one in found.alone.items()}
    ranked = ranking({layer: PROXIES[name](mix, layer, spec) for layer in alone}, alone)
    left, right = Column(name, ranked.proxy), Column(words["rank_measured"], ranked.measured)
    marked = ranked.misplaced if ranked.lies else ()
    figure = slope_figure(left, right, marked, bench.canvas)
    charts.show(figure, f"{SLUG}_chart_ranking", describe_slopes(left, right))
    st.markdown(verdict(name, ranked))


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
        misplaced=Sentence(" · ".join(listed)),
    )
