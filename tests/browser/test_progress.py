"""What a student has done outlives a reload and a new window, and can be taken away."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import settle

pytestmark = pytest.mark.browser


def test_a_prediction_and_steps_outlive_a_reload_and_are_on_the_record(
    app: str, open_page: Callable[..., Page], tmp_path: pathlib.Path
) -> None:
    page = open_page(f"{app}/lesson_clipping")
    page.get_by_test_id("stRadio").get_by_text("falls", exact=True).click()
    settle(page)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_function("localStorage.getItem('quant-explorer-progress')?.includes('falls')")
    settle(page)
    page.goto(f"{app}/lesson_clipping")
    expect(page.get_by_role("radio", name="falls", exact=True)).to_be_checked()
    assert "falls" not in page.url
    page.goto(app)
    expect(page.get_by_role("link", name="Learn: go on with lesson 5")).to_be_visible()
    again = page.context.new_page()
    again.goto(f"{app}/lesson_clipping?clipping_beat=Check")
    again.get_by_role("button", name="My record").wait_for()
    settle(again)
    with again.expect_download() as waiting:
        again.get_by_role("button", name="My record").click()
    waiting.value.save_as(tmp_path / "record.md")
    again.close()
    said = (tmp_path / "record.md").read_text(encoding="utf-8")
    assert "## 5 Clipping and calibration" in said
    assert "You predicted: falls" in said
