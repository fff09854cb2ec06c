"""A lesson in several parts, of which one is shown at a time: the one that the words of a step speak of, or another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from explorer import controls
from explorer.fields import Choice, Field, spoken

LAYER, VALUES = "layer", "values"  # which layer, and which of its values or others: what menus of all lessons choose


@dataclass(frozen=True)
class Part:
    """How one figure is drawn, from a bench and what is on display, and which steps open at it.

    It reads what it `takes` of what all parts share, by key: other controls are not drawn. Its `own` settings are drawn
    in it alone, and no question depends on them.
    """

    name: str
    draw: Callable[[Any, Any], None]
    takes: tuple[str, ...]
    own: tuple[Field[Any], ...] = ()
    opens: tuple[str, ...] = ()


ALONE = Part("", lambda bench, scene: None, (LAYER, VALUES))  # of a lesson without parts


@dataclass(frozen=True)
class Chapter:
    """Its parts, and what the words of the formula take, by key, whichever is shown."""

    parts: tuple[Part, ...]
    formula: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[Field[Any], ...]:
        """The settings of all parts."""
        return tuple(field for part in self.parts for field in part.own)

    @property
    def opens(self) -> dict[str, Part]:
        """The part at which each step opens."""
        return {beat: part for part in self.parts for beat in part.opens}

    def field(self, slug: str, beat: str) -> Choice[Part]:
        """Return the field of the part on display; links leave out the one at which the step opens."""
        options = {part.name: part for part in self.parts}
        return Choice(f"{slug}_part", options, default=self.opens[beat].name, words="part")

    def show(self, slug: str, beat: str) -> Part:
        """Draw the parts in a row, and return the one on display: a choice holds as long as the step does."""
        field, state = self.field(slug, beat), st.session_state
        shown, now = f"{field.key}_shown", (st.query_params.get(field.key), state.get(field.key))
        if shown not in state:
            self._take_old_link(field)
        elif state[shown][0] != beat and state[shown][1:] == now:
            state.pop(field.key, None)
            st.query_params.pop(field.key, None)
        name = controls.linked(field)
        state[shown] = beat, st.query_params.get(field.key), name
        if not controls.is_hidden(field):
            st.segmented_control(
                field.label,
                list(field.options),
                key=field.key,
                required=True,
                format_func=spoken,
                label_visibility="collapsed",
                disabled=controls.is_locked(field),
            )
        part = field.meaning(name)
        return replace(part, takes=part.takes + self.formula) if beat == "Formula" else part

    def _take_old_link(self, field: Choice[Part]) -> None:
        """Open at the part whose settings a link has that names none: it is older than the parts."""
        asked = [part.name for part in self.parts if {one.key for one in part.own} & set(st.query_params)]
        if field.key not in st.query_params and field.key not in st.session_state and asked:
            st.session_state[field.key] = asked[0]
