"""A report in a browser: its figures are live, nothing is asked from the network, names are text."""

from __future__ import annotations

import pathlib

import pytest
from playwright.sync_api import Browser

from explorer.report_page import html_of
from explorer.reports import measure
from quant_engine import IntFormat, LayerPlan, PerChannel, QuantizationPlan, QuantizerSpec
from quant_engine.network import load

pytestmark = pytest.mark.browser


def test_a_report_opens_with_live_figures_and_without_the_network(browser: Browser, tmp_path: pathlib.Path) -> None:
    network = load("fashion-cnn")
    plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(IntFormat(4), PerChannel()))))
    *_, report = measure(network, {"<img src=x onerror=alert(1)>": plan})
    path = tmp_path / "report.html"
    path.write_text(html_of(report), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    for key in ("plans", "errors", "ranges"):
        page.locator(f"#{key} .main-svg").first.wait_for()
    bar = page.locator("#errors .point").first
    bar.scroll_into_view_if_needed()
    place = bar.bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.locator("#errors .hovertext").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert (said, asked) == ([], [path.as_uri()])
    page.close()
