"""Opening a file of one's own, and the table of a model's tensors, from which each goes to the playground."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer import compute, controls, frame
from explorer.background import Kind, live
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.notation import count
from explorer.own_files import MAX_FILE, MAX_TOTAL, MIB, models, own_files
from explorer.page_table import PLAYGROUND, pages_folder
from explorer.sources import ModelKey, opening_model
from explorer.state import PlaygroundState
from explorer.tensor_table import TensorRow, as_columns, listed, looked_at
from quant_engine import QuantError
from quant_engine.models import TensorModel

SETTINGS = ("bits", "granularity")  # of the playground, which takes them over
UPLOADS, REFUSED = "open_uploads", "open_refused"  # in the session's state
WANTED, PICKED = "open_wanted", "open_picked"
INSIST = 4.0  # seconds
WORDS_WIDTH = 260  # pixels
TABLE = "open_table"
ROW_HEIGHT, MAX_HEIGHT = 35, 430  # pixels
NAME_WIDTH, MAX_NAME_WIDTH, BARS_WIDTH = 100, 230, 90
NUMBERS = {
    **dict.fromkeys(("sqnr", "gain", "zeros"), "%.1f"),
    "codes_used": "%.0f",
    **dict.fromkeys(("kurtosis", "max_sigmas", "sigma", "min", "max"), "%.3g"),
}
MAX_REFUSALS = 3


def open_panel() -> None:
    """Draw the way in at the left, and the table at the right."""
    said = read_words("open")
    _insist()
    with st.container(horizontal=True, gap="medium", key="open_sides"):
        words, figure = st.container(width=WORDS_WIDTH, key="open_said"), st.container(key="open_shown")
    with words:
        st.header(said["title"], anchor=False)
        st.markdown(said["text"])
        _upload(said)
        st.caption(f"{said['limits'].format(file=MAX_FILE // MIB, total=MAX_TOTAL // MIB)} {said['privacy']}")
        for name in own_files().names:
            label = said["close"].format(name=name)
            st.button(
                label, key=f"close_{name}", icon=":material/close:", type="tertiary", on_click=_close, args=(name,)
            )
    with figure:
        _tensors(said)


def _upload(said: Mapping[str, str]) -> None:
    """Take a file; what holds it in memory is then another control, so that it is released."""
    turn = st.session_state.setdefault(UPLOADS, 0)
    given = st.file_uploader(said["drop"], key=f"open_file_{turn}", max_upload_size=MAX_FILE // MIB)
    if given is not None:
        files = own_files()
        try:
            with st.spinner(said["reading"].format(name=given.name)):
                name = files.add(given.name, given)
            controls.assign({REFUSED: ""})
            _want(_opened(name))
        except QuantError as error:
            controls.assign({REFUSED: said["refused"].format(name=given.name, error=error)})
        controls.assign({UPLOADS: turn + 1})
        st.rerun()
    if st.session_state.get(REFUSED):
        st.error(st.session_state[REFUSED], icon=":material/block:")


def _want(values: Mapping[str, str]) -> None:
    """Choose a model or a tensor, from the next run of the page on."""
    before = {key: st.session_state.get(key) for key in values}
    controls.assign({WANTED: (values, before, time.monotonic() + INSIST)})


def _insist() -> None:
    """Choose what is wanted, and once more where the browser then asks for a run with what it still showed before.

    It does whenever a part of the page that draws itself has its turn just then.
    """
    values, before, until = st.session_state.get(WANTED, ({}, {}, 0.0))
    if time.monotonic() < until and all(st.session_state.get(key) in (before[key], values[key]) for key in values):
        controls.assign(values)
    else:
        st.session_state.pop(WANTED, None)


def _opened(name: str) -> dict[str, str]:
    """Return what chooses a model, and its first tensor."""
    return {frame.MODEL_KEY: name, frame.TENSOR_KEY: models().opening_layer(name)}


def _close(name: str) -> None:
    """Forget a file (a callback)."""
    if st.session_state.get(frame.MODEL_KEY) == name:
        controls.assign(_opened(opening_model()))
    own_files().close(name)


def _tensors(said: Mapping[str, Any]) -> None:
    """Draw the controls, and the table as it fills."""
    fields = PlaygroundState.fields()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="open_settings"):
        model, layer = frame.choose_tensor()
        settings = replace(PlaygroundState(), **{name: controls.show(fields[name], help=None) for name in SETTINGS})
    spec, rows = settings.spec(-1.0, 1.0), listed(model)
    real = sum(row.is_real for row in rows)
    task = compute.session().ask(
        "open table", ResultKey("tensor table", model, spec), lambda: looked_at(model, spec), Kind.STUDY, real
    )
    told = {"model": compute.name(model), "setting": settings.description}

    def draw() -> None:
        found = {row.name: row for row in task.items}
        _table(told["model"], rows, found, said, said["table"].format(**told))
        parameters = count(sum(row.parameters for row in rows))
        summary = [said["summary"].format(n=count(len(rows)), parameters=parameters, **told)]
        if task.active:
            summary.append(said["looked_at"].format(found=count(len(found)), total=count(real)))
        if refusals := [row.refusal for row in found.values() if row.refusal]:
            summary.append(said["refusals"].format(refusals="; ".join(refusals[:MAX_REFUSALS])))
        st.caption("  \n".join([*summary, *_lacks(model, said)]))
        if st.session_state.pop(PICKED, False):
            st.rerun()

    live(draw, lambda: task.active)
    st.page_link(
        pages_folder() / PLAYGROUND,
        label=said["playground"].format(tensor=layer),
        icon=":material/tune:",
        query_params={frame.MODEL_KEY: compute.name(model), frame.TENSOR_KEY: layer, **settings.link()},
    )


def _lacks(model: ModelKey, said: Mapping[str, str]) -> list[str]:
    return [said["no_graph"]] if isinstance(compute.network(model).model, TensorModel) else []


def _table(name: str, rows: list[TensorRow], found: Mapping[str, TensorRow], said: Mapping[str, Any], alt: str) -> None:
    """Draw the table of a model; a row that is chosen chooses the tensor."""
    columns, key = said["columns"], f"{TABLE}_{name}"
    width = min(max(NAME_WIDTH, 8 * max(len(row.name) for row in rows)), MAX_NAME_WIDTH)
    st.dataframe(
        as_columns(rows, found, columns),
        key=key,
        hide_index=True,
        height=min(ROW_HEIGHT * (len(rows) + 1) + 3, MAX_HEIGHT),
        column_config={
            columns["name"]: st.column_config.TextColumn(width=width, pinned=True),
            columns["histogram"]: st.column_config.BarChartColumn(width=BARS_WIDTH, y_min=0),
            **{columns[name]: st.column_config.NumberColumn(format=form) for name, form in NUMBERS.items()},
        },
        on_select=lambda: _pick(key, rows),
        selection_mode=["single-row", "single-cell"],
        alt=alt,
    )


def _pick(key: str, rows: list[TensorRow]) -> None:
    """Choose the tensor of the row that was chosen (a callback)."""
    chosen = st.session_state[key]["selection"]
    places = [*chosen["rows"], *(row for row, _ in chosen["cells"])]
    if places and rows[places[0]].is_real:
        _want({frame.TENSOR_KEY: rows[places[0]].name})
        controls.assign({PICKED: True})
