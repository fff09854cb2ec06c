"""The opening page in a real browser: all in sight, a hand on the range, and the ways in."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from explorer.panels.home import WAYS_IN
from tests.browser.conftest import NO_FAULTS, asking, faults_on, forms_of, metrics, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


@pytest.mark.parametrize("form", ["projector", "phone"])
def test_sentence_figure_accuracies_and_ways_in_are_in_sight_without_scrolling(
    app: str, open_page: Opener, form: str
) -> None:
    page = open_page(app, form)
    parts = [
        page.get_by_role("heading", name=re.compile("^See what quantization")),
        page.locator("canvas.values"),
        *page.get_by_test_id("stMetric").all(),
        *(page.get_by_role("link", name=way.label) for way in WAYS_IN),
    ]
    for part in parts:
        box = part.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= page.viewport_size["height"], part
    assert len(set(metrics(page).values())) == 2  # nothing is dragged yet


def test_a_hand_on_beta_changes_the_accuracy_and_the_link_and_goes_on_in_the_playground(
    app: str, open_page: Opener
) -> None:
    page = open_page(app)
    before = metrics(page)
    page.locator(".handle[data-end=hi]").focus()
    with asking(page):
        for _ in range(3):
            page.keyboard.press("PageDown")
        page.keyboard.press("Enter")
    after = metrics(page)
    assert after["As you drag"] != before["As you drag"]
    assert {**after, "As you drag": ""} == {**before, "As you drag": ""}
    again = open_page(page.url)
    assert metrics(again) == after
    page.get_by_role("link", name=re.compile("playground")).last.click()
    page.wait_for_url("**/playground?*")
    settle(page)
    assert parse_qs(urlsplit(page.url).query)["play_clipping"] == ["by hand"]
    assert after["As you drag"] in metrics(page).values()


@pytest.mark.parametrize("form", ["desktop", "phone"])
def test_the_opening_page_is_whole_in_every_form(app: str, open_page: Opener, form: str) -> None:
    page = open_page(app, form)
    for shown in forms_of(page, form):
        assert faults_on(page) == NO_FAULTS
        photograph(page, f"home-{shown}")


def test_a_link_from_when_the_playground_was_the_opening_page_opens_it(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/?play_bits=3&tensor=fc1")
    assert urlsplit(page.url).path == "/playground"
    assert parse_qs(urlsplit(page.url).query) == {"play_bits": ["3"], "tensor": ["fc1"]}
    expect(page.get_by_role("slider", name="Bits")).to_have_value("3")
    expect(page.get_by_role("combobox", name="Tensor")).to_have_value("fc1")
