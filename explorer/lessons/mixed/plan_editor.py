"""The plan of lesson 8 under the hand: a stepper for each layer, and the plan as a table and as files."""

from __future__ import annotations

import streamlit as st

from explorer import charts, compute, controls, tables
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix
from explorer.lessons.mixed import plans
from explorer.lessons.mixed.plans import FLOAT_BITS, WIDTHS
from explorer.lessons.mixed.search import PLAN
from explorer.notation import count
from explorer.steppers import StepperRow, steppers

SLUG = "mixed"


def _words() -> dict[str, str]:
    return dict(read_prose(SLUG).laboratory)


def draw_steppers(mix: Mix) -> None:
    """Draw a stepper of bits for each layer."""
    layers = plans.layers_of(mix.model)
    table = plans.sizes(mix).astype(int).tolist()
    rows = [StepperRow(name, info.parameters, tuple(table[place])) for place, (name, info) in enumerate(layers.items())]
    steppers(
        f"{SLUG}_steppers",
        rows,
        ["FP16" if width == FLOAT_BITS else str(width) for width in WIDTHS],
        [WIDTHS.index(width) for width in mix.bits],
        plans.budget_of(mix),
        _stepped,
        words=read_prose(SLUG).editor,
        ink=charts.ink(),
    )
    with st.container(horizontal=True):
        st.button(_words()["to_uniform"], key=f"{SLUG}_to_uniform", on_click=_set, args=((),))


def _stepped(chosen: tuple[int, ...]) -> None:
    """Take over what a hand has stepped to (a callback)."""
    _set(tuple(WIDTHS[index] for index in chosen))


def _set(bits: tuple[int, ...]) -> None:
    controls.assign({PLAN.key: plans.write_plan(bits)})


def draw_table(mix: Mix) -> None:
    """Draw the plan as a table, and offer its files."""
    words = _words()
    with st.expander(words["table_title"], key=f"{SLUG}_table_title"):
        tables.table([{name: _cell(value) for name, value in row.items()} for row in plans.plan_rows(mix)])
        with st.container(horizontal=True):
            for name, text, kind in (
                ("csv", plans.as_csv(mix), "text/csv"),
                ("json", plans.as_json(mix), "application/json"),
            ):
                st.download_button(
                    words[f"download_{name}"],
                    text,
                    f"{compute.name(mix.model)}-plan.{name}",
                    kind,
                    key=f"{SLUG}_download_{name}",
                    icon=":material/download:",
                    on_click="ignore",
                )
        st.caption(words["table_note"])


def _cell(value: object) -> str:
    return count(value) if isinstance(value, int) else str(value)
