"""The race of lesson 11 in a real browser: started, watched, cancelled, and in two windows at once."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from explorer.lessons.compensation.method_progress import accuracy_of, setting_of
from explorer.lessons.compensation.method_progress import baselines as measured_baselines
from explorer.lessons.framework.prose import read_prose
from explorer.notation import accuracy
from quant_engine.network import load
from quant_engine.steps import finished
from tests.browser.conftest import NO_FAULTS, download, faults_on, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def button(page: Page, name: str) -> Locator:
    """What starts a method, or cancels all; what cancels a method that waits has its name too."""
    return page.locator("[class*=st-key-compensation_start], .st-key-compensation_cancel_all").get_by_role(
        "button", name=re.compile(re.escape(name) + "$")
    )


MORE = read_prose("compensation").laboratory["methods_title"]
RACE = """() => {
  const plot = document.querySelector('.st-key-compensation_chart_race .js-plotly-plot');
  const stands = plot._fullData.filter(trace => trace.mode === 'markers+text');
  return Object.fromEntries(stands.map(trace => [trace.name, trace.text[0]]));
}"""


def race_of(page: Page) -> dict[str, str]:
    """The accuracy on every lane, by method."""
    return page.evaluate(RACE)


def baselines(page: Page) -> None:
    """Predict, and wait until the baselines are drawn."""
    page.get_by_test_id("stRadio").locator("label").nth(1).click()
    expect(page.get_by_text("Every accuracy is measured on the same").first).to_be_visible()
    settle(page)


def test_a_method_is_started_and_ends_on_its_lane_while_another_page_is_looked_at(
    app: str, open_page: Opener, tmp_path: pathlib.Path
) -> None:
    page = open_page(f"{app}/lesson_compensation?compensation_bits=4")
    expect(page.get_by_text("Scores are shown once you have predicted").first).to_be_visible()
    baselines(page)
    before = race_of(page)
    assert set(before) == {"nearest", "clipped"}
    page.get_by_text(MORE).click()
    clicked = page.evaluate("performance.now()")
    button(page, "BatchNorm ranges").click()
    page.wait_for_function(  # a page that is left before an answer came takes the click along
        "clicked => window.askedAt > clicked && window.heardAt > window.askedAt", arg=clicked
    )
    page.get_by_role("link", name="Model card").click()
    settle(page)
    page.get_by_test_id("stHeader").get_by_text("Learn").click()
    page.get_by_text("11 Compensation: PTQ, QAT, ZSQ", exact=True).first.click()
    page.get_by_text(MORE).click()
    expect(button(page, "BatchNorm ranges")).to_be_disabled()
    expect(page.locator("td").get_by_text("BatchNorm statistics").first).to_be_visible()
    settle(page)
    assert set(race_of(page)) == {*before, "BatchNorm ranges"}
    assert download(page, re.compile("Plan of"), tmp_path).suffix == ".zip"
    assert faults_on(page) == NO_FAULTS
    photograph(page, "compensation-race")


def expected(bits: int) -> dict[str, str]:
    """What both baselines score on a network that nobody has trained."""
    base = finished(measured_baselines(load("fashion-cnn"), setting_of(bits, 8, "channel")))
    return {name: accuracy(accuracy_of(getattr(base, name)).value) for name in ("nearest", "clipped")}


@pytest.mark.full
def test_two_windows_train_at_once_and_what_is_cancelled_leaves_no_trace(app: str, open_page: Opener) -> None:
    first, second = (open_page(f"{app}/lesson_compensation?compensation_bits={bits}") for bits in (2, 3))
    baselines(second)
    before = race_of(second)
    for page in (first, second):
        button(page, "QAT (LSQ)").click()
        expect(page.get_by_text(re.compile(r"QAT \(LSQ\) · training: \d+"))).to_be_visible()
    second.get_by_text(MORE).click()
    button(second, "QAT (PACT)").click()
    expect(second.get_by_text("Waiting for a free lane").first).to_be_visible()
    assert first.get_by_text("Waiting for a free lane").count() == 0
    first.close()
    expect(second.get_by_text(re.compile(r"QAT \(PACT\) · (begun|ranges|training)"))).to_be_visible()
    expect(second.get_by_text(re.compile(r"QAT \(LSQ\) · training"))).to_be_visible()
    second.wait_for_function(f"({RACE})()['QAT (LSQ)']")
    button(second, "Cancel all").click()
    expect(second.get_by_text(re.compile("QAT .* · "))).to_have_count(0)
    expect(button(second, "QAT (LSQ)")).to_be_enabled()
    settle(second)
    assert race_of(second) == before == expected(3)
    second.get_by_role("slider").first.press("ArrowRight")
    second.wait_for_function(f"({RACE})().clipped === '{expected(4)['clipped']}'")
    assert race_of(second) == expected(4)
    assert faults_on(second) == NO_FAULTS
