"""Figures whose points can be clicked, on a page of their own."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, serve, settle

pytestmark = pytest.mark.browser
PAGE = """
import time
import plotly.graph_objects as go
import streamlit as st
from explorer import charts
from explorer.background import live

def draw():
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1], mode="markers", customdata=["first", "last"]))
    charts.pick(figure, "points", "Two points", lambda name: st.session_state.update(picked=name))
    st.write("picked " + st.session_state.get("picked", "nothing"))

@st.fragment
def page():
    live(draw, lambda: time.time() < until)
    st.text("watches " * 20)

until = st.session_state.setdefault("until", time.time() + 2)
page()
"""
PLACE = """() => {
  const plot = document.querySelector('.st-key-points .js-plotly-plot');
  const box = plot.getBoundingClientRect(), { xaxis, yaxis } = plot._fullLayout;
  return [box.x + xaxis._offset + xaxis.d2p(1), box.y + yaxis._offset + yaxis.d2p(1)];
}"""


@pytest.fixture
def little(tmp_path: pathlib.Path) -> Iterator[str]:
    script = tmp_path / "page.py"
    script.write_text(PAGE)
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(script),
        "--server.headless=true",
        "--browser.gatherUsageStats=false",
    ]
    yield from serve(command, tmp_path / "log", cwd=ROOT)


def test_a_figure_that_was_drawn_while_work_went_on_takes_a_click_when_the_work_has_ended(
    little: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(little)
    page.wait_for_timeout(2500)  # the clock has stopped, and the figure is what it was
    settle(page)
    page.mouse.click(*page.evaluate(PLACE))
    expect(page.get_by_text("picked last")).to_be_visible(timeout=20_000)
