"""Controls from the rows of tables, all bound to the URL, and the state of those that are drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, TypeVar

import streamlit as st
from streamlit.errors import StreamlitAPIException

from explorer.fields import Choice, Field, Number, State, Text, spoken
from explorer.language import read_words
from explorer.notices import still_said
from explorer.presenting import scaled
from explorer.teaching.fields import HIDE, LOCK

Value = TypeVar("Value")
Table = TypeVar("Table", bound=State)


def show(field: Field[Value], **special: Any) -> Value:
    """Draw a field's control and return what it says; `special` arguments of Streamlit's control come before the row's.

    A field of coded text has no control. Containers that hold controls have keys, also those around them: else, where
    something before one is gone, it would be made anew beside the old one, and no longer be bound to the address.
    """
    assert not isinstance(field, Text)
    if is_hidden(field):
        return unshown(field)
    given = {"label": field.label, "key": field.key, "help": field.help, "bind": "query-params", **special}
    given["disabled"] = special.get("disabled", False) or is_locked(field)
    if width := special.get("width", field.width):
        given["width"] = scaled(width)
    return field.meaning(_choice(field, given) if isinstance(field, Choice) else _number(field, given))


def is_hidden(field: Field[Any]) -> bool:
    """Say whether a teacher's link leaves a control out."""
    return field.key in current(HIDE)


def is_locked(field: Field[Any]) -> bool:
    """Say whether a teacher's link lets a control be seen, and not be used: what it leaves out can be neither."""
    return field.key in current(LOCK) or is_hidden(field)


def _choice(field: Choice[Any], given: dict[str, Any]) -> str:
    """Draw the words in a row or a menu. An older word in the address gives way to the present one, which they know."""
    text = st.query_params.get(field.key)
    if text is not None and text not in field.options and field.accepts(text):
        st.query_params[field.key] = field.parse(text)
    options = list(field.options)
    opening: dict[str, Any] = {"index": options.index(field.default)} if field.menu else {"default": field.default}
    named = {word: spoken(word) for word in options}
    if any(word != said for word, said in named.items()):
        linked(field)
        opening, given = {}, {**given, "format_func": named.__getitem__, "bind": None}
    if field.menu:
        return str(st.selectbox(options=options, **opening, **given))
    return str(st.segmented_control(options=options, required=True, **opening, **given) or field.default)


def _number(field: Number[Any], given: dict[str, Any]) -> Any:
    """Draw a slider, or a box with buttons to step."""
    kind = int if field.whole else float
    ends: dict[str, Any] = {"min_value": kind(field.min), "max_value": kind(field.max)}
    if not field.box:
        steps = {} if field.whole else {"step": field.step, "format": "%.1f"}
        return st.slider(**{**ends, "value": field.default, **steps, **given})
    steps = {"step": 1} if field.whole else {"step": field.step, "format": "%.5g"}
    return st.number_input(**{**ends, "value": field.default, **steps, **given})


def hold(field: Number[Any], max_value: int) -> None:
    """Take down to `max_value` what is set above it, before the control is drawn, and say so if a link asked for it.

    The control keeps its range: with another one it would be a new control to Streamlit, which then asks the address.
    """
    text = str(st.session_state.get(field.key, st.query_params.get(field.key, field.default)))
    said = []
    if field.accepts(text) and field.parse(text) > max_value:
        if field.key in st.session_state:
            st.session_state[field.key] = max_value
        else:
            words = read_words("frame")["links"]["too_large"]
            said = [words.format(label=field.label, text=text, max=max_value)]
    for notice in still_said(field.key, said):
        st.warning(notice, icon=":material/link_off:")


def current(field: Field[Value]) -> Value:
    """Return what a control says that is drawn elsewhere, or not now."""
    return field.meaning(field.parse(_text(field)))


def _text(field: Field[Any]) -> str:
    text = str(st.session_state.get(field.key, st.query_params.get(field.key, field.default)))
    return text if field.accepts(text) else str(field.default)


def unshown(field: Field[Value]) -> Value:
    """Return a setting that no control of Streamlit's shows, or none now, and keep the URL in step with it."""
    held = st.session_state[field.key] = field.parse(_text(field))
    with contextlib.suppress(StreamlitAPIException):  # of a control that was drawn in the last run
        if held != field.default:
            st.query_params[field.key] = str(held)
        elif field.key in st.query_params:
            del st.query_params[field.key]
    return field.meaning(held)


def written_key(field: Field[Any]) -> str:
    """Return where it is kept what `linked` has written to the address."""
    return f"{field.key}_written"


def linked(field: Choice[Any]) -> str:
    """Return the word of a choice that is drawn elsewhere, under its key, and keep the address in step with it.

    For a control whose labels change, which Streamlit cannot bind to the address. What the address says counts where it
    has changed since it was set here: a link was followed, or the browser went back.
    """
    before, text = st.session_state.get(written := written_key(field)), st.query_params.get(field.key)
    held = st.session_state.get(field.key)
    if held is None or text != before:
        held = text if text is not None and field.accepts(text) else field.default
    word = st.session_state[field.key] = field.parse(str(held))
    if word != field.default:
        st.query_params[field.key] = word
    elif text is not None:
        del st.query_params[field.key]
    st.session_state[written] = st.query_params.get(field.key)
    return word


def now(table: type[Table]) -> Table:
    """Return the state of the controls that are drawn; other fields are at their default."""
    keys = (field.key for field in table.fields().values() if field.key in st.session_state)
    return table.of({key: st.session_state[key] for key in keys})


def restore(state: State) -> None:
    """Set every field of a table (a callback)."""
    change(type(state), **{name: getattr(state, name) for name in state.fields()})


def change(table: type[State], **values: Any) -> None:
    """Set fields of a table, by attribute (a callback).

    Streamlit keeps the address of controls that are drawn; that of those about to be drawn is set here.
    """
    for name, value in values.items():
        field = table.fields()[name]
        if is_locked(field):
            continue
        held = st.session_state[field.key] = field.held(value)
        if held != field.default:
            with contextlib.suppress(StreamlitAPIException):  # of a control that is drawn
                st.query_params[field.key] = str(held)


def assign(values: Mapping[str, Any]) -> None:
    """Set what controls hold, by key (a callback)."""
    for key, value in values.items():
        st.session_state[key] = value
