"""The race of lesson 11 in a real browser: started, watched, cancelled, and in two windows at once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NO_FAULTS, faults_on, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
LIMIT = 60_000  # milliseconds


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=re.compile(re.escape(name) + "$"))


def race_of(page: Page) -> dict[str, str]:
    """The accuracy on every lane, by method."""
    return page.evaluate(
        """() => {
          const plot = document.querySelector('.st-key-compensation_chart_race .js-plotly-plot');
          const stands = plot._fullData.filter(trace => trace.mode === 'markers+text');
          return Object.fromEntries(stands.map(trace => [trace.name, trace.text[0]]));
        }"""
    )


def baselines(page: Page) -> None:
    """Predict, and wait until the baselines are drawn."""
    page.get_by_test_id("stRadio").locator("label").nth(1).click()
    expect(page.get_by_text("Every accuracy is measured on the same")).to_be_visible(timeout=LIMIT)
    settle(page)


def test_a_method_is_started_and_ends_on_its_lane_while_another_page_is_looked_at(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_compensation?compensation_bits=4")
    expect(page.get_by_text("Accuracies are shown once you have predicted")).to_be_visible()
    baselines(page)
    before = race_of(page)
    assert set(before) == {"nearest", "clipped"}
    button(page, "BatchNorm ranges").click()
    page.get_by_role("link", name="Model card").click()
    settle(page)
    page.get_by_role("link", name=re.compile("11 Compensation")).click()
    expect(button(page, "BatchNorm ranges")).to_be_disabled(timeout=LIMIT)
    expect(page.locator("td").get_by_text("BatchNorm statistics")).to_be_visible(timeout=LIMIT)
    settle(page)
    assert set(race_of(page)) == {*before, "BatchNorm ranges"}
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("Plan of")).click()
    assert download.value.suggested_filename.endswith(".zip")
    assert faults_on(page) == NO_FAULTS
    photograph(page, "compensation-race")


def test_two_windows_train_at_once_and_a_window_that_closes_makes_room(app: str, open_page: Opener) -> None:
    first, second = (open_page(f"{app}/lesson_compensation?compensation_bits={bits}") for bits in (2, 3))
    for page in (first, second):
        button(page, "QAT (LSQ)").click()
        expect(page.get_by_text(re.compile(r"QAT \(LSQ\) · training: \d+"))).to_be_visible(timeout=LIMIT)
    button(second, "QAT (PACT)").click()
    expect(second.get_by_text("Waiting for a free lane")).to_be_visible(timeout=LIMIT)
    first.close()
    expect(second.get_by_text(re.compile(r"QAT \(PACT\) · (begun|ranges|training)"))).to_be_visible(timeout=LIMIT)
    expect(second.get_by_text(re.compile(r"QAT \(LSQ\) · training"))).to_be_visible()
    button(second, "Cancel all").click()
    expect(second.get_by_text(re.compile("QAT .* · "))).to_have_count(0, timeout=LIMIT)
    expect(button(second, "QAT (LSQ)")).to_be_enabled()
    assert faults_on(second) == NO_FAULTS
