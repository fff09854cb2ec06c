"""The tuner: a plan for every layer at the left; scores, size and the chosen tool at the right."""

from __future__ import annotations

import streamlit as st

from explorer import frame, tuner_session
from explorer.language import read_words
from explorer.panels.tuner_numbers import numbers_panel
from explorer.panels.tuner_projects import save_as_you_go
from explorer.panels.tuner_table import pattern_box, table_panel
from explorer.panels.tuner_tools import tools_panel
from explorer.presenting import scaled
from explorer.sources import ModelKey
from explorer.tuner_results import engine_plan

LEFT = 500  # pixels


def tuner_panel() -> None:
    """Draw the page."""
    said = read_words("tuner")
    tuner_session.shown()
    with st.container(horizontal=True, gap="medium", key="tuner_sides"):
        left = st.container(width=scaled(LEFT), gap="xsmall", key="tuner_left")
        right = st.container(gap="xsmall", key="tuner_right")
    with left:
        model = _head()
    plan = tuner_session.present(model)
    engine = engine_plan(model, plan)
    save_as_you_go(model, plan)
    with right:
        numbers_panel(model, plan, engine)
        tools_panel(model, plan)
    with left:
        table_panel(model, plan, engine)
        pattern_box(model, plan)
        if not tuner_session.write_link(plan):
            st.caption(said["no_link_given" if plan.given else "no_link"])


def _head() -> ModelKey:
    """Draw the choice of a model, and the steps back and on."""
    said = read_words("tuner")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="tuner_head"):
        model, _ = frame.choose_tensor(layer=False)
        held = tuner_session.history(model)
        for name, icon, act, possible, keys in (
            ("undo", "undo", tuner_session.undo, held.before, "Ctrl+Z"),
            ("redo", "redo", tuner_session.redo, held.undone, "Ctrl+Shift+Z"),
        ):
            st.button(
                "",
                key=f"tuner_{name}",
                icon=f":material/{icon}:",
                help=said[name],
                on_click=act,
                args=(model,),
                disabled=not possible,
                shortcut=keys,
            )
    return model
