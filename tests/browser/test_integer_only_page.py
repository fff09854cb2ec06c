"""A teacher goes through one number step by step, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, faults_on, forms_of, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
LINK = "lesson_formats?formats_int_step=6&formats_int_register=16+bits"


def test_steps_go_on_and_back_and_are_in_the_address(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_part=Integers")
    expect(page.get_by_role("button", name="Next step")).to_be_enabled()
    expect(page.locator(".pixel th")).to_have_text(["input", "code q", "float"])
    for _ in range(3):
        page.get_by_role("button", name="Next step").click()
        settle(page)
    expect(page.locator(".pixel li[aria-current=step] .title")).to_contain_text("Sum of the products")
    assert "formats_int_step=4" in page.url
    page.reload()
    settle(page)
    expect(page.locator(".pixel li[aria-current=step] .bits i")).to_have_count(32)
    page.get_by_role("button", name="All steps").click()
    settle(page)
    expect(page.locator(".pixel li.ahead")).to_have_count(0)
    expect(page.locator(".pixel li").nth(3).locator(".bits i")).to_have_count(64)
    expect(page.locator(".pixel li").last.locator(".real")).to_contain_text("steps")
    page.get_by_role("button", name="Run the 2,000 test images").click()
    ways = page.get_by_test_id("stTable").filter(has_text="each product rounded once").locator("tr")
    expect(ways).to_have_count(5)  # with what the first images gave: it goes on
    assert ways.nth(3).locator("td").last.inner_text() == "0"


@pytest.mark.parametrize("form", ["desktop", "phone"])
def test_an_overflow_is_seen_in_every_window(app: str, open_page: Opener, form: str) -> None:
    page = open_page(f"{app}/{LINK}", form)
    current = page.locator(".pixel li[aria-current=step]")
    expect(current.locator(".text")).to_contain_text("Overflow")
    expect(current.locator(".bits i:not(.lost)")).to_have_count(16)
    assert current.locator(".bits i.lost").count() > 0
    settle(page)
    for shown in forms_of(page, form):
        assert faults_on(page) == NO_FAULTS
        assert page.evaluate(
            "() => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].every("
            "host => (host.shadowRoot.querySelector('.pixel')?.scrollWidth ?? 0) <= host.clientWidth + 1)"
        )
        photograph(page, f"integer-only-{shown}")
