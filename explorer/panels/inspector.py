"""The inspector: a model's tensors in one table, the damage that each does alone, and the card of the chosen one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer import charts, compute, controls, frame, layer_damage
from explorer.background import live
from explorer.caches import ResultKey
from explorer.figures.tensor_map import TensorMap, describe_tensor_map, tensor_map_figure
from explorer.inspection import Inspection, inspection
from explorer.language import read_words
from explorer.layer_outputs import outputs_refused, refused
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.notation import count, duration, short
from explorer.panels.calibration_coverage import coverage_panel
from explorer.panels.layer_input import follow_input
from explorer.panels.stored_ranges import stored_ranges_panel
from explorer.panels.tensor_card import tensor_card
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.tensor_table import TensorRow, agreements, as_columns, per_cent
from quant_engine import QuantizerSpec
from quant_engine.models import TensorModel
from quant_engine.studies import Attribution, Damage

SETTINGS = ("bits", "granularity")  # of the playground, which takes them over
PICKED, SEARCH, FILTER = "inspector_picked", "inspector_search", "inspector_filter"  # in the session's state
TABLE = "inspector_table"
CARD_WIDTH, SEARCH_WIDTH, FILTER_WIDTH = 356, 104, 150  # pixels
ROW_HEIGHT, MAX_HEIGHT = 35, 430  # pixels
NAME_WIDTH, MAX_NAME_WIDTH, BARS_WIDTH, DAMAGE_WIDTH, REACH_WIDTH = 100, 245, 90, 130, 80
NUMBERS = {
    **dict.fromkeys(("sqnr", "output_sqnr", "gain", "channel_gain", "zeros"), "%.1f"),
    **dict.fromkeys(("codes_used", "best_clip", "outliers"), "%.0f"),
    **dict.fromkeys(("kurtosis", "max_sigmas", "sigma", "min", "max", "bits"), "%.3g"),
    **dict.fromkeys(("spread", "change_spread"), "± %.2g"),
    "change": "%+.3g",
}
COLOURS = (
    "gain",
    "damage",
    "channel_gain",
    "sqnr",
    "output_sqnr",
    "kurtosis",
    "max_sigmas",
    "codes_used",
    "zeros",
)  # of the map
MAX_REFUSALS = 3
KURTOSIS, GAIN = 20.0, 3.0  # beyond which the filters keep a tensor

FILTERS: dict[str, Callable[[TensorRow], bool]] = {
    "all": lambda row: True,
    "kurtosis": lambda row: row.statistics is not None and row.statistics.kurtosis > KURTOSIS,
    "gain": lambda row: (row.gain_db or 0.0) > GAIN,
    "outliers": lambda row: bool(row.outliers),
    "matrices": lambda row: len(row.shape) > 1,
}


def inspector_panel() -> None:
    """Draw controls and table at the left, the card of the chosen tensor at the right."""
    follow_input()
    with st.container(horizontal=True, gap="medium", key="inspector_sides"):
        left, right = (
            st.container(key="inspector_left"),
            st.container(width=CARD_WIDTH, border=True, gap="xsmall", key="inspector_card"),
        )
    with left:
        model, layer, settings = _settings()
        spec = settings.spec(-1.0, 1.0)
        _tensors(model, layer, settings.description, spec)
        coverage_panel(model)
        stored_ranges_panel(model)
    with right:
        tensor_card(model, layer, settings, spec)


def _settings() -> tuple[ModelKey, str, PlaygroundState]:
    """Draw the choices of model and spec, the search and the filter."""
    said, fields = read_words("inspector"), PlaygroundState.fields()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="inspector_settings"):
        model, layer = frame.choose_tensor(layer=False)
        settings = replace(PlaygroundState(), **{name: controls.show(fields[name], help=None) for name in SETTINGS})
        st.text_input(said["search"], key=SEARCH, width=SEARCH_WIDTH)
        st.selectbox(
            said["filter"], [*FILTERS], key=FILTER, width=FILTER_WIDTH, format_func=said["filters"].__getitem__
        )
    return model, layer, settings


def _tensors(model: ModelKey, layer: str, setting: str, spec: QuantizerSpec) -> None:
    """Draw the table as it fills, and offer to measure."""
    said, told = read_words("inspector"), {"model": compute.name(model), "setting": setting}
    one = inspection(model, spec)
    shown = [row.name for row in _sorted([row for row in one.filled if _wanted(row)], one.damages)]

    def draw() -> None:
        filled = {row.name: row for row in one.filled}
        _table(told["model"], layer, [filled[name] for name in shown], one.damages, said["table"].format(**told))
        st.caption("  \n".join(_summary(one, said, told)))
        if st.session_state.pop(PICKED, False):
            st.rerun()

    if one.damage is not None:
        _offer(model, one.damage, said)
    live(draw, lambda: one.active)
    with st.expander(said["map"], key="inspector_map", on_change="rerun") as folded:
        if folded.open:
            columns = _columns(one.damages)
            coloured = st.selectbox(said["colour"], COLOURS, format_func=columns.__getitem__, key="inspector_colour")
            live(lambda: _map(one, coloured), lambda: one.active)


def _offer(model: ModelKey, one: Study, said: Mapping[str, Any]) -> None:
    """Draw the button that begins to measure, or how far that is."""
    timing = compute.session().ask(
        "inspector estimate", ResultKey("estimate", model), lambda: layer_damage.seconds_of(model)
    )
    told: dict[str, object] = {"layers": len(layer_damage.owners(model))}
    if timing.ended and timing.error is None:
        label = said["measure_in"].format(seconds=_rounded(timing.result()), **told)
    else:
        label = said["measure"].format(samples=compute.samples(model, layer_damage.split_of(model)), **told)
    study.offer(one, label, said["measuring"], lambda task: None)
    live(lambda: None, lambda: timing.active)


def _rounded(seconds: float) -> str:
    return duration(max(seconds, 1) if seconds < 10 else 10 * math.ceil(seconds / 10))


def _wanted(row: TensorRow) -> bool:
    """Say whether search and filter keep a row."""
    text = str(st.session_state.get(SEARCH, "")).strip().lower()
    return text in row.name.lower() and FILTERS[st.session_state.get(FILTER, "all")](row)


def _sorted(rows: Sequence[TensorRow], damages: Mapping[str, Damage]) -> list[TensorRow]:
    """Return rows by what is measured, and else by what a better range would gain; what is not known comes last."""

    def place(row: TensorRow) -> tuple[float, float]:
        damage = damages[row.name].measure.value if row.name in damages else -math.inf
        return -damage, -(row.gain_db if row.gain_db is not None else -math.inf)

    return sorted(rows, key=place)


def _summary(one: Inspection, said: Mapping[str, Any], told: Mapping[str, str]) -> list[str]:
    """Return the lines under the table."""
    found, parameters = one.found, count(sum(row.parameters for row in one.rows))
    lines = [said["summary"].format(n=count(len(one.rows)), parameters=parameters, **told)]
    if one.table.active:
        real = sum(row.is_real for row in one.rows)
        lines.append(said["looked_at"].format(found=count(len(found)), total=count(real)))
    elif one.outputs is not None and one.outputs.active:
        known = sum(row.output_sqnr_db is not None for row in found.values())
        lines.append(said["running"].format(found=count(known), total=count(len(one.rows))))
    if refusals := [row.refusal for row in found.values() if row.refusal]:
        lines.append(said["refusals"].format(refusals="; ".join(refusals[:MAX_REFUSALS])))
    if reason := outputs_refused(one.outputs):
        lines.append(said["no_outputs"].format(reason=reason))
    if one.damage is None:
        only = isinstance(compute.network(one.model).model, TensorModel)
        lines.append(said["no_graph" if only else "no_task"])
    whole = one.attribution
    lines += _measured(whole, found, said) if whole is not None else []
    if reason := refused(one.fisher):
        lines.append(said["no_fisher"].format(reason=reason))
    return lines


def _measured(whole: Attribution, found: Mapping[str, TensorRow], said: Mapping[str, Any]) -> list[str]:
    """Say whether the damage adds up, and how well it could have been guessed."""
    sums = whole.additivity
    told = {"together": short(sums.together.value), "name": sums.together.name}
    lines = []
    if sums.total is not None:
        told["sum"] = short(sums.total.value)
        key = "sum_only" if sums.ratio is None else "sum"
        if sums.ratio is not None:
            low, high = sums.ratio.interval
            told |= {"ratio": short(sums.ratio.value), "low": short(low), "high": short(high)}
        lines.append(said[key].format(**told))
    agreed = agreements(found.values(), whole.alone)
    known = sorted((proxy for proxy in agreed if math.isfinite(agreed[proxy])), key=lambda proxy: -agreed[proxy])
    if known:
        listed_ = ", ".join(f"{said['proxies'][proxy]} {short(agreed[proxy], 2)}" for proxy in known)
        lines.append(said["ranks"].format(listed=listed_))
    return lines


def _table(
    name: str,
    chosen: str,
    rows: Sequence[TensorRow],
    damages: Mapping[str, Damage],
    alt: str,
) -> None:
    """Draw the table of a model; a row that is chosen chooses the tensor. Another order makes another table."""
    names = [row.name for row in rows]
    columns, key = _columns(damages), f"{TABLE}_{name}_{hash(tuple(names))}"
    if not names:
        st.caption(read_words("inspector")["nothing"])
        return
    width = min(max(NAME_WIDTH, 8 * max(map(len, names))), MAX_NAME_WIDTH)
    most = max((damage.measure.value for damage in damages.values()), default=1.0)
    cells = [(names.index(chosen), columns["name"])] if chosen in names else []
    st.dataframe(
        as_columns(rows, damages, columns),
        key=key,
        hide_index=True,
        height=min(ROW_HEIGHT * (len(rows) + 1) + 3, MAX_HEIGHT),
        column_config={
            columns["name"]: st.column_config.TextColumn(width=width, pinned=True),
            columns["histogram"]: st.column_config.BarChartColumn(width=BARS_WIDTH, y_min=0),
            columns["damage"]: st.column_config.ProgressColumn(
                width=DAMAGE_WIDTH, min_value=0.0, max_value=max(most, 1e-12), format="%.3g"
            ),
            **{
                columns[name]: st.column_config.NumberColumn(format=form, width=REACH_WIDTH if "±" in form else None)
                for name, form in NUMBERS.items()
            },
        },
        on_select=lambda: _pick(key, names),
        selection_mode="single-cell",
        selection_default={"selection": {"cells": cells}},
        placeholder="",
        alt=alt,
    )


def _columns(damages: Mapping[str, Damage]) -> dict[str, str]:
    """Return what the columns are called; those of the damage after what is measured."""
    said = read_words("inspector")
    columns = {**said["columns"], "damage": said["damage"]}
    if damages:
        first = next(iter(damages.values()))
        columns["damage"] = said["columns"]["damage"].format(name=first.measure.name.removesuffix(" divergence"))
        unit = said["points"] if per_cent(first) > 1 else first.score.unit
        columns["change"] = columns["change"].format(name=first.score.name, unit=f", {unit}" if unit else "")
    return columns


def _map(one: Inspection, coloured: str) -> None:
    """Draw the tensors as areas, in colours for one of the columns."""
    rows, columns = one.filled, _columns(one.damages)
    values = as_columns(rows, one.damages, columns).get(columns[coloured], [None] * len(rows))
    shown = TensorMap([row.name for row in rows], [row.parameters for row in rows], values, columns[coloured])
    figure = tensor_map_figure(shown, charts.canvas("tensor map", one.model))
    charts.show(figure, "inspector_map_chart", describe_tensor_map(shown))


def _pick(key: str, names: Sequence[str]) -> None:
    """Choose the tensor of the row that was chosen (a callback)."""
    places = [row for row, _ in st.session_state[key]["selection"]["cells"]]
    if places and names[places[0]] in compute.network(frame.selected()[0]).layers():
        controls.assign({frame.TENSOR_KEY: names[places[0]], PICKED: True})
