"""Lectures in a real browser: made of pages, and played by the keyboard, each slide with its own state."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from explorer.teaching import shelf
from tests.browser.conftest import NO_FAULTS, asking, faults_on, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
IN_SIGHT = """() => [...document.querySelectorAll('.lecture :is(.title, .place, .timer, button)')]
  .filter(part => part.checkVisibility())
  .every(part => part.getBoundingClientRect().bottom <= innerHeight &&
    parseFloat(getComputedStyle(part).fontSize) >= 14)
"""


def press(page: Page, key: str) -> None:
    with asking(page):
        page.keyboard.press(key)


def test_a_lecture_is_played_by_keys_which_leave_sliders_alone(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/?lecture=ten_minutes&slide=2", "projector")
    place, bits = page.locator(".lecture .place"), page.get_by_role("slider", name="Bits")
    expect(place).to_have_text("slide 2 of 7")
    assert page.evaluate(IN_SIGHT)
    bits.focus()
    press(page, "ArrowRight")
    expect(bits).to_have_value("5")
    expect(place).to_have_text("slide 2 of 7")
    page.keyboard.press("Escape")
    press(page, "PageDown")
    expect(place).to_have_text("slide 3 of 7")
    assert parse_qs(urlsplit(page.url).query)["symmetry_beat"] == ["See"]
    press(page, "ArrowLeft")
    expect(bits).to_have_value("4")
    bits.focus()
    press(page, "a")
    expect(page.get_by_role("button", name="Hide answers")).to_be_visible()
    assert faults_on(page) == NO_FAULTS
    with asking(page):
        page.get_by_role("button", name="End", exact=True).click()
    expect(page.get_by_test_id("stHeader")).to_be_visible()
    assert "lecture" not in page.url


def test_a_page_becomes_a_slide_and_the_lecture_a_file(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_symmetry?symmetry_bits=3", "projector")
    with asking(page):
        page.get_by_role("button", name="Add to lecture").click()
    with asking(page):
        page.get_by_role("dialog").get_by_role("button", name="Add", exact=True).click()
    page.get_by_test_id("stHeader").get_by_text("Teach").click()
    page.get_by_text("Lectures", exact=True).first.click()
    settle(page)
    expect(page.get_by_text("1. Symmetric and asymmetric")).to_be_visible()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as a file").click()
    text = waiting.value.path().read_text(encoding="utf-8")
    assert '"symmetry_bits": "3"' in text
    assert faults_on(page) == NO_FAULTS
    with asking(page):
        page.get_by_role("button", name="Play from the start").click()
    expect(page.locator(".lecture .place")).to_have_text("slide 1 of 1")
    with asking(page):
        page.get_by_role("button", name="End", exact=True).click()
    with asking(page):
        page.get_by_role("button", name="Play", exact=True).first.click()
    for number in (2, 3, 4):  # of another lecture, which has more
        press(page, "ArrowRight")
        expect(page.locator(".lecture .place")).to_have_text(f"slide {number} of 7")
    page.go_back()
    expect(page.locator(".lecture .place")).to_have_text("slide 3 of 7")


@pytest.mark.full
@pytest.mark.parametrize("name", ["ten_minutes", "sixty_minutes"])
def test_every_slide_of_an_example_is_photographed(app: str, open_page: Opener, name: str) -> None:
    page, total = open_page(f"{app}/?lecture={name}", "projector"), len(shelf.find(name).slides)
    for number in range(1, total + 1):
        expect(page.locator(".lecture .place")).to_have_text(f"slide {number} of {total}")
        assert faults_on(page) == NO_FAULTS
        photograph(page, f"{name}_{number:02}")
        if number < total:
            press(page, "ArrowRight")
