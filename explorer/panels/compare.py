"""Compare methods: the present setting and up to four pinned ones, on the tensor at hand and the whole network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from explorer import charts, compute, controls, model_scores, notation, pins, tables
from explorer.background import Task, live
from explorer.figures.compare import compare_figure, describe_compare, error_edges, number_of, rate_figure, value_edges
from explorer.language import read_words
from explorer.pins import MAX_PINS, PINS
from explorer.presets import PRESETS
from explorer.results import Compared
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from quant_engine import LayerPlan, PerTensor, QuantError, QuantizerSpec

PENDING = "…"
COLUMNS = ("setting", "bits", "mse", "sqnr", "accuracy", "encoding", "model")


@dataclass(frozen=True)
class ComparisonRow:
    """A setting that is compared, what it does to this layer, and to the others."""

    compared: Compared
    plan: LayerPlan
    others: LayerPlan | None


def compare_panel(model: ModelKey, layer: str, settings: PlaygroundState) -> None:
    """Draw pins, the table, which fills as accuracies come, and the figures."""
    kept, said = _read(), read_words("panels")["compare"]
    st.subheader(said["title"])
    _buttons(settings, kept)
    rows = _rows(model, layer, [settings, *kept]) if kept else []
    tasks = [
        model_scores.accuracies(f"compare {number}", model, layer, row.plan, row.others)
        for number, row in enumerate(rows)
    ]
    compute.session().leave(*(f"compare {number}" for number in range(len(rows), MAX_PINS + 1)))
    if not kept:
        st.caption(said["none"])
        return
    live(lambda: _table(model, rows, [_accuracy(task) for task in tasks]), lambda: any(task.active for task in tasks))
    _figures(model, layer, [row.compared for row in rows])


def _accuracy(task: Task) -> str:
    if not task.ended:
        return PENDING
    try:
        _, _, every = task.result()
    except QuantError as error:
        return str(read_words("panels")["compare"]["impossible"].format(error=error))
    return notation.with_interval(every)


def _rows(model: ModelKey, layer: str, all_settings: Sequence[PlaygroundState]) -> list[ComparisonRow]:
    """Return what every setting does; one that cannot be used is said and left out."""
    value_range = compute.value_range(model, layer)
    specs: list[tuple[str, QuantizerSpec, LayerPlan, LayerPlan | None]] = []
    for number, settings in enumerate(all_settings):
        try:
            spec = settings.spec(*value_range)
            compute.outcome(model, layer, spec)
            plans = settings.plans(spec)
        except QuantError as error:
            told = {"number": number_of(number), "setting": settings.description, "error": error}
            st.warning(read_words("panels")["compare"]["refused"].format(**told))
            continue
        specs.append((settings.description, spec, *plans))
    worst = max(compute.outcome(model, layer, spec).report.rmse for _, spec, *_ in specs)
    shown = compute.distribution(model, layer, PerTensor(), 0)
    edges = value_edges(shown), error_edges(worst)
    return [
        ComparisonRow(compute.compared(model, layer, spec, name, edges), plan, others)
        for name, spec, plan, others in specs
    ]


def _figures(model: ModelKey, layer: str, rows: Sequence[Compared]) -> None:
    shown = compute.distribution(model, layer, PerTensor(), 0)
    worst = max(row.outcome.report.rmse for row in rows)
    left, right = st.columns([3, 2], gap="medium")
    words, canvas = describe_compare(rows), charts.canvas(model, layer)
    with left:
        charts.show(compare_figure(rows, shown, worst, canvas), "compare_figure", words)
    with right:
        charts.show(rate_figure(rows, canvas), "rate_figure", words)
        st.caption(read_words("panels")["compare"]["rate"])


def _table(model: ModelKey, rows: Sequence[ComparisonRow], accuracies: Sequence[str]) -> None:
    said = read_words("panels")["compare"]
    columns: dict[str, list[str]] = {"": [], **{said[name]: [] for name in COLUMNS}}
    for number, (row, accuracy) in enumerate(zip(rows, accuracies, strict=True)):
        result = row.compared.outcome
        cells = (
            number_of(number),
            row.compared.name,
            notation.short(result.storage.bits_per_value, 4),
            notation.short(result.report.mse),
            notation.decibels(result.report.sqnr_db),
            accuracy,
            said["encoding_time"].format(time=notation.short(row.compared.encode_ns)),
            notation.sizes(*model_scores.model_bytes(model, result.spec)),
        )
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    tables.table(columns)


def _buttons(settings: PlaygroundState, kept: Sequence[PlaygroundState]) -> None:
    said = read_words("panels")["compare"]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        full = len(kept) >= MAX_PINS
        st.button(
            said["pin"],
            icon=":material/keep:",
            key="pin_now",
            on_click=_write,
            args=([*kept, pins.pin_of(settings)],),
            disabled=full,
        )
        presets = st.popover(said["presets"], icon=":material/library_add:", key="play_presets", on_change="rerun")
        if presets.open:
            presets.caption(said["presets_text"])
            for name, preset in PRESETS.items():
                presets.button(name, key=f"preset_{name}", on_click=controls.restore, args=(preset,), type="tertiary")
        for number, pin in enumerate(kept, 1):
            name = pin.description
            label = said["show"].format(number=number)
            st.button(label, key=f"show_{number}", on_click=controls.restore, args=(pin,), help=name)
            st.button(
                f"✕ {number}",
                key=f"unpin_{number}",
                on_click=_write,
                args=([p for p in kept if p is not pin],),
                help=said["unpin"].format(name=name),
            )


def _read() -> tuple[PlaygroundState, ...]:
    """Return the pins, of the address first and else of the session; a page that is come back to shows them again."""
    if PINS.key not in st.query_params and st.session_state.get(PINS.key):
        st.query_params[PINS.key] = st.session_state[PINS.key]
    text = st.query_params.get(PINS.key, "")
    st.session_state[PINS.key] = text
    return pins.read(text)


def _write(kept: Sequence[PlaygroundState]) -> None:
    """Keep pins in the address and the session (a callback)."""
    text = pins.write(kept)
    st.session_state[PINS.key] = text
    if text:
        st.query_params[PINS.key] = text
    else:
        st.query_params.pop(PINS.key, None)
