"""The outlier channels of a language model, followed from block to block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from explorer import charts, compute
from explorer.background import Task, live
from explorer.caches import ResultKey
from explorer.figures.activations import describe_residual, residual_figure
from explorer.language import read_words
from explorer.notation import count, short
from explorer.refusals import refusals_said
from explorer.sources import ModelKey
from quant_engine.studies import ResidualStream, residual_stream, text_inputs
from quant_engine.studies.residual import LARGE

SHOWN = 12  # channels
CODES = 127  # to either side of 0, at 8 bits


def residual_panel(model: ModelKey, tokens: tuple[int, ...]) -> None:
    """Draw words at the left, channels and blocks at the right."""
    said = read_words("text")["channels"]
    task = compute.session().ask(
        "text channels",
        ResultKey("text channels", model, tokens),
        lambda: residual_stream(compute.network(model), text_inputs(compute.network(model), tokens)),
    )
    words, figure = st.columns([0.36, 0.64], gap="medium")
    with words:
        st.header(said["title"], anchor=False)
        st.markdown(said["lead"].format(tokens=count(len(tokens)), large=short(LARGE)))
        live(lambda: _say(said, task), lambda: task.active)
        st.caption(said["note"])
    with figure:
        live(lambda: _draw(model, said, task), lambda: task.active)


def _draw(model: ModelKey, said: Mapping[str, Any], task: Task) -> None:
    if not task.ended:
        st.caption(said["running"])
        return
    with refusals_said():
        stream: ResidualStream = task.result()
        channels = stream.leading(SHOWN).tolist()
        ratios = stream.ratios[:, channels].T
        figure = residual_figure(channels, ratios, charts.canvas("text channels", model))
        charts.show(figure, "text_channels_figure", describe_residual(channels, ratios))


def _say(said: Mapping[str, Any], task: Task) -> None:
    """Say which channel stands out, in how many blocks, and what that costs one scale."""
    if not task.ended or task.error is not None:
        return
    stream: ResidualStream = task.result()
    ratios, [channel] = stream.ratios, stream.leading(1).tolist()
    large = ratios >= LARGE
    block = int(ratios[:, channel].argmax())
    ratio = float(ratios[block, channel])
    told = {
        "channel": channel,
        "large": short(LARGE),
        "blocks": len(stream.blocks),
        "n": stream.large_blocks(channel),
        "ratio": short(ratio),
        "block": block,
        "token": int(stream.tokens[block, channel]),
        "channels": count(int(large.any(axis=0).sum())),
        "total": count(ratios.shape[1]),
        "first": int((large[:, channel] & (stream.tokens[:, channel] == 0)).sum()),
        "code": short(CODES / float(ratios[block].max())) if ratios[block].max() > 0 else "0",
        "codes": CODES,
    }
    st.markdown(said["found" if large.any() else "none"].format(**told))
    if np.any(ratios[block] > 0):
        st.markdown(said["codes"].format(**told))
