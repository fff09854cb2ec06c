"""Links, calibrators and print of single lessons, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, faults_on, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def step(page: Page, beat: str) -> None:
    page.get_by_role("radiogroup", name="Step").get_by_text(beat, exact=True).click()
    settle(page)


def test_the_state_of_a_lesson_is_in_its_address(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_uniform")
    step(page, "Formula")
    page.get_by_role("slider", name="Bits").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    page.get_by_text("article", exact=True).click()
    settle(page)
    shown = page.locator(".katex").all_inner_texts()
    again = open_page(page.url)
    assert again.locator(".katex").all_inner_texts() == shown
    assert "Int" in "".join(shown)


def test_all_calibrators_stand_on_one_post_relu_activation(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_clipping?clipping_tensor=layer+inputs")
    page.get_by_test_id("stRadio").locator("label").nth(1).click()
    settle(page)
    step(page, "See")
    marks = page.locator(".marks button").all_inner_texts()
    assert {"min–max", "99.9 %", "99 %", "least MSE", "least KL", "ACIQ"} == set(marks)
    assert page.locator(".handle[data-end=lo]").is_hidden()  # no value is negative, and no code is spent there
    assert faults_on(page) == NO_FAULTS
    photograph(page, "calibrators-post-relu")


def test_a_lesson_prints_as_a_page_with_prediction_result_formula_and_figure_alone(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_bits")
    page.get_by_test_id("stRadio").locator("label").nth(1).click()
    settle(page)
    step(page, "See")
    page.get_by_text("The whole lesson, to print").click()
    expect(page.locator(".katex").first).to_be_visible()
    page.emulate_media(media="print")
    for part in ("stHeader", "stButtonGroup", "stSelectbox", "stSlider", "stBaseButton-primary"):
        assert not any(each.is_visible() for each in page.get_by_test_id(part).all()), part
    for part in (".katex", ".js-plotly-plot", "text=You predicted", "text=This tensor says"):
        assert page.locator(part).first.is_visible(), part
    page.emulate_media(media="screen")  # the tab is used again
