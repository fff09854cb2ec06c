"""The inspector: a model's tensors in one table, from which each goes to the playground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer import compute, controls, frame
from explorer.background import Kind, live
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.notation import count
from explorer.page_table import PLAYGROUND, pages_folder
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.tensor_table import TensorRow, as_columns, listed, looked_at
from quant_engine.models import TensorModel

SETTINGS = ("bits", "granularity")  # of the playground, which takes them over
PICKED = "inspector_picked"  # in the session's state
TABLE = "inspector_table"
ROW_HEIGHT, MAX_HEIGHT = 35, 430  # pixels
NAME_WIDTH, MAX_NAME_WIDTH, BARS_WIDTH = 100, 230, 90
NUMBERS = {
    **dict.fromkeys(("sqnr", "gain", "zeros"), "%.1f"),
    "codes_used": "%.0f",
    **dict.fromkeys(("kurtosis", "max_sigmas", "sigma", "min", "max"), "%.3g"),
}
MAX_REFUSALS = 3


def inspector_panel() -> None:
    """Draw the controls, and the table as it fills."""
    said, fields = read_words("inspector"), PlaygroundState.fields()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="inspector_settings"):
        model, layer = frame.choose_tensor(layer=False)
        settings = replace(PlaygroundState(), **{name: controls.show(fields[name], help=None) for name in SETTINGS})
    spec, rows = settings.spec(-1.0, 1.0), listed(model)
    real = sum(row.is_real for row in rows)
    task = compute.session().ask(
        "inspector table", ResultKey("tensor table", model, spec), lambda: looked_at(model, spec), Kind.STUDY, real
    )
    told = {"model": compute.name(model), "setting": settings.description}

    def draw() -> None:
        found = {row.name: row for row in task.items}
        _table(told["model"], layer, rows, found, said, said["table"].format(**told))
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


def _table(
    name: str,
    chosen: str,
    rows: Sequence[TensorRow],
    found: Mapping[str, TensorRow],
    said: Mapping[str, Any],
    alt: str,
) -> None:
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


def _pick(key: str, rows: Sequence[TensorRow]) -> None:
    """Choose the tensor of the row that was chosen (a callback)."""
    chosen = st.session_state[key]["selection"]
    places = [*chosen["rows"], *(row for row, _ in chosen["cells"])]
    if places and rows[places[0]].is_real:
        controls.assign({frame.TENSOR_KEY: rows[places[0]].name, PICKED: True})
