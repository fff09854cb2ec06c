"""Dialogs that stay open while the page under them runs: until they are closed, nothing typed into one is lost."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st


def dialog(title: str, key: str, draw: Callable[[], object]) -> None:
    """Draw a dialog, which is open as long as the session's state has the key."""
    st.dialog(title, on_dismiss=lambda: _forget(key))(draw)()


def close(key: str) -> None:
    """Close a dialog, from within."""
    _forget(key)
    st.rerun()


def _forget(key: str) -> None:
    st.session_state.pop(key, None)
