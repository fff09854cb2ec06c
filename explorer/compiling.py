"""What pages say, the first time after an installation, while kernels are compiled."""

from __future__ import annotations

import streamlit as st

from explorer.background import live
from explorer.language import read_words
from explorer.warmup import WARM_UP

POLL = 0.2  # seconds
ICON = ":material/manufacturing:"


def await_first_picture() -> None:
    """Wait for the kernels that the first picture needs, and say so if they have to be compiled; go on counting."""
    WARM_UP.start()
    if not WARM_UP.wait(0):
        place = st.empty()
        while not WARM_UP.wait(POLL):
            if WARM_UP.is_compiling:
                place.info(_said(), icon=ICON)
        place.empty()
    if WARM_UP.is_compiling:
        live(lambda: st.info(_said(), icon=ICON), lambda: WARM_UP.is_compiling)


def _said() -> str:
    return str(read_words("frame")["waiting"]["compiling"].format(done=WARM_UP.done, total=WARM_UP.total))
