"""In every step of a lesson the figure that the words speak of stands beside them, and the focus stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from explorer.lessons import LESSONS
from explorer.lessons.framework.model import BEATS
from tests.browser.conftest import NO_FAULTS, asking, barriers_on, faults_on, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
IN_SIGHT = 0.6  # of the figure's height

PLACES = """() => {
  const main = document.querySelector('[data-testid=stMain]');
  main.scrollTo(0, 0);
  const box = element => element.getBoundingClientRect().toJSON();
  const hosts = [...main.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
  const canvases = hosts.flatMap(host => [...host.shadowRoot.querySelectorAll('canvas')]);
  const drawn = hosts.filter(host => !host.shadowRoot.querySelector('canvas'));  // steppers, bits
  const figures = [...main.querySelectorAll('.js-plotly-plot'), ...canvases, ...drawn]
    .filter(each => each.clientHeight > 100);
  const controls = main.querySelectorAll('[data-testid=stSelectbox], [data-testid=stSlider]');
  return {
    figures: figures.map(box).sort((one, other) => one.y - other.y),
    controls: [...controls].map(box),
    words: box(main.querySelector('[data-testid=stButtonGroup]')),
    onward: [...main.querySelectorAll('[data-testid=stBaseButton-primary]')].map(box),
    wide: document.documentElement.scrollWidth > innerWidth,
    height: innerHeight,
  };
}"""


def places(page: Page) -> dict[str, Any]:
    return page.evaluate(PLACES)


def go_on(page: Page) -> None:
    with asking(page):
        page.get_by_role("button", name=re.compile("^(arrow_forward )?Continue")).click()


def is_in_one_screen(found: dict[str, Any]) -> bool:
    """Say whether the figure is seen, right of the words and under its controls."""
    first = found["figures"][0]
    seen = min(first["y"] + first["height"], found["height"]) - max(first["y"], 0)
    above = all(box["y"] >= 0 and box["y"] + box["height"] <= first["y"] + 8 for box in found["controls"])
    return seen >= IN_SIGHT * first["height"] and above and found["words"]["x"] + found["words"]["width"] <= first["x"]


@pytest.mark.parametrize("slug", LESSONS)
def test_on_a_projector_figure_words_and_controls_are_in_sight_together_and_can_be_read_in_both_themes(
    app: str, open_page: Opener, slug: str
) -> None:
    page = open_page(f"{app}/lesson_{slug}", "projector")
    with asking(page):
        page.get_by_test_id("stRadio").locator("label").nth(1).click()
    for beat in BEATS:
        found = places(page)
        assert is_in_one_screen(found), (beat, found)
        assert not found["wide"], beat
        assert faults_on(page) == NO_FAULTS, beat
        if beat == "See":
            for scheme in ("dark", "light"):
                page.emulate_media(color_scheme=scheme)
                settle(page)
                assert barriers_on(page) == []
        if beat != BEATS[-1]:
            go_on(page)


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


def test_the_keyboard_goes_through_a_lesson_with_one_key(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_clipping")
    page.get_by_role("button", name=re.compile("Continue")).focus()
    for beat in BEATS[1:]:
        assert page.evaluate("document.activeElement.innerText").endswith(f"Continue: {beat}")
        with asking(page):
            page.keyboard.press("Enter")
    assert "Next" in page.evaluate("document.activeElement.innerText")
    with asking(page):
        page.keyboard.press("Enter")
    assert "/lesson_rounding" in page.url


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
