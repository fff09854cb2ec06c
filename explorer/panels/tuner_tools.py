"""What the tuner does with a plan: one tool at a time, beside the table and under the numbers."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from explorer import compute, tuner_session
from explorer.language import read_words
from explorer.panels.tuner_budget import budget_panel
from explorer.panels.tuner_culprits import culprits_panel
from explorer.panels.tuner_export import export_panel
from explorer.panels.tuner_layer import layer_panel
from explorer.panels.tuner_projects import projects_panel
from explorer.panels.tuner_tried import tried_panel
from explorer.sources import ModelKey
from explorer.tuning.tuned_plan import TunedPlan

TOOLS: dict[str, Callable[[ModelKey, TunedPlan], None]] = {
    tuner_session.LOOKS: layer_panel,
    "culprits": culprits_panel,
    "budget": budget_panel,
    "tried": tried_panel,
    "export": export_panel,
    "projects": projects_panel,
}
WITHOUT_TASK = (tuner_session.LOOKS, "export", "projects")  # what needs no score


def tools_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the choice of a tool, and the one that is chosen."""
    said = read_words("tuner")["tools"]
    names = [name for name in TOOLS if compute.network(model).task is not None or name in WITHOUT_TASK]
    chosen = st.segmented_control(
        said["label"],
        names,
        key=tuner_session.TOOL,
        format_func=said.__getitem__,
        label_visibility="collapsed",
        default=names[0],
        required=True,
    )
    TOOLS[chosen if chosen in names else names[0]](model, plan)
