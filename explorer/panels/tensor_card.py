"""The card of one tensor: why it is hard to quantize, and what would help at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from explorer import charts, compute, frame, layer_damage, tables
from explorer.background import Task, live
from explorer.caches import ResultKey
from explorer.figures.weights import describe_weights, weights_figure
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.notation import decibels, fixed, share, short, unbroken
from explorer.page_table import PLAYGROUND, pages_folder
from explorer.panels.layer_input import layer_input_panel
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.tensor_table import reach
from quant_engine import QuantError, QuantizerSpec
from quant_engine.studies import Damage, EqualNoise, Hardness, Remedy, TensorStatistics, cause, hardness, remedies
from quant_engine.studies.attribution import DRAWS

PLACE = "inspector card"
MAX_CHANNELS = 4  # that are named
UNMEASURED = ("lloyd", "bound")  # what no format of ours stores

Known = tuple[Hardness, dict[str, Remedy], TensorStatistics]


def tensor_card(model: ModelKey, layer: str, settings: PlaygroundState, spec: QuantizerSpec) -> None:
    """Draw the card; its numbers are worked out in the background."""
    said = read_words("inspector")["card"]
    key = ResultKey("why hard", model, layer, spec)
    task = compute.session().ask(PLACE, key, lambda: known_of(model, layer, spec))
    st.subheader(said["title"].format(layer=layer), anchor=False)
    live(lambda: _why(model, layer, spec, task), lambda: task.active)
    if task.ended and task.error is None:
        _help(model, layer, spec, task.result())
    st.page_link(
        pages_folder() / PLAYGROUND,
        label=said["playground"],
        icon=":material/tune:",
        query_params={frame.MODEL_KEY: compute.name(model), frame.TENSOR_KEY: layer, **settings.link()},
    )
    if task.ended and task.error is None:
        found: Hardness = task.result()[0]
        told = {"used": found.codes_used, "total": found.codes_total, "steps": fixed(found.steps, 3)}
        st.caption(said["numbers"].format(channels=_channels(found, said), **told))
        st.caption(said["bound"].format(bits=spec.format.bits))
    layer_input_panel(model, layer)


def _help(model: ModelKey, layer: str, spec: QuantizerSpec, known: Known) -> None:
    """Draw what would help, and offer to measure it where there is a task."""
    said, (found, others, _) = read_words("inspector")["card"], known
    if compute.network(model).task is None:
        _remedies(found, others, layer, None)
        return
    helping = layer_damage.help_study(model, layer, spec, {name: one.spec for name, one in others.items()})
    live(partial(_remedies, found, others, layer, helping), lambda: study.active(helping.key))
    label = said["measure"].format(runs=helping.total - 1 + DRAWS)
    study.offer(helping, label, said["measuring"], lambda task: None)


def known_of(model: ModelKey, layer: str, spec: QuantizerSpec) -> Known:
    """Return what is told of a tensor, found once."""
    return compute.kept(ResultKey("known of", model, layer, spec), partial(_known, model, layer, spec))


def _known(model: ModelKey, layer: str, spec: QuantizerSpec) -> Known:
    x = compute.matrix(model, layer)
    return hardness(x, spec), remedies(x, spec), compute.statistics_of(model, layer)


def sentence(known: Known, spec: QuantizerSpec) -> str:
    """Say why a tensor is hard, from its numbers."""
    found, others, statistics = known
    words, reason = read_words("inspector")["cause"], cause(*known[:2])
    one = spec.granularity.blocks((2, 2)).count == 1
    told: dict[str, Any] = {
        "max": short(statistics.max_sigmas),
        "codes": found.codes_of_most,
        "total": found.codes_total,
        "scales": words["one_scale" if one else "scales"],
        "maximum": words["one_maximum" if one else "maxima"],
        "steps": fixed(found.steps, 3),
        "spread": short(found.channel_spread),
        "clip": share(found.best_clip),
    }
    gains = {name: others[name].sqnr_db - found.sqnr_db for name in others}
    gained = {"channel": "channel", "bit": "bit", "range": "clip"}
    told |= {name: decibels(gains[remedy]) for name, remedy in gained.items() if remedy in gains}
    if reason == "steps" and "bit" not in gains:
        reason = "finest"
    return str(words[reason].format(**told))


def _why(model: ModelKey, layer: str, spec: QuantizerSpec, task: Task) -> None:
    """Draw the sentence, the picture and the numbers."""
    words = read_words("inspector")
    said = words["card"]
    if not task.ended:
        st.caption(said["working"])
        return
    try:
        known: Known = task.result()
    except QuantError as error:
        st.info(verbatim(error), icon=":material/block:")
        return
    st.markdown(sentence(known, spec))
    block = int(compute.fitted(model, layer, spec).scale.argmax())
    view = compute.block_view(model, layer, spec, block)
    charts.show(weights_figure(view, charts.canvas(model, layer, spec)), "inspector_weights", describe_weights(view))


def _channels(found: Hardness, said: Mapping[str, str]) -> str:
    """Name the outlier channels, the largest first."""
    channels = found.outlier_channels
    if not channels:
        return said["none"]
    named = ", ".join(map(str, channels[:MAX_CHANNELS]))
    return said["channels"].format(n=len(channels), named=named + (" …" if len(channels) > MAX_CHANNELS else ""))


def _remedies(found: Hardness, others: Mapping[str, Remedy], layer: str, helping: Study | None) -> None:
    """Draw what would help: SQNR, what it stores, and, once measured, the damage."""
    said = read_words("inspector")["card"]
    task = None if helping is None else compute.session().find(helping.key)
    answers: dict[str, Damage | EqualNoise] = dict(task.items) if task else {}
    rows = [_row(layer_damage.NOW, found.sqnr_db, None, found, answers, said)]
    rows += [_row(name, one.sqnr_db, one.bits_per_value, found, answers, said) for name, one in others.items()]
    rows += [
        _row("lloyd", found.lloyd_db, None, found, answers, said),
        _row("bound", found.bound_db, None, found, answers, said),
    ]
    tables.table(rows, border="horizontal")
    noise, own = answers.get(layer_damage.NOISE), answers.get(layer_damage.NOW)
    if isinstance(noise, EqualNoise) and isinstance(own, Damage) and noise.mean > 0:
        more = own.measure.value / noise.mean
        told = {"mean": short(noise.mean), "spread": short(noise.spread, 2), "ratio": short(more)}
        apart = abs(own.measure.value - noise.mean) > 2 * noise.spread
        key = "noise_same" if not apart else "noise_worse" if more > 1 else "noise_better"
        st.caption(said[key].format(layer=layer, **told))


def _with_reach(damage: Damage) -> str:
    return unbroken(f"{short(damage.measure.value, 2)} ± {short(reach(damage.measure), 1)}")


def _row(
    name: str,
    sqnr_db: float,
    bits: float | None,
    found: Hardness,
    answers: Mapping[str, Damage | EqualNoise],
    said: Mapping[str, str],
) -> dict[str, str]:
    """Return what one remedy gives; the first row is what the others are beside."""
    more = 0.0 if sqnr_db == found.sqnr_db else sqnr_db - found.sqnr_db
    gain = decibels(found.sqnr_db) if name == layer_damage.NOW else f"{'+' if more > 0 else ''}{decibels(more)}"
    row = {said["remedy"]: unbroken(said[f"fix_{name}"]), "SQNR": unbroken(gain)}
    row[said["bits"]] = "" if bits is None else short(bits)
    if answers:
        one = answers.get(name)
        waiting = "" if name in UNMEASURED else "…"
        row[said["damage"]] = _with_reach(one) if isinstance(one, Damage) else waiting
    return row
