"""A lesson as a student does it, in a real browser; and every lesson photographed in every form."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from explorer import notation
from quant_engine import IntFormat, QuantizerSpec, fit
from quant_engine.network import load
from tests.browser.conftest import NO_FAULTS, faults_on, metrics, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def step(page: Page, beat: str) -> None:
    page.get_by_role("radiogroup", name="Step").get_by_text(beat, exact=True).click()
    settle(page)


def choose(page: Page, label: str) -> None:
    page.get_by_test_id("stRadio").get_by_text(label, exact=True).click()
    settle(page)


def test_a_student_predicts_acts_sees_answers_and_goes_on_in_the_playground(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_bits?bits_bits=8")
    assert metrics(page)["Codes used"].startswith("?")
    choose(page, "All 256")
    page.get_by_role("button", name=re.compile("Continue: Try")).click()
    settle(page)
    page.get_by_role("button", name="8 bits").click()
    settle(page)
    assert metrics(page)["Codes used"] == f"{codes_used('conv3')} of 256"
    page.get_by_role("button", name=re.compile("Continue: See")).click()
    settle(page)
    expect(page.get_by_text("You predicted")).to_contain_text("All 256")
    expect(page.get_by_text(f"{codes_used('conv3')} of 256")).to_have_count(2)
    step(page, "Check")
    assert metrics(page)["Codes used"] == "? of 256"
    choose(page, "256")
    expect(page.get_by_text("Not all of them have a value nearby").first).to_be_visible()
    choose(page, str(codes_used("fc1")))
    expect(page.get_by_text(f"as many as codes are used, {codes_used('fc1')} of 256").first).to_be_visible()
    assert metrics(page)["Codes used"] == f"{codes_used('fc1')} of 256"
    step(page, "See")
    page.get_by_role("link", name="Open in the playground").click()
    expect(page.get_by_role("slider", name="Bits")).to_have_value("8")
    settle(page)
    x = load("fashion-cnn").weight("conv3")
    assert metrics(page)["Greatest error"] == notation.short(fit(x, QuantizerSpec(IntFormat(8))).measure(x).max_abs)
    assert parse_qs(urlsplit(page.url).query)["play_bits"] == ["8"]


def codes_used(layer: str) -> int:
    x = load("fashion-cnn").weight(layer)
    return np.unique(np.rint(x / np.float32(np.abs(x).max() / 127))).size


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


def test_a_guess_is_scored_and_the_curve_appears(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_clipping?clipping_beat=Question")
    expect(page.get_by_text("The error curve is hidden").first).to_be_visible()
    page.get_by_role("button", name=re.compile("Check my β")).click()
    settle(page)
    expect(page.get_by_text("Too wide").first).to_be_visible()


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


def test_a_drag_in_a_lesson_moves_its_own_setting(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_clipping")
    page.get_by_role("slider", name="β, the upper end").focus()
    for _ in range(4):
        page.keyboard.press("PageDown")
    page.wait_for_function("location.search.includes('clipping_beta=')")
    settle(page)
    assert "play_" not in page.url


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
