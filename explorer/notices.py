"""Notices that stay as long as what they are about is on screen."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

PAGE_MEMORY = "page"  # where the page last shown is kept
FRESH = "page_is_fresh"  # and whether this is its first run


def still_said(about: str, said: Sequence[str]) -> Sequence[str]:
    """Return what is said about something, or else what was, until the page or its address is another one.

    Streamlit drops what is not valid from the address at once, and a page may run again by itself.
    """
    key = f"said_about_{about}"
    told, before = (said, None) if said else st.session_state.get(key, ((), None))
    now = st.session_state.get(PAGE_MEMORY), dict(st.query_params)
    if before not in (None, now):
        told = ()
    st.session_state[key] = told, None if said else now
    return told
