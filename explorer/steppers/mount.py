"""Mounting the steppers on a page, and what they tell the page."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from explorer.figures import theme
from explorer.language import language

HERE = pathlib.Path(__file__).resolve().parent


@dataclass(frozen=True)
class StepperRow:
    """One layer: its name, how many weights it has, and its whole bytes under each choice."""

    name: str
    weights: int
    sizes: tuple[int, ...]


_component = st.components.v2.component(
    "quant_explorer_steppers",
    html=(HERE / "steppers.html").read_text(encoding="utf-8"),
    css=(HERE / "steppers.css").read_text(encoding="utf-8"),
    js=(HERE / "steppers.js").read_text(encoding="utf-8"),
)


def steppers(
    key: str,
    rows: Sequence[StepperRow],
    choices: Sequence[str],
    chosen: Sequence[int],
    budget: int,
    on_step: Callable[[tuple[int, ...]], None],
    *,
    words: Mapping[str, str],
    ink: str,
) -> None:
    """Draw a stepper for each row among `choices` (their short names), `chosen` by index, under a budget of bytes.

    `on_step` is called (as a callback, before the page runs) with the indices when a hand lets go. `words` are what the
    component says, by name.
    """
    answered = f"{key}_answered"

    def stepped() -> None:
        if (commit := st.session_state[key].get("commit")) is not None:
            st.session_state[answered] = commit["id"]
            on_step(tuple(commit["chosen"]))

    _component(
        key=key,
        data={
            "rows": [asdict(row) for row in rows],
            "choices": list(choices),
            "chosen": list(chosen),
            "budget": budget,
            "words": dict(words),
            "language": language(),
            "answered": st.session_state.get(answered),
            "palette": {"ink": ink, "fill": theme.QUANTIZED, "track": theme.FAINT},
        },
        on_commit_change=stepped,
    )
