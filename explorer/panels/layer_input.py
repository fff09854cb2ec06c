"""What the chosen layer receives of real inputs, in the inspector's card, and the way to it in the playground."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import streamlit as st

from explorer import charts, compute, controls, frame
from explorer.background import Task, shares
from explorer.caches import ResultKey
from explorer.figures.layer_input import describe_layer_input, layer_input_figure
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.notation import count, decibels, short
from explorer.own_files import own_files
from explorer.page_table import PLAYGROUND, pages_folder
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from quant_engine import Distribution, PerTensor, QuantError
from quant_engine.studies import LayerInput, layer_input_steps

PLACE, KEY = "inspector input", "inspector_input"
OPENED = "inspector_inputs_opened"  # in the session's state: what the files of inputs are called, by model and layer
MAX_CHANNELS = 4  # that are named
GOING, REFUSED = "inspector_input_going", "inspector_input_refused"  # in it, too
SETTINGS = {"bits": 8, "granularity": PerTensor, "signed": False, "symmetric": False}  # as activations usually are


def layer_input_panel(model: ModelKey, layer: str) -> None:
    """Offer to look at what a layer of a model with data receives, folded away; it is captured when asked for."""
    network = compute.network(model)
    if network.task is None or network.layers()[layer].op == "embedding":
        return
    said = read_words("inspector")["input"]
    with st.expander(said["title"], key=KEY, on_change="rerun") as folded:
        if not folded.open:
            return
        one = Study(ResultKey(PLACE, model, layer), lambda: shares(layer_input_steps(network, layer)), 1)
        study.show(one, said["working"], partial(_draw, model, layer))
        task = compute.session().find(one.key)
        if task is not None and task.ended and task.error is None:
            given = model, layer, task.result()
            st.button(said["open"], key=f"{KEY}_open", icon=":material/tune:", on_click=_open, args=given)
        if refused := st.session_state.pop(REFUSED, ""):
            st.error(refused, icon=":material/block:")


def follow_input() -> None:
    """Go to the playground if an input was just opened there: called before any control is drawn."""
    if st.session_state.pop(GOING, False):
        st.switch_page(pages_folder() / PLAYGROUND, query_params={})  # model, tensor and settings are the session's


def _draw(model: ModelKey, layer: str, task: Task | None) -> None:
    if task is None or not task.ended or task.error is not None:
        return
    found: LayerInput = task.result()
    shown = compute.kept(ResultKey("input distribution", model, layer), lambda: Distribution(found.values))
    figure = layer_input_figure(shown, found.best_range, charts.canvas("layer input", model, layer))
    charts.show(figure, "inspector_input_chart", describe_layer_input(shown, found.best_range))
    st.caption(sentence(found))


def sentence(found: LayerInput) -> str:
    """Say what a layer receives, from its numbers."""
    said, channels = read_words("inspector")["input"], found.outlier_channels
    named = ", ".join(map(str, channels[:MAX_CHANNELS])) + (" …" if len(channels) > MAX_CHANNELS else "")
    told = {
        "samples": count(found.samples),
        "min": short(found.statistics.min),
        "max": short(found.statistics.max),
        "lo": short(found.best_range[0]),
        "hi": short(found.best_range[1]),
        "gain": decibels(found.gain_db),
        "kurtosis": short(found.statistics.kurtosis),
        "channels": said["channels" if channels else "none"].format(n=count(len(channels)), named=named),
        "total": count(len(found.values)),
    }
    return str(said["said"].format(**told))


def _open(model: ModelKey, layer: str, found: LayerInput) -> None:
    """Open the input as a file of this session's, once, and choose it (a callback)."""
    opened: dict[tuple[ModelKey, str], str] = st.session_state.setdefault(OPENED, {})
    tensor = read_words("inspector")["input"]["tensor"].format(layer=layer)
    if opened.get((model, layer)) not in own_files().names:
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{tensor: found.values})
        content.seek(0)
        try:
            opened[model, layer] = own_files().add(f"{compute.name(model)} {tensor}.npz", content)
        except QuantError as error:
            controls.assign({REFUSED: verbatim(error)})
            return
    fields = PlaygroundState.fields()
    settings = {fields[name].key: fields[name].held(value) for name, value in SETTINGS.items()}
    controls.assign({frame.MODEL_KEY: opened[model, layer], frame.TENSOR_KEY: tensor, **settings, GOING: True})
