"""A file of one's own in a real browser: dropped, seen in the table, and a tensor of it taken to the playground."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, faults_on, photograph, settle
from tests.engine.tensor_files import write_npz

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
    table = page.get_by_test_id("stDataFrame").locator(".dvn-scroller")
    table.click(position={"x": 120, "y": 3 * 35 + 17})  # the third row under the headings
    page.get_by_role("link", name="Open bias in the playground").click()
    page.wait_for_url(re.compile(r"/playground\?.*tensor=bias"))
    expect(page.get_by_text("bias: 7 tensor, 7 weights")).to_be_visible()
