"""The lesson on granularity as a student does it, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from explorer import notation
from quant_engine.network import load
from tests.browser.conftest import NO_FAULTS, faults_on, metrics, photograph, press_at, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
ROWS = 24  # of dw1


def pick(page: Page, menu: str, label: str) -> None:
    page.get_by_role("combobox", name=menu).click()
    page.get_by_role("option", name=label, exact=True).click()
    settle(page)


def point_at(page: Page, name: str, row: int, touch: bool = False) -> None:
    """Click a row of a map, or tap it twice, near its right end."""
    chart = f".st-key-granularity_chart_{name}"
    page.evaluate("chart => document.querySelector(chart).scrollIntoView({ block: 'center' })", chart)
    settle(page)

    def place() -> tuple[float, float]:
        x, y, width, height = page.evaluate(
            """chart => {
              const box = [...document.querySelectorAll(`${chart} .nsewdrag`)].at(-1).getBoundingClientRect();
              return [box.x, box.y, box.width, box.height];
            }""",
            chart,
        )
        return x + 0.9 * width, y + (row + 0.5) / ROWS * height

    if touch:
        page.touchscreen.tap(*place())
        expect(page.locator(f"{chart} .hovertext").first).to_be_visible()
        page.wait_for_timeout(500)  # or both would be a double tap
    press_at(page, place, f"location.search.includes('granularity_block={row}')", touch)


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def mse(edited: dict[int, float]) -> str:
    """The error at 4 bits with one scale a channel, some with a β of their own."""
    x = load("fashion-depthwise").weight("dw1").reshape(ROWS, -1)
    reach = np.abs(x).max(axis=1, keepdims=True).astype(np.float64)
    for row, beta in edited.items():
        reach[row] = beta
    scale = (reach / 7).astype(np.float32)
    back = np.clip(np.rint(x / scale), -8, 7) * scale
    return notation.short(float(np.mean((back.astype(np.float64) - x) ** 2)))


def test_a_student_sees_the_collapse_and_the_rescue_edits_a_block_and_takes_it_back(
    app: str, open_page: Opener
) -> None:
    page = open_page(f"{app}/lesson_granularity")
    expect(page.get_by_text("The error map is drawn once you have predicted.").first).to_be_visible()
    assert metrics(page)["Channels turned to zeros"] == "?"
    page.get_by_test_id("stRadio").get_by_text("one to three in five", exact=True).click()
    settle(page)
    assert metrics(page)["Channels turned to zeros"] == "10 of 24"
    collapsed = float(metrics(page)["All layers quantized"].split()[0])
    pick(page, "One scale for each", "channel")
    assert metrics(page)["Channels turned to zeros"] == "0 of 24"
    assert collapsed < 30 < 75 < float(metrics(page)["All layers quantized"].split()[0])
    assert metrics(page)["MSE"] == mse({})
    point_at(page, "values", 18)
    assert query(page)["granularity_block"] == ["18"]
    point_at(page, "errors", 5)
    expect(page.get_by_text("output channel 5, inputs 0 to 8, 9 values").first).to_be_visible()
    page.get_by_role("slider", name="β, the upper end").focus()
    for _ in range(3):
        page.keyboard.press("PageDown")
    page.wait_for_function("location.search.includes('granularity_edits=')")
    settle(page)
    expect(page.get_by_text("set by hand for this block alone").first).to_be_visible()
    beta = float(query(page)["granularity_edits"][0].split("_")[-1])
    assert metrics(page)["MSE"] == mse({5: beta}) != mse({})
    again = open_page(page.url)
    again.get_by_test_id("stRadio").get_by_text("one to three in five", exact=True).click()
    settle(again)
    expect(again.get_by_text("set by hand for this block alone").first).to_be_visible()
    page.get_by_role("button", name="Back to the calibrator's range").click()
    settle(page)
    assert metrics(page)["MSE"] == mse({})
    assert "granularity_edits" not in query(page)
    assert faults_on(page) == NO_FAULTS
    photograph(page, "granularity-rescued")


def test_a_block_is_chosen_by_number_or_by_two_taps_on_a_phone(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_granularity?granularity_shared=channel", "phone")
    point_at(page, "ranges", 7, touch=True)
    expect(page.get_by_text("output channel 7, inputs 0 to 8, 9 values").first).to_be_visible()
    number = page.get_by_role("spinbutton", name="Block")
    number.fill("12")
    number.press("Enter")
    settle(page)
    expect(page.get_by_text("output channel 12, inputs 0 to 8, 9 values").first).to_be_visible()
    assert faults_on(page) == NO_FAULTS
