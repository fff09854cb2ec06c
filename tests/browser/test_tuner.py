"""The tuner in a real browser: a range is dragged, the score answers, and all of it is undone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NO_FAULTS, barriers_on, faults_on, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
NOTE_FILLED = """root => {
  window.filled = new Set();
  new MutationObserver(changes => changes.forEach(({ target }) =>
    window.filled.add(target.closest('tr')?.querySelector('.choose')?.textContent)))
    .observe(root.querySelector('tbody'), { subtree: true, childList: true });
}"""


def plan_score(page: Page) -> str:
    """Return the plan's score, once it is measured."""
    expect(page.locator("[class*=st-key-tuner_numbers_]")).to_be_visible()
    settle(page)
    return page.locator(".st-key-hero [data-testid=stMetricValue]").inner_text()


def row(page: Page, layer: str) -> Locator:
    return page.locator("tr").filter(has=page.get_by_role("button", name=layer, exact=True))


def test_a_range_is_dragged_the_score_answers_and_undo_takes_it_back(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/tuner?model=fashion-depthwise", "projector")
    before = plan_score(page)
    for part in (page.locator(".layers"), page.locator(".st-key-hero"), page.locator(".figure")):
        expect(part).to_be_in_viewport(ratio=0.8)
    page.locator(".layers").evaluate(NOTE_FILLED)
    box = page.locator(".handle[data-end=hi]").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + 31
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 160, y, steps=8)
    page.mouse.up()
    menu = row(page, "dw1").get_by_label("Range")
    expect(menu).to_have_value("by hand")
    dragged = plan_score(page)
    assert float(dragged.split()[0]) < float(before.split()[0]) - 5
    assert page.evaluate("[...window.filled]") == ["dw1"]  # a study that goes on leaves all other rows alone
    assert faults_on(page) == NO_FAULTS
    assert barriers_on(page) == []
    photograph(page, "tuner-projector")
    page.get_by_role("button", name=re.compile("Ctrl . Z")).first.click()
    expect(menu).to_have_value("min–max")
    assert plan_score(page) == before


def test_a_cell_is_set_for_all_layers_that_are_chosen_and_a_locked_one_stays(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/tuner?model=fashion-cnn", "phone")
    row(page, "conv1").get_by_role("checkbox").click()
    settle(page)
    row(page, "fc2").get_by_role("checkbox").click(modifiers=["Shift"])
    settle(page)
    row(page, "conv2").get_by_role("checkbox").click()
    settle(page)
    row(page, "conv2").get_by_role("button", name="Lock").click()
    expect(row(page, "conv2").get_by_label("Format")).to_be_disabled()
    row(page, "fc1").get_by_label("Format").select_option("int4")
    expect(row(page, "conv1").get_by_label("Format")).to_have_value("int4")
    assert row(page, "conv2").get_by_label("Format").input_value() == "int8"
    expect(page).to_have_url(re.compile("fc1"))
    row(page, "fc1").get_by_label("Scale for").select_option("groups of #")
    page.keyboard.type("48")
    page.keyboard.press("Enter")
    expect(row(page, "conv1").get_by_label("Scale for").locator("option:checked")).to_have_text("48 inputs")
    page.locator("th.number button").first.click()  # the least SQNR comes first
    cells = page.locator("tbody tr:not(.alike) td.number:nth-of-type(7)")
    expect(cells).to_have_text([re.compile(r"\d")] * 5)  # each is there once it is computed
    values = [float(text) for text in cells.all_inner_texts()]
    assert values == sorted(values)
    assert faults_on(page) == NO_FAULTS
    photograph(page, "tuner-phone")
