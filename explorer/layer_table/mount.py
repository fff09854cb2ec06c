"""Mounting the table on a page, and what it tells the page."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import streamlit as st

from explorer.figures import theme

HERE = pathlib.Path(__file__).resolve().parent


@dataclass(frozen=True)
class Column:
    """A column: its name in edits, its title, and the options of its menus (their words, and how they are shown).

    A word with `number` in it, a sign, asks for one, and is sent with what a hand writes there.
    """

    name: str
    title: str
    options: Mapping[str, str]
    number: str = "#"


@dataclass(frozen=True)
class NumberColumn:
    """A column without a menu: its title, and which end of it is the worst, by which layers can be sorted."""

    title: str
    worst: Literal["low", "high"]


@dataclass(frozen=True)
class LayerRow:
    """A layer, `shown` under a shorter name: the word in each column's menu, which are its own, and its numbers.

    A cell that is at none of the menu's words has other text; an empty one has no menu. `ranks` are the numbers by
    which rows are sorted, finite.
    """

    name: str
    shown: str
    cells: Mapping[str, str]
    own: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    ranks: tuple[float | None, ...] = ()
    locked: bool = False


@dataclass(frozen=True)
class TableEdit:
    """What a hand did: looked at a layer; chose layers, the first of which is shown; set a cell to a word; or locked.

    No layers mean all of them alike.
    """

    kind: Literal["look", "choose", "set", "lock"]
    layers: tuple[str, ...]
    column: str = ""
    word: str = ""


_component = st.components.v2.component(
    "quant_explorer_layer_table",
    html=(HERE / "layer_table.html").read_text(encoding="utf-8"),
    css=(HERE / "layer_table.css").read_text(encoding="utf-8"),
    js=(HERE / "layer_table.js").read_text(encoding="utf-8"),
)


def layer_table(
    key: str,
    columns: Sequence[Column],
    numbers: Sequence[NumberColumn],
    alike: LayerRow,
    rows: Sequence[LayerRow],
    chosen: Sequence[str],
    on_edit: Callable[[TableEdit], None],
    *,
    words: Mapping[str, str],
    ink: str,
) -> None:
    """Draw a row for all layers alike, and one for each layer; `numbers` are the columns without a menu.

    The first of the `chosen` layers is the one shown; a cell of a chosen layer is set for all of them. `on_edit` is
    called as a callback, before the page runs.
    """

    def edited() -> None:
        if (commit := st.session_state[key].get("commit")) is not None:
            kind, layers = commit["kind"], tuple(commit["layers"])
            on_edit(TableEdit(kind, layers, commit.get("column", ""), commit.get("word", "")))

    _component(
        key=key,
        data={
            "columns": [asdict(column) for column in columns],
            "numbers": [asdict(number) for number in numbers],
            "alike": asdict(alike),
            "rows": [asdict(row) for row in rows],
            "chosen": list(chosen),
            "words": dict(words),
            "palette": {"ink": ink, "mark": theme.QUANTIZED},
        },
        on_commit_change=edited,
    )
