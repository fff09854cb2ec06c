"""The server's status, for whoever runs a class."""

import streamlit as st

from explorer import compute
from explorer.page_table import entry_of

EVERY = 5  # seconds


@st.fragment(run_every=EVERY)
def status() -> None:
    """Draw the line, again and again."""
    st.text(str(compute.status()))


st.title(entry_of("status").title)
status()
