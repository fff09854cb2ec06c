"""Dialogs that stay open until a person closes them: work that ends meanwhile waits with its run of the whole page.

A run that the browser asks for, as for another theme, opens them again; text that is typed and not yet sent is lost.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from explorer.background.live import HELD


def dialog(title: str, key: str, draw: Callable[[], object]) -> None:
    """Draw a dialog, which is open as long as the session's state has the key."""
    st.session_state[HELD] = True
    st.dialog(title, on_dismiss=lambda: _forget(key))(draw)()


def close(key: str) -> None:
    """Close a dialog, from within."""
    _forget(key)
    st.rerun()


def _forget(key: str) -> None:
    st.session_state.pop(key, None)
