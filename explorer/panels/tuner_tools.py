"""What else the tuner does with a plan: one tool at a time, under the table."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from explorer import compute
from explorer.language import read_words
from explorer.panels.tuner_budget import budget_panel
from explorer.panels.tuner_culprits import culprits_panel
from explorer.panels.tuner_export import export_panel
from explorer.panels.tuner_projects import projects_panel
from explorer.panels.tuner_tried import tried_panel
from explorer.sources import ModelKey
from explorer.tuning.tuned_plan import TunedPlan

KEY = "tuner_tool"
TOOLS: dict[str, Callable[[ModelKey, TunedPlan], None]] = {
    "culprits": culprits_panel,
    "budget": budget_panel,
    "tried": tried_panel,
    "export": export_panel,
    "projects": projects_panel,
}
WITHOUT_TASK = ("export", "projects")  # what needs no score


def tools_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the choice of a tool, and the one that is chosen."""
    said = read_words("tuner")["tools"]
    names = [name for name in TOOLS if compute.network(model).task is not None or name in WITHOUT_TASK]
    if not names:
        return
    chosen = st.segmented_control(
        said["label"],
        names,
        key=KEY,
        format_func=said.__getitem__,
        label_visibility="collapsed",
        default=names[0],
        required=True,
    )
    TOOLS[chosen if chosen in names else names[0]](model, plan)
