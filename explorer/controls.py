"""Controls from the field table, all bound to the URL, and the check of links."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from explorer.fields import Choice, Field, Number

COARSE_STEPS = 100  # steps of a number field across its usual width


def choice(field: Choice, disabled: bool = False, on_change: Callable[[], None] | None = None) -> str:
    """Show a row of words, of which one is chosen."""
    _renew(field)
    picked = st.segmented_control(
        field.label,
        field.options,
        default=field.default,
        required=True,
        key=field.key,
        help=field.help,
        on_change=on_change,
        bind="query-params",
        disabled=disabled,
    )
    return picked or field.default


def menu(
    field: Choice,
    disabled: bool = False,
    on_change: Callable[[], None] | None = None,
    format_func: Callable[[str], str] = str,
) -> str:
    """Show a drop-down list of words, of which one is chosen."""
    _renew(field)
    return st.selectbox(
        field.label,
        field.options,
        index=field.options.index(field.default),
        key=field.key,
        help=field.help,
        on_change=on_change,
        format_func=format_func,
        bind="query-params",
        disabled=disabled,
    )


def _renew(field: Choice) -> None:
    """Put the present word for an older one into the address; the control about to be drawn knows present ones."""
    text = st.query_params.get(field.key)
    if text is not None and text not in field.options and field.accepts(text):
        st.query_params[field.key] = field.word(text)


def slider(field: Number) -> int:
    """Show a slider over whole numbers."""
    return st.slider(
        field.label,
        int(field.least),
        int(field.greatest),
        int(field.default or field.least),
        key=field.key,
        help=field.help,
        bind="query-params",
    )


def fine_slider(field: Number) -> float:
    """Show a slider in steps of a tenth."""
    return st.slider(
        field.label,
        float(field.least),
        float(field.greatest),
        float(field.default or field.least),
        step=0.1,
        format="%.1f",
        key=field.key,
        help=field.help,
        bind="query-params",
    )


def whole_number(field: Number, greatest: int | None = None) -> int:
    """Show a number field with buttons to step; `greatest` narrows the range to what is at hand."""
    return st.number_input(
        field.label,
        int(field.least),
        int(field.greatest if greatest is None else greatest),
        int(field.default or 0),
        step=1,
        key=field.key,
        help=field.help,
        bind="query-params",
    )


def hold(field: Number, greatest: int) -> None:
    """Take down to `greatest` what is set above it, before the control is drawn.

    The control keeps its range: with another one it would be a new control to Streamlit, which then asks the address.
    """
    if int(st.session_state.get(field.key, field.default)) > greatest:
        st.session_state[field.key] = greatest


def real_number(
    field: Number,
    width: float = 1.0,
    placeholder: str | None = None,
    disabled: bool = False,
    on_change: Callable[[], None] | None = None,
) -> float | None:
    """Show a field for a real number; `width` is the usual span of its values, which sets the step."""
    return st.number_input(
        field.label,
        field.least,
        field.greatest,
        field.default,
        step=width / COARSE_STEPS if width > 0 else None,
        format="%.5g",
        key=field.key,
        help=field.help,
        placeholder=placeholder,
        disabled=disabled,
        on_change=on_change,
        bind="query-params",
    )


def unshown(field: Field) -> str:
    """Return, as text, a setting that no control of Streamlit's shows, and keep the URL in step with it."""
    text = str(st.session_state.get(field.key, st.query_params.get(field.key, field.default)))
    text = text if field.accepts(text) else str(field.default)
    st.session_state[field.key] = text
    if text != str(field.default):
        st.query_params[field.key] = text
    elif field.key in st.query_params:
        del st.query_params[field.key]
    return text


def reset(fields: tuple[Field, ...]) -> None:
    """Put every field back to its default (a callback)."""
    for field in fields:
        st.session_state[field.key] = field.default


def restore(fields: tuple[Field, ...], values: Mapping[str, Any]) -> None:
    """Set every field, to what is given or its default (a callback).

    Streamlit keeps the address of controls that are drawn; that of those about to be drawn is set here.
    """
    reset(fields)
    assign(values)
    for field in fields:
        address(field)


def address(field: Field) -> None:
    """Put a field that is set, and whose control is about to be drawn, into the address (for callbacks)."""
    value = st.session_state.get(field.key, field.default)
    if value != field.default:
        with contextlib.suppress(StreamlitAPIException):  # of a control that is drawn
            st.query_params[field.key] = str(value)


def assign(values: Mapping[str, Any]) -> None:
    """Set fields by key (a callback)."""
    for key, value in values.items():
        st.session_state[key] = value


def link_faults(fields: tuple[Field, ...]) -> list[str]:
    """Say what in the page's address is not valid; Streamlit drops it and the field falls back to its default."""
    known = {field.key: field for field in fields}
    faults = []
    for key in st.query_params:
        text = st.query_params[key]
        if key not in known:
            faults.append(f"“{key}” is no setting of this version.")
        elif not known[key].accepts(text):
            field = known[key]
            faults.append(f"{field.label}: “{text}” is not {field.expected}; {field.instead}.")
    return faults
