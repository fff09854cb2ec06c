"""Keys and values of a language model's attention, quantized with one scale a tensor, a channel or a token."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from explorer import charts, compute, tables
from explorer.background import Task, live
from explorer.caches import ResultKey
from explorer.figures.activations import Magnitudes, cache_figure, describe_cache, magnitudes
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.notation import count, decibels, fixed, short
from explorer.refusals import refusals_said
from explorer.sources import ModelKey
from quant_engine.studies import (
    SHARES,
    AttentionBlock,
    CacheError,
    attention_blocks,
    cache_errors,
    cache_scores,
    keys_and_values,
    text_inputs,
)
from quant_engine.tasks import Score
from quant_engine.tasks.next_token import MEAN_DIVERGENCE

SPLIT = "test"


@dataclass(frozen=True, eq=False)
class _Found:
    """What is shown of one block."""

    parts: Mapping[str, Magnitudes]
    errors: Mapping[str, CacheError]


def blocks_of(model: ModelKey) -> tuple[AttentionBlock, ...]:
    """Return the attention of every block, kept.

    Raises:
        QuantError: as `attention_blocks`.
    """
    return compute.kept(ResultKey("attention blocks", model), lambda: attention_blocks(compute.network(model)))


def key_values_panel(model: ModelKey, tokens: tuple[int, ...], number: int, bits: int) -> None:
    """Draw words and errors at the left, keys and values at the right."""
    said, block = read_words("text")["cache"], blocks_of(model)[number]
    key = ResultKey("text cache", model, block.name, bits, tokens)
    task = compute.session().ask("text cache", key, partial(_look, model, tokens, block, bits))
    words, figure = st.columns([0.42, 0.58], gap="medium")
    with words:
        st.header(said["title"], anchor=False)
        st.markdown(said["lead"].format(block=block.name, tokens=count(len(tokens))))
        one = _study(model, bits)
        live(
            lambda: _table(said, task, compute.session().find(one.key), bits),
            lambda: task.active or study.active(one.key),
        )
        label = said["measure"].format(samples=compute.samples(model, SPLIT))
        study.offer(one, label, said["measuring"], lambda task: None)
        st.caption(said["note"])
    with figure:
        live(lambda: _draw(model, said, task), lambda: task.active)


def _look(model: ModelKey, tokens: tuple[int, ...], block: AttentionBlock, bits: int) -> _Found:
    network = compute.network(model)
    inputs = text_inputs(network, tokens)
    parts = zip(("keys", "values"), keys_and_values(network, inputs, block), strict=True)
    return _Found({name: magnitudes(part[0]) for name, part in parts}, cache_errors(network, inputs, block, bits))


def _study(model: ModelKey, bits: int) -> Study:
    """Return the measuring of the whole model with all keys and values quantized."""

    def steps() -> Generator[tuple[str, Mapping[str, Score]], None, None]:
        yield from cache_scores(compute.network(model), bits, SPLIT)

    return Study(ResultKey("text cache scores", model, bits), steps, len(SHARES))


def _draw(model: ModelKey, said: Mapping[str, Any], task: Task) -> None:
    """Draw keys and values, or say that they are awaited."""
    if not task.ended:
        st.caption(said["running"])
        return
    with refusals_said():
        found: _Found = task.result()
        parts = {said[name]: part for name, part in found.parts.items()}
        figure = cache_figure(parts, charts.canvas("text cache", model))
        charts.show(figure, "text_cache_figure", describe_cache(parts))


def _table(said: Mapping[str, Any], task: Task, measured: Task | None, bits: int) -> None:
    """Draw the errors of every way of sharing scales, and say what the choice does."""
    if not task.ended or task.error is not None:
        return
    found: _Found = task.result()
    scores: dict[str, Mapping[str, Score]] = {} if measured is None else dict(measured.items)
    rows = []
    for share, error in found.errors.items():
        row = {
            said["share"]: said["shares"][share],
            said["key_db"]: decibels(error.key_db),
            said["value_db"]: decibels(error.value_db),
            said["output_db"]: decibels(error.output_db),
            said["bits"]: fixed(error.bits_per_value, 2),
        }
        if scores:
            row[said["divergence"]] = short(scores[share][MEAN_DIVERGENCE].value) if share in scores else ""
        rows.append(row)
    tables.table(rows)
    told = {name: decibels(found.errors[name].key_db) for name in ("channel", "token")}
    told |= {f"value_{name}": decibels(found.errors[name].value_db) for name in ("channel", "token")}
    st.markdown(said["found"].format(bits=bits, **told))
