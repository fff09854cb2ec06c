"""A lesson in several parts, of which one is shown at a time: the one that the words of a step speak of, or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from explorer import controls
from explorer.fields import Choice, Field, named, spoken


@dataclass(frozen=True)
class Chapter:
    """Its parts, each with settings that are drawn there alone and that no question depends on.

    `opens` names the part at which each step opens.
    """

    parts: Mapping[str, tuple[Field[Any], ...]]
    opens: Mapping[str, str]

    @property
    def fields(self) -> tuple[Field[Any], ...]:
        """The settings of all parts."""
        return tuple(field for fields in self.parts.values() for field in fields)

    def field(self, slug: str, beat: str) -> Choice[str]:
        """Return the field of the part on display; links leave out the one at which the step opens."""
        return Choice(f"{slug}_part", named(self.parts), default=self.opens[beat], words="part")

    def show(self, slug: str, beat: str) -> str:
        """Draw the parts in a row, and return the one on display: a choice holds as long as the step does."""
        field, state = self.field(slug, beat), st.session_state
        shown, now = f"{field.key}_shown", (st.query_params.get(field.key), state.get(field.key))
        if shown not in state:
            self._take_old_link(field)
        elif state[shown][0] != beat and state[shown][1:] == now:
            state.pop(field.key, None)
            st.query_params.pop(field.key, None)
        part = controls.linked(field)
        state[shown] = beat, st.query_params.get(field.key), part
        label, names = field.label, list(self.parts)
        st.segmented_control(
            label, names, key=field.key, required=True, format_func=spoken, label_visibility="collapsed"
        )
        return part

    def _take_old_link(self, field: Choice[str]) -> None:
        """Open at the part whose settings a link has that names none: it is older than the parts."""
        asked = {part for part, fields in self.parts.items() if {one.key for one in fields} & set(st.query_params)}
        if field.key not in st.query_params and field.key not in st.session_state and asked:
            st.session_state[field.key] = min(asked, key=list(self.parts).index)
