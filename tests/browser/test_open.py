"""A file of one's own in a real browser: dropped, seen in the table, and a tensor of it taken to the playground."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, faults_on, photograph, settle
from tests.engine.tensor_files import WRITERS, write_npz

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def test_a_file_is_dropped_and_a_row_of_its_table_opens_in_the_playground(
    app: str, open_page: Opener, tmp_path: pathlib.Path
) -> None:
    write_npz(tmp_path / "mine.npz")
    page = open_page(f"{app}/open", "projector")
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.npz")
    page.wait_for_url(re.compile(r"/inspector\?.*model=mine.npz"))
    expect(page.get_by_role("combobox", name="Model")).to_have_value("mine.npz")
    settle(page)
    assert faults_on(page) == NO_FAULTS
    photograph(page, "inspector-file-projector")
    page.get_by_role("textbox", name="Search").fill("bias")
    page.keyboard.press("Enter")
    settle(page)
    page.get_by_test_id("stDataFrame").locator(".dvn-scroller").click(position={"x": 60, "y": 35 + 17})  # its row
    expect(page.get_by_role("heading", name="Why is bias hard?")).to_be_visible()
    page.get_by_role("link", name="Open in the playground").click()
    page.wait_for_url(re.compile(r"/playground\?.*tensor=bias"))
    expect(page.get_by_text("bias: 7 tensor, 7 weights")).to_be_visible()


def test_measuring_puts_the_worst_layer_first_and_what_it_receives_opens_in_the_playground(
    app: str, open_page: Opener
) -> None:
    page = open_page(f"{app}/inspector?model=fashion-depthwise", "projector")
    button = page.get_by_role("button", name=re.compile("^Measure damage"))
    for part in (button, page.get_by_test_id("stDataFrame"), page.get_by_role("heading", name="Why is dw1 hard?")):
        expect(part).to_be_in_viewport()
    expect(page.get_by_role("button", name=re.compile("^Measure what helps"))).to_be_in_viewport(ratio=0.1)
    button.click()
    expect(page.get_by_text("times the sum")).to_be_visible(timeout=60_000)
    settle(page)
    page.get_by_test_id("stDataFrame").locator(".dvn-scroller").click(position={"x": 60, "y": 35 + 17})
    expect(page.get_by_role("heading", name="Why is stem hard?")).to_be_visible()
    assert faults_on(page) == NO_FAULTS
    photograph(page, "inspector-projector")
    page.get_by_text("What it receives").click()
    page.get_by_role("button", name="Open this input in the playground").click()
    page.wait_for_url(re.compile(r"/playground\?"))
    expect(page.get_by_text(re.compile("^stem input: "))).to_be_visible()
    settle(page)
    assert faults_on(page) == NO_FAULTS
    photograph(page, "playground-input-projector")


@pytest.mark.full
def test_files_of_each_format_are_dropped_and_broken_ones_of_each_are_refused(
    app: str, open_page: Opener, tmp_path: pathlib.Path
) -> None:
    page = open_page(f"{app}/open", "projector")
    for name, write in WRITERS.items():
        folder = tmp_path / name
        folder.mkdir()
        write(folder / name)
        files = sorted(folder.iterdir())
        page.locator("input[type=file]").set_input_files(files)
        page.wait_for_url(re.compile(r"/inspector\?"))
        settle(page)
        expect(page.get_by_test_id("stDataFrame")).to_be_visible()
        assert faults_on(page) == NO_FAULTS, name
        page.get_by_test_id("stTopNavLink").filter(has_text="Open").click()
        settle(page)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 3])
        page.locator("input[type=file]").set_input_files(files)
        expect(page.get_by_text("was not opened.")).to_be_visible()
        assert faults_on(page) == NO_FAULTS, name
