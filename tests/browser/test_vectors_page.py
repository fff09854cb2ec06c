"""The lesson on vectors as a student does it, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, faults_on, metrics, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def step(page: Page, beat: str) -> None:
    page.get_by_role("radiogroup", name="Step").get_by_text(beat, exact=True).click()
    settle(page)


def press(page: Page, group: str, label: str) -> None:
    page.get_by_role("radiogroup", name=group).get_by_text(label, exact=True).click()
    settle(page)


def gain_of_vectors(page: Page, table: int) -> str:
    return page.get_by_role("table").nth(table).get_by_role("row").nth(3).get_by_role("cell").nth(2).inner_text()


def codewords_on(page: Page, chart: str) -> list[list[float]]:
    """The places of the codewords that a plane shows."""
    return page.evaluate(
        """key => {
          const plot = document.querySelector(`.st-key-${key} .js-plotly-plot`);
          const words = plot._fullData.find(trace => trace.name === 'codewords');
          return [Array.from(words.x), Array.from(words.y)];
        }""",
        chart,
    )


def test_a_student_predicts_correlates_answers_and_goes_on_in_the_playground(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_vectors")
    assert gain_of_vectors(page, 0) == "?"
    expect(page.get_by_text("The curves are drawn once you have predicted.").first).to_be_visible()
    page.get_by_test_id("stRadio").get_by_text("about twice the error", exact=True).click()
    settle(page)
    assert gain_of_vectors(page, 0).startswith("×1.13")
    expect(page.locator(".st-key-vectors_chart_rates .js-plotly-plot")).to_be_visible()
    correlated = codewords_on(page, "vectors_chart_synthetic_cells")
    assert gain_of_vectors(page, 1).startswith("×2.")
    page.get_by_role("slider", name="Correlation").focus()
    page.keyboard.press("Home")
    page.wait_for_function("location.search.includes('vectors_rho=0')")
    settle(page)
    assert gain_of_vectors(page, 1).startswith("×1.")
    assert codewords_on(page, "vectors_chart_synthetic_cells") != correlated
    assert parse_qs(urlsplit(page.url).query)["vectors_rho"] == ["0"]
    step(page, "Check")
    assert metrics(page)["Implied codewords"] == "?"
    page.get_by_test_id("stRadio").get_by_text("256", exact=True).click()
    settle(page)
    expect(page.get_by_text("their choices multiply").first).to_be_visible()
    page.get_by_test_id("stRadio").get_by_text(f"{64**4:,}", exact=True).click()
    settle(page)
    expect(page.get_by_text(f"{64**4:,} vectors can be told apart").first).to_be_visible()
    assert metrics(page)["Implied codewords"] == "65,536"
    step(page, "Formula")
    bits = metrics(page)["Bits, everything stored"]
    page.get_by_role("link", name="Open in the playground").click()
    expect(page.get_by_role("spinbutton", name="Parts")).to_have_value("4")
    settle(page)
    assert metrics(page)["Bits per value"].startswith(bits[:4])
    assert parse_qs(urlsplit(page.url).query)["play_format"] == ["vectors"]


def test_what_cannot_be_is_refused_in_words_and_the_rest_stays(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_vectors?tensor=conv1&vectors_beat=Try")
    press(page, "Parts", "16")
    expect(page.get_by_text("16 parts do not divide vectors of 8").first).to_be_visible()
    expect(page.get_by_text("Rows have 9 values, which 8 does not divide").first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Continue: See"))).to_be_visible()
    assert faults_on(page) == NO_FAULTS


def test_stages_make_strips_and_the_whole_lesson_is_drawn_for_pixels(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_vectors?vectors_tensor=input+pixels&vectors_stages=3&vectors_parts=1")
    page.get_by_test_id("stRadio").locator("label").nth(1).click()
    settle(page)
    press(page, "Bits counted", "indices only")
    expect(page.get_by_text("stage 3").first).to_be_visible()
    assert faults_on(page) == NO_FAULTS
    photograph(page, "vectors-pixels")
