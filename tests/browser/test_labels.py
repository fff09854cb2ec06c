"""With few and many bits the text of figures can be read: nothing overlaps, is cut off, or has under 14 pixels."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from explorer.lessons import LESSONS
from tests.browser.conftest import asking, settle
from tests.browser.labels import label_faults

pytestmark = pytest.mark.browser
BITS = re.compile("bits", re.IGNORECASE)
PLACES = ("playground", *(f"lesson_{slug}" for slug in LESSONS if slug != "formats"))


@pytest.mark.choice(4)
@pytest.mark.parametrize("name", PLACES)
def test_the_text_of_figures_can_be_read_at_few_and_many_bits(
    app: str, open_page: Callable[..., Page], name: str
) -> None:
    page = open_page(f"{app}/{name}", "projector")
    if name != "playground":
        with asking(page):
            page.get_by_test_id("stRadio").locator("label").nth(1).click()
    faults = set(label_faults(page))
    bits = page.get_by_role("slider", name=BITS)
    if bits.count():
        bits.first.press("Home")
        for step in (0, 3, 3):
            for _ in range(step):
                bits.first.press("ArrowRight")
            settle(page)
            faults |= {f"{bits.first.input_value()} bits: {fault}" for fault in label_faults(page)}
    assert not faults
