"""The app's entry: `streamlit run explorer/app.py`. The page table and the frame that all pages share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle torch threads must not spin; read when torch is imported

import pathlib
from collections.abc import Iterator

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from explorer.background.live import HELD
from explorer.charts import follow_theme
from explorer.frame import opens_playground, reread_address, shared_frame
from explorer.language import ask_language, read_words
from explorer.login import require_login
from explorer.page_table import HOME, PAGES, PLAYGROUND, PageEntry, pages_folder
from explorer.teaching import adding, playing
from explorer.teaching.slide import actions, lacks_model, question_panel
from explorer.teaching.slide_class import bar, follow_class

HERE = pathlib.Path(__file__).resolve().parent
ASSETS = HERE / "assets"

ask_language()
st.set_page_config(page_title="Quant Explorer", page_icon=ASSETS / "icon.png", layout="wide")
require_login()
st.logo(ASSETS / "logo.svg", size="large")


def entries(page: PageEntry) -> Iterator[StreamlitPage]:
    """Yield a page, and a hidden one where it would answer at "" alone, for its name."""
    if page.default:
        yield st.Page(page.path, title=page.title, url_path="", default=True)
    hidden = page.default or page.hidden
    yield st.Page(page.path, title=page.title, url_path=page.path.stem, visibility="hidden" if hidden else "visible")


navigation = st.navigation(
    {
        read_words("frame")["groups"].get(group, ""): [entry for page in pages for entry in entries(page)]
        for group, pages in PAGES.items()
    },
    position="top",
)
reread_address(navigation)
if navigation.url_path == "" and opens_playground(st.query_params):
    st.switch_page(pages_folder() / PLAYGROUND, query_params=st.query_params.to_dict())
st.session_state.pop(HELD, None)  # until this run draws a dialog
playing.follow(navigation.url_path or pathlib.Path(HOME).stem)
follow_class()
with st.container(key="frame"):
    shared_frame(navigation.url_path, bar(), actions())
with st.container(key="page"):  # notices before it come and go
    if not lacks_model():
        question_panel()
        navigation.run()
adding.add_panel()
follow_theme()
