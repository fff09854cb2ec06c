"""A login before everything else, where the server's secrets name who logs people in (OpenID Connect)."""

from __future__ import annotations

import streamlit as st

from explorer.language import read_words

SECTION = "auth"  # of the secrets


def require_login() -> None:
    """Ask those who have not logged in to do so, and draw nothing else for them."""
    if not st.secrets.load_if_toml_exists() or SECTION not in st.secrets or st.user.get("is_logged_in", False):
        return
    said = read_words("frame")["login"]
    st.header(said["title"], anchor=False)
    st.button(said["log_in"], key="log_in", type="primary", icon=":material/login:", on_click=st.login)
    st.stop()
