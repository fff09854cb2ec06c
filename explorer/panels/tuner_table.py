"""The tuner's table: a menu for each cell of each layer, a box for patterns, and what has been measured of each."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import streamlit as st

from explorer import charts, compute, tuner_session
from explorer.background import Task, live
from explorer.caches import ResultKey
from explorer.fields import spoken
from explorer.language import read_words
from explorer.layer_damage import owners
from explorer.layer_table import Column, LayerRow, NumberColumn, TableEdit, layer_table
from explorer.lessons.framework import study
from explorer.notation import fixed, short
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.tuner_culprits import CULPRITS, DAMAGE, alone
from explorer.tuner_results import sqnr
from explorer.tuning.cells import ASKED, COLUMNS, FLOAT32, NUMBER, cells_of, counts, word_of
from explorer.tuning.fitted import Fitted
from explorer.tuning.fused import made_alike, unlike
from explorer.tuning.layer_setting import nearest_setting
from explorer.tuning.names import short_names
from explorer.tuning.pattern import by_pattern
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import LayerPlan, QuantError, QuantizationPlan, Quantizer
from quant_engine.studies import Damage

TABLE, PATTERN = "tuner_table", "tuner_pattern"
BY_HAND = "by hand"
SEEN = "tuner_sqnr"  # in the session: SQNR that was shown, which stays until there is another


def table_panel(model: ModelKey, plan: TunedPlan, engine: QuantizationPlan) -> None:
    """Draw the table as its numbers are found, and what of it runtimes will not like."""
    task = sqnr("tuner sqnr", model, engine)
    measuring = [ResultKey(place, model, engine) for place in (DAMAGE, CULPRITS)]
    live(partial(_draw, model, plan, engine, task), lambda: task.active or any(map(study.active, measuring)))
    said, layers = read_words("tuner"), compute.network(model).layers()
    if apart := unlike(plan, layers):
        listed = "; ".join(", ".join(names) for names in apart[:3])
        st.warning(said["fused"].format(n=len(apart), listed=listed), icon=":material/warning:")
        alike = made_alike(plan, layers)
        st.button(said["make_alike"], key="tuner_alike", on_click=tuner_session.change, args=(model, alike))


def pattern_box(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the box for a pattern, which chooses layers, and sets what stands after its arrow."""
    said = read_words("tuner")["pattern"]
    chosen = tuner_session.chosen(model)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="tuner_several"):
        st.text_input(
            said["label"],
            key=PATTERN,
            placeholder=said["placeholder"],
            help=said["help"],
            on_change=partial(_match, model),
            label_visibility="collapsed",
        )
        if own := [layer for layer in chosen if plan.is_own(layer) and layer not in plan.locks]:
            label = said["reset_one"] if len(own) == 1 else said["reset"].format(n=len(own))
            args = (model, plan.as_others(own))
            st.button(label, key="tuner_reset", on_click=tuner_session.change, args=args)
    if refused := tuner_session.refused():
        st.warning(read_words("tuner")["refused"].format(error=refused), icon=":material/block:")


def _match(model: ModelKey) -> None:
    """Take a pattern that was typed (a callback); one that is refused stays in its box."""
    text = str(st.session_state[PATTERN]).strip()
    if not text:
        return
    try:
        plan, found = by_pattern(tuner_session.history(model).now, owners(model), text)
    except QuantError as error:
        tuner_session.refuse(error)
        return
    tuner_session.change(model, plan)
    tuner_session.choose(found)


def _draw(model: ModelKey, plan: TunedPlan, engine: QuantizationPlan, task: Task) -> None:
    said = read_words("tuner")
    known, held = dict(task.items), st.session_state.setdefault(SEEN, {})
    damages = alone(model, engine)
    for layer in owners(model):
        held[model, layer] = known.get(layer, held.get((model, layer)) if task.active else None)
    measured = next((damage.measure.name.removesuffix(" divergence") for damage in damages.values()), "")
    numbers = [NumberColumn(said["columns"]["sqnr"], "low"), *([NumberColumn(measured, "high")] if damages else [])]
    columns = [
        Column(name, said["columns"][name], {word: _shown(name, word) for word in _offered(name)}, NUMBER)
        for name in COLUMNS
    ]
    rows = [
        _row(plan, layer, shown, held[model, layer], damages.get(layer))
        for layer, shown in short_names(owners(model)).items()
    ]
    layer_table(
        TABLE,
        columns,
        numbers,
        LayerRow(said["all_layers"], said["all_layers"], _words_of(plan.base)),
        rows,
        tuner_session.chosen(model),
        partial(_edited, model),
        words=said["table"],
        ink=charts.ink(),
    )
    tuner_session.follow()


def _offered(column: str) -> list[str]:
    """Return the words of a column's menus; some ask for a number."""
    return [*COLUMNS[column], *(ASKED if column == "shared" else ())]


def _shown(column: str, word: str) -> str:
    """Return how a menu shows a word, with numbers of one's own."""
    words = read_words("tuner")["shown"].get(column, {})
    for asked in ASKED if column == "shared" and word not in words else ():
        start, end = asked.split(NUMBER)
        if word.startswith(start) and word.endswith(end) and (number := word[len(start) : len(word) - len(end)]):
            return str(words["own"][asked].format(n=number))
    return str(words.get(word, spoken(word)))


def _decibels(value: float | None) -> str:
    """Write an SQNR; of what cannot be quantized it is not a number."""
    return "" if value is None else "–" if math.isnan(value) else "∞" if math.isinf(value) else fixed(value, 1)


def _measured(damage: Damage | None) -> str:
    """Write a damage in three decimals: what is smaller hardly tells."""
    if damage is None:
        return ""
    value = damage.measure.value
    return f"<{fixed(0.001, 3)}" if 0 < value < 0.0005 else short(value, 2) if value >= 1 else fixed(value, 3)


def _rank(value: float | None) -> float | None:
    """Return a number as one to sort by: infinity is beyond all others, what is not known has none."""
    return None if value is None or math.isnan(value) else min(value, 1e300)


def _row(plan: TunedPlan, layer: str, shown: str, decibels: float | None, damage: Damage | None) -> LayerRow:
    own = [name for name in COLUMNS if set().union(*COLUMNS[name].values()) & set(plan.edits.get(layer, {}))]
    setting, said = plan.setting(layer), read_words("tuner")
    cells = _words_of(setting.settings)
    planned = plan.given.get(layer, LayerPlan())
    if setting.ranges and setting.settings.clips:
        cells["range"] = said["given"] if isinstance(planned.weight, Fitted) else spoken(BY_HAND)
        own.append("range")
    if setting.inputs is not None:
        how = "loaded" if isinstance(planned.activation, Quantizer) else "by_hand"
        cells["inputs"] = said["own_inputs"][how].format(bits=cells["inputs"])
        own.append("inputs")
    if layer in plan.plain:
        cells = {**dict.fromkeys(COLUMNS, ""), "format": FLOAT32}
        own = ["format"]
    if layer in plan.given and nearest_setting(planned) is None:
        cells = {**dict.fromkeys(COLUMNS, ""), "format": said["given"]}
        own = ["format"]
    numbers = _decibels(decibels), _measured(damage)
    ranks = _rank(decibels), _rank(None if damage is None else damage.measure.value)
    return LayerRow(layer, shown, cells, tuple(own), numbers, ranks, layer in plan.locks)


def _words_of(settings: PlaygroundState) -> dict[str, str]:
    """Return the word of each column, or the setting's own where the column has none for it; "" for what counts not."""
    plain: dict[str, Any] = {
        "format": settings.format_name,
        "shared": settings.word("granularity"),
        "range": settings.word("clipping"),
        "inputs": str(settings.activation_bits),
    }
    found = {name: word_of(name, settings) for name in COLUMNS}
    own = {name: word if word in COLUMNS[name] else _shown(name, word) for name, word in found.items() if word}
    return {name: (own.get(name) or plain[name]) if counts(name, settings) else "" for name in COLUMNS}


def _edited(model: ModelKey, edit: TableEdit) -> None:
    """Take what a hand did to the table (a callback)."""
    plan = tuner_session.history(model).now
    if edit.kind in ("look", "choose"):
        tuner_session.choose(edit.layers, look=edit.kind == "look")
    elif edit.kind == "lock":
        tuner_session.change(model, plan.locked(edit.layers, bool(edit.word)))
    elif cells_of(edit.column, edit.word) is not None:
        try:
            tuner_session.change(model, set_cell(plan, owners(model), edit))
        except QuantError as error:  # of what is given and does not go with the cell
            tuner_session.refuse(error)


def set_cell(plan: TunedPlan, layers: list[str], edit: TableEdit) -> TunedPlan:
    """Return a plan with a cell of some layers, or of all alike, at a word."""
    if edit.column == "format" and edit.word == FLOAT32:
        return plan.in_float(edit.layers or [layer for layer in layers if not plan.is_own(layer)])
    cells = cells_of(edit.column, edit.word) or {}
    return plan.with_cells(edit.layers, cells) if edit.layers else plan.with_base(cells)
