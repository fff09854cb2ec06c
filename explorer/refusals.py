"""What a part of a page needs and a model lacks is said, in one sentence, where that part would stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from explorer.language import read_words
from quant_engine import QuantError


@contextmanager
def refusals_said() -> Iterator[None]:
    """Say why a part of the page is not there, and go on with the next one."""
    try:
        yield
    except QuantError as error:
        st.info(read_words("frame")["refusals"]["part"].format(error=error), icon=":material/block:")
