"""The lesson on mixed precision as a student does it, in a real browser."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from quant_engine import QuantizationPlan
from quant_engine.network import load
from quant_engine.studies import footprint
from tests.browser.conftest import NO_FAULTS, download, faults_on, metrics, photograph, press_at, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def plan_in(page: Page) -> list[str]:
    return parse_qs(urlsplit(page.url).query).get("mixed_plan", [])


def await_plan(page: Page, wanted: str = "") -> None:
    page.wait_for_function("wanted => location.search.includes(`mixed_plan=${wanted}`)", arg=wanted)
    settle(page)


def press(page: Page, name: str | re.Pattern[str]) -> None:
    page.get_by_role("button", name=name).click()
    settle(page)


def go_to(page: Page, part: str) -> None:
    page.locator("[class*=mixed_part]").get_by_role("radio", name=part, exact=True).click()
    settle(page)


def place_on_front(page: Page, uniform: str) -> tuple[float, float]:
    """Where a uniform plan is drawn."""
    x, y = page.evaluate(
        """code => {
          const plot = document.querySelector('.st-key-mixed_chart_front .js-plotly-plot');
          const box = plot.getBoundingClientRect(), { xaxis, yaxis } = plot._fullLayout;
          const trace = plot._fullData.find(one => one.name === 'uniform'), at = trace.customdata.indexOf(code);
          return [box.x + xaxis._offset + xaxis.d2p(trace.x[at]), box.y + yaxis._offset + yaxis.d2p(trace.y[at])];
        }""",
        uniform,
    )
    return x, y


def test_steps_by_keyboard_answer_at_once_and_outlive_a_reload(
    app: str, open_page: Opener, tmp_path: pathlib.Path
) -> None:
    page = open_page(f"{app}/lesson_mixed")
    taken = page.locator(".steppers .taken")
    expect(taken).to_contain_text("40,592 of 40,592 bytes")
    page.get_by_role("spinbutton", name="fc1").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".steppers .left")).to_have_text("6,912 bytes free")  # 55,296 weights, a bit less each
    page.get_by_role("spinbutton", name="conv1").focus()
    page.keyboard.press("End")
    await_plan(page, "16_4_4_3_4")
    page.reload()
    settle(page)
    expect(page.get_by_role("spinbutton", name="conv1")).to_have_attribute("aria-valuetext", "FP16 bits")
    expect(taken).to_contain_text("33,832 of 40,592 bytes")
    page.get_by_text("The plan as a table, to download").click()
    saved = download(page, "Plan (JSON)", tmp_path)
    plan = QuantizationPlan.load(saved)
    assert [plan[name].weight.format.bits for name in load("fashion-cnn").layers()] == [16, 4, 4, 3, 4]
    assert footprint(load("fashion-cnn"), plan).size_bytes == 33_832
    assert json.loads(saved.read_text())["schema"]
    assert download(page, "Table (CSV)", tmp_path).read_text().splitlines()[1] == "conv1,FP16,16,144,288"


def test_the_exact_plan_beats_the_uniform_one_and_a_click_on_the_front_loads_another(
    app: str, open_page: Opener
) -> None:
    page = open_page(f"{app}/lesson_mixed?mixed_part=Layers")
    expect(page.get_by_text("The bars are drawn once you have predicted").first).to_be_visible()
    page.get_by_test_id("stRadio").locator("label").nth(1).click()
    settle(page)
    go_to(page, "Optimiser")
    press(page, "Exact plan")
    await_plan(page)
    exact = plan_in(page)
    go_to(page, "Plan")
    expect(page.get_by_text("of 512 calibration images, within the bytes").first).to_be_visible()
    expect(page.get_by_text("take no part in any search here").first).to_be_visible()
    press(page, re.compile("Score both"))
    expect(page.get_by_text("The search never saw the test data").first).to_be_visible()
    go_to(page, "Optimiser")
    page.locator(".st-key-mixed_chart_front").hover()  # which waits for one that stays
    settle(page)
    press_at(page, lambda: place_on_front(page, "3_3_3_3_3"), "location.search.includes('mixed_plan=3_3_3_3_3')")
    assert plan_in(page) != exact
    go_to(page, "Plan")
    assert metrics(page)["Your plan"] != metrics(page)["Uniform, 4 bits"]
    assert faults_on(page) == NO_FAULTS
    photograph(page, "mixed-front")


def test_ten_steppers_are_usable_on_a_phone(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_mixed?model=fashion-depthwise", "phone")
    steps = page.get_by_role("spinbutton")
    rows = page.locator(".steppers .row")
    expect(rows).to_have_count(10)
    for button in rows.first.locator("button").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 40
    page.get_by_role("button", name="More bits: stem").tap()
    page.get_by_role("button", name="Fewer bits: pw4").tap()
    await_plan(page, "5_4_4_4_4_4_4_4_3_4")
    expect(steps.filter(has_text="5")).to_have_count(1)
    assert faults_on(page) == NO_FAULTS
