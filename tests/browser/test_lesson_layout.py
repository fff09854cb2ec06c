"""Where words and figure of a lesson are on a phone and in large type; the browser goes back a step at a time."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from explorer.lessons import LESSONS
from explorer.lessons.framework.model import BEATS
from tests.browser.conftest import NO_FAULTS, asking, faults_on, settle
from tests.browser.sight import is_in_one_screen, places

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def go_on(page: Page) -> None:
    with asking(page):
        page.get_by_role("button", name=re.compile("^(arrow_forward )?Continue")).click()


@pytest.mark.choice(3)
@pytest.mark.parametrize("slug", LESSONS)
def test_on_a_phone_the_figure_follows_the_words_and_nothing_is_out_of_reach(
    app: str, open_page: Opener, slug: str
) -> None:
    page = open_page(f"{app}/lesson_{slug}", "phone")
    for beat in BEATS:
        found = places(page)
        assert not found["wide"], beat
        words = found["words"]
        assert words["x"] >= 0
        assert words["x"] + words["width"] <= 390
        assert found["figures"][0]["y"] > words["y"], beat
        assert all(box["left"] >= 0 and box["right"] <= 390 for box in found["controls"] + found["onward"]), beat
        assert faults_on(page) == NO_FAULTS, beat
        if beat == BEATS[0]:
            page.get_by_test_id("stRadio").locator("label").nth(1).tap()
            settle(page)
        if beat != BEATS[-1]:
            go_on(page)


@pytest.mark.choice(5)
@pytest.mark.parametrize("slug", LESSONS)
def test_presented_every_step_is_shown_from_its_top_with_its_figure_in_the_first_screen(
    app: str, open_page: Opener, slug: str
) -> None:
    page = open_page(f"{app}/lesson_{slug}?present=1", "projector")
    page.get_by_test_id("stRadio").locator("label").nth(1).click()
    settle(page)
    for beat in BEATS:
        assert page.get_by_test_id("stMain").evaluate("main => main.scrollTop") == 0, beat
        found = places(page)
        assert is_in_one_screen(found), (beat, found)
        if beat != BEATS[-1]:
            go_on(page)
            settle(page)


def test_the_browser_goes_back_a_step_at_a_time_and_from_the_next_lesson(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_bits?bits_beat=Formula&bits_bits=4")
    go_on(page)
    with asking(page):
        page.get_by_role("button", name=re.compile("Next")).click()
    page.wait_for_url("**/lesson_formats*")
    for beat in ("Check", "Formula"):
        page.go_back()
        page.wait_for_url(re.compile(f"lesson_bits.*bits_beat={beat}"))
        settle(page)
        steps = page.get_by_test_id("stButtonGroup").get_by_role("radio", checked=True)
        assert any(text.endswith(beat) for text in steps.all_inner_texts())
