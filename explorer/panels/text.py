"""A language model in floating point and under a plan: its scores and texts, its keys and values, its channels."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from explorer import compute, controls, frame, tables
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.notation import count, fixed, scored
from explorer.panels.key_values import blocks_of, key_values_panel
from explorer.panels.residual import residual_panel
from explorer.refusals import refusals_said
from explorer.sentences import Sentence
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.text_fields import BLOCK, CACHE, CACHE_BITS, PROMPT, SOURCE, TEXT, VIEW
from explorer.tokens import text_of, tokens_of
from quant_engine import LayerPlan, QuantError, QuantizationPlan, QuantizerSpec
from quant_engine.network import Network
from quant_engine.studies import Writing, task_text, write
from quant_engine.tasks import NextToken, Score

SETTINGS = ("bits", "granularity")  # of the playground, which takes them over
PROMPT_KEY = "text_prompt"
TOKENS, MAX_PROMPT, MAX_TOKENS, LIKELIEST = 24, 200, 256, 3
SPLIT = "test"


def text_panel() -> None:
    """Draw the controls, and below them what was chosen to be seen."""
    said = read_words("text")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="text_settings"):
        model = frame.choose_model()
        if not isinstance(compute.network(model).task, NextToken):
            st.info(said["needs"].format(model=compute.name(model)), icon=":material/info:")
            return
        view = controls.show(VIEW, help=None)
        if view == TEXT:
            settings = _settings()
            prompt: str | None = _prompt(said)
        else:
            source = controls.show(SOURCE, help=None)
            number, bits = _block(model) if view == CACHE else (0, 0)
            prompt = _prompt(said) if source == PROMPT else None
    with refusals_said():
        if view == TEXT:
            _both(model, settings, prompt or "")
            return
        tokens = task_text(compute.network(model), SPLIT, MAX_TOKENS) if prompt is None else _tokens(model, prompt)
        if view == CACHE:
            key_values_panel(model, tokens, number, bits)
        else:
            residual_panel(model, tokens)


def _settings() -> PlaygroundState:
    """Draw the settings of a plan."""
    fields = PlaygroundState.fields()
    return replace(PlaygroundState(), **{name: controls.show(fields[name], help=None) for name in SETTINGS})


def _block(model: ModelKey) -> tuple[int, int]:
    """Draw the choices of a block and of bits; without blocks there is nothing to choose."""
    try:
        last = len(blocks_of(model)) - 1
    except QuantError:
        return 0, CACHE_BITS.default  # said where the figure would stand
    controls.hold(BLOCK, last)
    return min(controls.show(BLOCK), last), controls.show(CACHE_BITS, help=None)


def _prompt(said: Mapping[str, Any]) -> str:
    return str(st.text_input(said["prompt"], said["prompt_usual"], key=PROMPT_KEY, max_chars=1000))


def _tokens(model: ModelKey, prompt: str) -> tuple[int, ...]:
    """Return the tokens of a prompt, of a long one the first."""
    tokens = tokens_of(model, prompt)
    if len(tokens) > MAX_PROMPT:
        said = read_words("text")["prompt_long"]
        st.warning(said.format(n=count(len(tokens)), most=MAX_PROMPT))
    return tuple(tokens[:MAX_PROMPT])


def _both(model: ModelKey, settings: PlaygroundState, prompt: str) -> None:
    """Draw scores at the left, both texts at the right."""
    said, spec = read_words("text"), settings.spec(-1.0, 1.0)
    scores, texts = st.columns([0.4, 0.6], gap="medium")
    with scores:
        st.header(said["title"], anchor=False)
        st.markdown(said["lead"])
        label = said["measure"].format(samples=compute.samples(model, SPLIT))
        study.offer(_scoring(model, spec), label, said["measuring"], partial(_scores, settings.description))
    with texts, refusals_said():
        tokens = _tokens(model, prompt)
        label = said["write"].format(n=TOKENS)
        study.offer(_writing(model, spec, tokens), label, said["writing"], partial(_texts, model, settings.description))


def _plan(model: ModelKey, spec: QuantizerSpec) -> QuantizationPlan:
    return QuantizationPlan(dict.fromkeys(compute.network(model).layers(), LayerPlan(spec)))


def _scoring(model: ModelKey, spec: QuantizerSpec) -> Study:
    """Return the measuring of float and plan."""

    def steps() -> Generator[Mapping[str, Score], None, None]:
        network = compute.network(model)
        yield compute.kept(ResultKey("text scores", model), partial(_plain_scores, network))
        yield network.scores(_plan(model, spec), SPLIT)

    return Study(ResultKey("text scoring", model, spec), steps, 2)


def _plain_scores(network: Network) -> Mapping[str, Score]:
    """Return what floating point scores by itself: with itself it would only agree."""
    return network.given_task.scores(network.results(split=SPLIT, against_float=False))


def _writing(model: ModelKey, spec: QuantizerSpec, prompt: tuple[int, ...]) -> Study:
    """Return the writing of both."""

    def steps() -> Generator[Writing, None, None]:
        yield from write(compute.network(model), _plan(model, spec), prompt, TOKENS)

    return Study(ResultKey("text writing", model, spec, prompt), steps, TOKENS)


def _scores(setting: str, task: Task | None) -> None:
    """Draw what has been measured in a table."""
    said, found = read_words("text"), [] if task is None else list(task.items)
    if not found:
        return
    names = dict(zip((said["float"], said["plan"].format(setting=setting)), found, strict=False))
    rows = list(dict.fromkeys(score for scores in found for score in scores))
    tables.table(
        [
            {
                said["score"]: row,
                **{name: scored(scores[row]) if row in scores else "" for name, scores in names.items()},
            }
            for row in rows
        ]
    )


def _texts(model: ModelKey, setting: str, task: Task | None) -> None:
    """Draw both texts, and the odds at the token where they part."""
    said = read_words("text")
    last: Writing | None = None if task is None else task.last
    if last is None:
        return
    named = (said["float"], last.plain), (said["plan"].format(setting=setting), last.planned)
    for place, (name, tokens) in zip(st.columns(2), named, strict=True):
        with place:
            st.caption(name)
            st.text(text_of(model, tokens))
    if last.parts is None or last.odds is None:
        st.markdown(said["same"])
        return
    plain, planned = (_quoted(model, tokens[last.parts]) for _, tokens in named)
    st.markdown(said["parts"].format(place=last.parts + 1, plain=plain, planned=planned))
    likely = {int(token) for odds in last.odds for token in np.argsort(-odds)[:LIKELIEST]}
    most = np.maximum(*last.odds)
    tables.table(
        [
            {
                said["token"]: _quoted(model, token),
                **{
                    said["odds"].format(name=name): fixed(100 * float(odds[token]), 1)
                    for (name, _), odds in zip(named, last.odds, strict=True)
                },
            }
            for token in sorted(likely, key=lambda token: -most[token])
        ]
    )


def _quoted(model: ModelKey, token: int) -> str:
    """Write a token as code: what a model writes is never read as Markdown."""
    shown = text_of(model, [token]).replace("`", "ˋ").replace("\n", "⏎").replace(" ", "␣")
    return Sentence(f"`{shown}`")
