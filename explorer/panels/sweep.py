"""The results of a sweep: a map of tensors × specs, the front of error against bits, and the way to each cell."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from explorer import access, charts, compute, controls, frame
from explorer.caches import ResultKey
from explorer.fields import Field, Text
from explorer.figures.sweep import (
    SpecPoint,
    SweepMap,
    describe_sweep_front,
    describe_sweep_map,
    sweep_front_figure,
    sweep_map_figure,
)
from explorer.language import read_words
from explorer.notation import count, short
from explorer.own_files import models
from explorer.page_table import OPEN, PLAYGROUND, pages_folder
from explorer.sweep_fields import BITS, COLUMN, FIELDS, FORMATS, MAX_BITS, MAX_SEARCH, SEARCH, Bits
from explorer.sweep_results import SpecSummary, SweepResults, chosen, results_of, summaries
from explorer.sweep_specs import settings_at
from quant_engine import QuantError
from quant_engine.sweep import read_sweep

OPENED, REFUSED, TURN = "sweep_opened", "sweep_refused", "sweep_turn"  # in the session's state
PICKED, GO = "sweep_picked", "sweep_go"
MAX_MB, MAX_PATH = 64, 260
SHARES = (0.34, 0.66)  # of the page: front and map
LOGARITHMIC = ("mse", "max_abs", "damage", "seconds")
FEWEST = 0.005  # of a slider's step, in bits

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class OpenedSweep:
    """A file of results that a session has opened, and what tells it from others."""

    name: str
    digest: str
    results: SweepResults


def sweep_panel() -> None:
    """Draw the results that are open, or say how there come to be some."""
    said = read_words("sweep")
    if st.session_state.pop(GO, None):
        st.switch_page(pages_folder() / PLAYGROUND, query_params={})
    opened: OpenedSweep | None = st.session_state.get(OPENED)
    if opened is None:
        _welcome(said)
        return
    shown = _filtered(opened, said)
    left, right = st.columns(SHARES, gap="medium")
    with left:
        _front(opened, shown, said)
    with right:
        _map(opened, shown, said)


def _welcome(said: Mapping[str, Any]) -> None:
    """Say which command makes the file, and take one."""
    with st.container(width=560, key="sweep_welcome"):
        st.header(said["title"], anchor=False)
        st.markdown(said["text"])
        st.code(said["command"], language="bash", wrap_lines=True)
        _take(said)


def _take(said: Mapping[str, Any]) -> None:
    """Take a file that is dropped, or a path where paths may be named."""
    turn = st.session_state.setdefault(TURN, 0)
    given = st.file_uploader(said["drop"], key=f"sweep_file_{turn}", max_upload_size=MAX_MB)
    if given is not None:
        controls.assign({TURN: turn + 1})
        _open(given.name, given.getvalue(), said)
        st.rerun()
    if access.may_name_paths():
        with st.form("sweep_by_path", border=False):
            text = st.text_input(said["path"], key="sweep_path", max_chars=MAX_PATH, placeholder="results.parquet")
            if st.form_submit_button(said["open"], icon=":material/folder_open:") and text.strip():
                _open_path(text.strip(), said)
                st.rerun()
    if st.session_state.get(REFUSED):
        st.error(st.session_state[REFUSED], icon=":material/block:")


def _open_path(text: str, said: Mapping[str, Any]) -> None:
    try:
        path = access.allowed_path(text)
        if path.is_file() and path.stat().st_size > MAX_MB << 20:
            raise QuantError(said["too_large"].format(most=MAX_MB))
        content = path.read_bytes()
    except (QuantError, OSError) as error:
        controls.assign({REFUSED: said["refused"].format(name=text, error=error)})
        return
    _open(path.name, content, said)


def _open(name: str, content: bytes, said: Mapping[str, Any]) -> None:
    """Open the content of a file, or remember why it was refused."""
    controls.assign({REFUSED: ""})
    try:
        with tempfile.TemporaryDirectory(prefix="quant-explorer-") as folder:
            path = Path(folder) / "results.parquet"
            path.write_bytes(content)
            results = results_of(read_sweep(path))
        compute.hold(OPENED, results)
    except QuantError as error:
        text = f"{error}".replace(str(path), name)
        controls.assign({REFUSED: said["refused"].format(name=name, error=text)})
        return
    controls.assign({OPENED: OpenedSweep(name, hashlib.sha256(content).hexdigest(), results), PICKED: None})


def _close() -> None:
    """Forget the results, and what was left of them (a callback)."""
    compute.hold(OPENED, None)
    controls.assign({OPENED: None, PICKED: None})
    for field in FIELDS:
        for key in (field.key, _box(field)):
            st.session_state.pop(key, None)
        st.query_params.pop(field.key, None)


def _box(field: Field[Any]) -> str:
    """Return the key of the control that sets a field of coded text."""
    return f"{field.key}_box"


def _keep(field: Text[Value], value: Value) -> None:
    """Keep what a control says in the address; what no link can say is left out of it."""
    held = field.held(value)
    st.session_state[field.key] = held if field.accepts(held) else field.default
    controls.unshown(field)


def _filtered(opened: OpenedSweep, said: Mapping[str, Any]) -> SweepResults:
    """Draw the filters, which begin as the link says, and return the cells that they leave."""
    whole = opened.results
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="sweep_settings"):
        columns = list(whole.found) or [COLUMN.default]
        if controls.linked(COLUMN) not in columns:
            st.session_state[COLUMN.key] = columns[0]
        name_of = said["columns"].__getitem__
        st.selectbox(said["column"], columns, key=COLUMN.key, width=170, format_func=name_of)
        st.session_state.setdefault(_box(SEARCH), controls.current(SEARCH))
        search = st.text_input(said["search"], None, MAX_SEARCH, _box(SEARCH), width=150, placeholder="*proj*") or ""
        formats = _formats(sorted(set(whole.formats)), said)
        bits = _bits(_bits_of(whole), said)
        st.button(said["close"], icon=":material/close:", type="tertiary", on_click=_close, key="sweep_close")
    _keep(SEARCH, search)
    _keep(FORMATS, tuple(formats))
    _keep(BITS, bits)
    return chosen(whole, search, formats, bits or (0.0, MAX_BITS))


def _formats(known: Sequence[str], said: Mapping[str, Any]) -> list[str]:
    """Draw the choice of formats, where there are several; none are all."""
    if len(known) < 2:
        return []
    st.session_state.setdefault(_box(FORMATS), [name for name in controls.current(FORMATS) if name in known])
    return st.multiselect(said["formats"], known, key=_box(FORMATS), width=230, placeholder=said["all_formats"])


def _bits(ends: tuple[float, float], said: Mapping[str, Any]) -> Bits:
    """Draw the choice of bits a value, where formats differ; None are all."""
    if ends[1] - ends[0] <= FEWEST:
        return None
    low, high = (min(max(end, ends[0]), ends[1]) for end in controls.current(BITS) or ends)
    st.session_state.setdefault(_box(BITS), (low, high))
    st.slider(said["bits"], *ends, step=0.01, key=_box(BITS), width=170)
    found: tuple[float, float] = st.session_state[_box(BITS)]
    return None if found == ends else found


def _bits_of(shown: SweepResults) -> tuple[float, float]:
    """Return the fewest and the most bits a value, rounded so that they are within."""
    known = shown.bits[~np.isnan(shown.bits)]
    if not known.size:
        return 0.0, 0.0
    return float(np.floor(100 * known.min()) / 100), float(np.ceil(100 * known.max()) / 100)


def _front(opened: OpenedSweep, shown: SweepResults, said: Mapping[str, Any]) -> None:
    """Draw error against bits for all tensors together, and say what is open and what was picked."""
    whole = opened.results
    told = {"name": opened.name, "model": whole.model, "failed": count(len(shown.errors))}
    sizes = {"tensors": count(len(shown.tensors)), "specs": count(len(shown.specs)), "of": count(len(whole.tensors))}
    st.markdown(said["summary"].format(**told, **sizes))
    found: list[SpecSummary] = compute.kept(
        ResultKey("sweep front", opened.digest, shown.tensors, shown.specs), lambda: summaries(shown)
    )
    points = [SpecPoint(one.name, one.bits_per_value, one.mse, one.sqnr_db, one.on_front) for one in found]
    if points:
        figure = sweep_front_figure(points, charts.canvas("sweep front", opened.digest))
        charts.show(figure, "sweep_front", describe_sweep_front(points))
        st.caption(said["front"].format(n=count(found[0].tensors)))
    if shown.errors:
        st.caption(said["errors"].format(n=count(len(shown.errors)), first=next(iter(shown.errors.values()))))
    _picked(opened, said)


def _map(opened: OpenedSweep, shown: SweepResults, said: Mapping[str, Any]) -> None:
    if not (shown.tensors and shown.specs):
        st.caption(said["nothing"])
        return
    column = st.session_state[COLUMN.key]
    cells = SweepMap(
        shown.tensors,
        shown.names,
        shown.measured[column],
        said["columns"][column],
        column in LOGARITHMIC,
        dict(shown.errors),
    )
    figure = sweep_map_figure(cells, charts.canvas("sweep map", opened.digest, shown.tensors, shown.specs))
    charts.pick(
        figure, "sweep_map", describe_sweep_map(cells), lambda data: _pick(shown.tensors[data[0]], shown.specs[data[1]])
    )
    st.caption(said["click"] if cells.clickable else said["too_many"])


def _pick(tensor: str, spec: str) -> None:
    """Remember a cell, and go to the playground with it if its model is open (a callback)."""
    controls.assign({PICKED: (tensor, spec)})
    opened: OpenedSweep = st.session_state[OPENED]
    if (link := playground_at(opened.results.model, tensor, spec)) is not None:
        state, model = link
        controls.assign({frame.MODEL_KEY: model, frame.TENSOR_KEY: tensor, **state, GO: True})


def playground_at(model: str, tensor: str, spec: str) -> tuple[dict[str, Any], str] | None:
    """Return what the playground's controls hold at a cell; None where no setting says it, or the model is not open."""
    name = next((known for known in models().names() if known == model), None)
    if name is None or tensor not in compute.network(models().key(name)).layers():
        return None
    settings = settings_at(spec)
    return None if settings is None else (settings.held(), name)


def _picked(opened: OpenedSweep, said: Mapping[str, Any]) -> None:
    """Say what is known of the cell that was clicked, and why it opened nothing, if it did not."""
    if (cell := st.session_state.get(PICKED)) is None:
        return
    whole = opened.results
    place = whole.tensors.index(cell[0]), whole.specs.index(cell[1])
    facts = [
        f"{said['columns'][name]} {short(float(whole.measured[name][place]))}"
        for name in whole.found
        if not np.isnan(whole.measured[name][place])
    ]
    listed = whole.errors.get(place) or ", ".join(facts)
    st.markdown(said["picked"].format(tensor=cell[0], spec=whole.names[place[1]], listed=listed))
    if whole.model not in models().names():
        st.page_link(
            pages_folder() / OPEN, label=said["open_model"].format(model=whole.model), icon=":material/folder:"
        )
