"""Every granularity side by side: what it truly costs, what the tensor loses, and what the network scores."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace

import streamlit as st

from explorer import charts, compute, model_scores, tables
from explorer.background import Kind, Task, live
from explorer.caches import ResultKey
from explorer.figures.granularity_tradeoff import TradeoffPoint, describe_tradeoff, tradeoff_figure
from explorer.lessons.framework import study
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import coded
from explorer.lessons.granularity import granularity_controls
from explorer.notation import count, is_share, short, with_interval
from explorer.sources import ModelKey
from quant_engine import (
    PerBlock,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    QuantizerSpec,
)
from quant_engine.granularity import Granularity
from quant_engine.network import Score
from quant_engine.studies import bits_of_layers

SLUG = granularity_controls.SLUG
PLACE = f"{SLUG}_rungs"
RUNGS: dict[str, Granularity] = {  # in the order in which accuracies are measured: the story first
    "layer": PerTensor(),
    "channel": PerChannel(0),
    "runs of 3": PerGroup(3, remainder="short"),
    "4 channels": PerChannelGroup(4, remainder="short"),
    "runs of 16": PerGroup(16, remainder="short"),
    "4 × 4": PerBlock(4, 4, remainder="short"),
    "16 channels": PerChannelGroup(16, remainder="short"),
}
PLAIN = "float32"
Name = tuple[str, str]  # of the clipping, and of the granularity


def specs(spec: QuantizerSpec) -> dict[Name, QuantizerSpec]:
    """Return every granularity with the bits, ranges and scales of a spec, under its own clipping first."""
    ways = sorted(granularity_controls.CLIPPINGS.items(), key=lambda way: way[1] != spec.clipping)
    return {
        (way, name): replace(spec, granularity=granularity, clipping=clipping)
        for way, clipping in ways
        for name, granularity in RUNGS.items()
    }


def distinct(shape: tuple[int, ...]) -> list[str]:
    """Return the names of granularities whose blocks differ on a matrix: of equal ones the first.

    >>> distinct((24, 9))
    ['layer', 'channel', 'runs of 3', '4 channels', '4 × 4', '16 channels']
    """
    found: dict[tuple[int, ...], str] = {}
    for name, granularity in RUNGS.items():
        first = tuple(int(side.stop) for side in granularity.blocks(shape).slices(0))  # the others follow from it
        found.setdefault(first, name)
    return list(found.values())


def network_bits(model: ModelKey, spec: QuantizerSpec) -> float:
    """Return the bits per value of a network whose every layer is quantized so."""
    return bits_of_layers(compute.network(model).layers(), spec)


def tradeoff_section(bench: Bench, spec: QuantizerSpec) -> None:
    """Draw error against bits, and accuracy where it is asked for: one after the other, while the page is open."""
    words = read_prose(SLUG).laboratory
    st.subheader(words["rungs_title"])
    st.markdown(words["rungs_lead"])
    if not bench.telling:
        st.info(words["rungs_asked" if bench.predicted else "rungs_locked"], icon=":material/lock:")
        return
    scored = bench.subject.is_weight and compute.network(bench.model).task is not None
    measuring = scored and st.toggle(words["rungs_measure"], key=f"{SLUG}_measuring", persist_state="session")
    if not measuring:
        compute.session().leave(PLACE)
        _draw(bench, spec, None)
        return
    key, total = ResultKey(PLACE, bench.model, spec), 1 + len(specs(spec))
    task = compute.session().ask(PLACE, key, lambda: scores(bench.model, spec), Kind.STUDY, total)
    live(lambda: _draw(bench, spec, task), lambda: task.active)


def scores(model: ModelKey, spec: QuantizerSpec) -> Generator[tuple[Name, Score], None, None]:
    """Measure the network in floating point, and then with every layer under each granularity."""
    yield (PLAIN, ""), model_scores.score(model, None)
    for name, other in specs(spec).items():
        yield name, model_scores.score(model, other)


def _draw(bench: Bench, spec: QuantizerSpec, task: Task | None) -> None:
    words = read_prose(SLUG).laboratory
    measured: dict[Name, Score] = {} if task is None else dict(task.items)
    ways: dict[str, list[TradeoffPoint]] = {}
    for (way, name), other in specs(spec).items():
        ways.setdefault(way, []).append(_point(bench, name, other, measured.get((way, name)), bench.subject.is_weight))
    shape = bench.subject.matrix.shape
    apart = distinct(shape)
    ways = {way: ways[way] for way in granularity_controls.CLIPPINGS}
    same = [name for name, other in specs(spec).items() if other.key == spec.key]
    chosen = _point(
        bench, "on display", spec, measured.get(same[0]) if same else None, bench.subject.is_weight and same
    )
    plain = measured.get((PLAIN, ""))
    canvas, codes = charts.canvas(bench.subject.key, spec), int(spec.format.bits)
    figure = tradeoff_figure(ways, chosen, codes, plain, task is not None, canvas, apart)
    charts.show(figure, f"{SLUG}_chart_rungs", describe_tradeoff(ways))
    if alike := [name for name in RUNGS if name not in apart]:
        said = words["rungs_alike"].format(names=", ".join(alike), row=count(shape[1]), rows=count(shape[0]))
        st.caption(said)
    if task is not None and task.active:
        st.progress(
            task.share,
            words["rungs_measuring"].format(done=len(task.items), total=task.total, left=study.time_left(task)),
        )
    if plain is not None:
        st.caption(
            words["rungs_note" if is_share(plain) else "rungs_note_score"].format(
                score=plain.name,
                better=plain.better,
                n=count(plain.n),
                unit=compute.sample_unit(bench.model),
                one=short(100 / plain.n),
            )
        )
    with st.expander(words["rungs_table"], key=f"{SLUG}_rungs_table"):
        tables.table(
            [
                _record(way, point, "accuracy" if plain is None else plain.name)
                for way, points in ways.items()
                for point in points
            ]
        )
    if task is not None and task.error is not None:
        raise task.error


def _point(bench: Bench, name: str, spec: QuantizerSpec, measured: Score | None, network: object) -> TradeoffPoint:
    """Return a point, with the bits of the `network` where its every layer has such blocks."""
    found = coded(bench.subject, spec)
    bits = network_bits(bench.model, spec) if network else math.nan
    return TradeoffPoint(name, found.storage.bits_per_value, found.report.mse, bits, measured)


def _record(way: str, point: TradeoffPoint, score: str) -> dict[str, str]:
    level = "…"
    if point.accuracy is not None:
        level = with_interval(point.accuracy)
    return {
        read_prose(SLUG).laboratory["column_shared"]: point.name,
        "clipping": way,
        "bits per value": short(point.bits, 4),
        "MSE": short(point.mse),
        "network, bits": short(point.network_bits, 4),
        score: level,
    }
