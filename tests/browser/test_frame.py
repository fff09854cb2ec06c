"""What all pages share, in a real browser: navigation at the top, the link of a page, and a page shown to a class."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect

from explorer.language import read_words
from explorer.page_table import PAGES
from tests.browser.conftest import NO_FAULTS, asking, faults_on, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
VISIBLE = {group: [page.title for page in pages if not page.hidden] for group, pages in PAGES.items()}
FIRST_LINE = """() => {
  const header = document.querySelector('[data-testid=stHeader]').getBoundingClientRect().bottom;
  const within = document.querySelector('[data-testid=stMainBlockContainer]').querySelectorAll('p, h1, h2, label');
  const tops = [...within].filter(e => e.innerText && e.checkVisibility()).map(e => e.getBoundingClientRect().top);
  return Math.min(...tops) - header;
}"""
BESIDE = """() => {
  const parts = [...document.querySelectorAll('[data-testid=stTopNav] > :not([inert])')];
  const last = Math.max(...parts.map(part => part.getBoundingClientRect().right));
  return last <= document.querySelector('.toolbar').getBoundingClientRect().left;
}"""
FIGURE_TYPE = """() => Math.min(...[...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
  .flatMap(host => [...host.shadowRoot.querySelectorAll('canvas')])
  .filter(canvas => canvas.clientHeight)
  .map(canvas => parseFloat(getComputedStyle(canvas).fontSize) *
    canvas.getBoundingClientRect().width / canvas.offsetWidth))"""


def test_the_toolbar_lies_on_no_part_of_the_navigation(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/teach?lang=de", "projector")  # the longer words
    for width in (1024, 1280):  # the last is that of the form, whose tab goes on to other tests
        page.set_viewport_size({"width": width, "height": 720})
        page.wait_for_function(BESIDE)
    expect(page.locator("[data-testid=stTopNav] > :not([inert])").last).to_have_text(re.compile("Lehre"))  # none folded


@pytest.mark.parametrize("path", ["playground", "model_card", "lesson_clipping"])
def test_nothing_is_wasted_above_the_first_line(app: str, open_page: Opener, path: str) -> None:
    page = open_page(f"{app}/{path}", "projector")
    assert 0 <= page.evaluate(FIRST_LINE) <= 28  # 24, and what a line of text has above its letters
    assert page.get_by_test_id("stSidebar").count() == 0


def test_every_page_is_reached_from_the_top_and_from_a_phones_menu(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/model_card", "projector")
    for group in ("teach", "learn"):
        page.get_by_test_id("stHeader").get_by_text(read_words("frame")["groups"][group]).click()
        for title in (*VISIBLE[""], *VISIBLE[group]):
            expect(page.get_by_text(title, exact=True).first).to_be_visible()
    page.get_by_text("5 Clipping and calibration", exact=True).click()
    page.wait_for_url("**/lesson_clipping*")
    phone = open_page(f"{app}/model_card", "phone")
    phone.get_by_test_id("stExpandSidebarButton").click()
    for title in itertools.chain(*VISIBLE.values()):
        expect(phone.get_by_role("link", name=title, exact=True)).to_be_visible()


def test_the_link_that_is_copied_is_the_address_of_what_is_shown(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?tensor=fc1&play_bits=3")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    asked = parse_qs(urlsplit(link).query)
    assert (urlsplit(link).path, asked) == ("/playground", {"tensor": ["fc1"], "play_bits": ["3"]})


def test_what_is_chosen_goes_along_and_the_address_leads_to_what_is_shown(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_granularity")
    assert parse_qs(urlsplit(page.url).query)["model"] == ["fashion-depthwise"]  # the lesson's story
    page.goto(f"{app}/lesson_granularity?model=fashion-depthwise&tensor=pw3")
    settle(page)
    page.get_by_test_id("stTopNavLink").filter(has_text="Playground").click()
    settle(page)
    expect(page.get_by_role("combobox", name="Tensor")).to_have_value("pw3")
    assert parse_qs(urlsplit(page.url).query)["model"] == ["fashion-depthwise"]


@pytest.mark.parametrize(
    ("page_name", "asked"),
    [
        ("playground", {"model": ["fashion-depthwise"], "tensor": ["pw3"], "play_bits": ["3"]}),
        ("tuner", {"model": ["fashion-depthwise"], "Embed_Options": ["light_theme"]}),
        ("lesson_granularity", {"model": ["fashion-depthwise"], "tensor": ["dw2"], "granularity_bits": ["5"]}),
    ],
)
def test_the_browsers_back_shows_what_was_left(
    app: str, open_page: Opener, page_name: str, asked: dict[str, list[str]]
) -> None:
    page = open_page(f"{app}/{page_name}?{urlencode(asked, doseq=True)}")
    for title in ("Model card", "Playground", "Model card"):
        page.get_by_test_id("stTopNavLink").filter(has_text=title).click()
        page.wait_for_url(re.compile(title.lower().replace(" ", "_")))
        settle(page)
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="fashion-cnn", exact=True).click()
    settle(page)
    for name in ("playground", "model_card", page_name):
        page.go_back()
        page.wait_for_url(re.compile(name))
        settle(page)
    found = parse_qs(urlsplit(page.url).query)
    assert {key: found.get(key) for key in asked} == asked
    expect(page.get_by_role("combobox", name="Model")).to_have_value("fashion-depthwise")
    page.go_forward()
    page.wait_for_url(re.compile("model_card"))
    assert parse_qs(urlsplit(page.url).query)["model"] == ["fashion-depthwise"]


def test_a_page_is_presented_large_without_chrome_and_its_link_says_so(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground", "projector")
    before = page.evaluate(FIGURE_TYPE)
    with asking(page):
        page.get_by_role("button", name="Present").click()
    assert parse_qs(urlsplit(page.url).query)["present"] == ["1"]
    for shown in (page, open_page(page.url, "projector")):
        expect(shown.get_by_test_id("stHeader")).to_be_hidden()
        assert shown.evaluate(FIGURE_TYPE) >= 20 > before
        assert faults_on(shown) == NO_FAULTS
    with asking(page):
        page.keyboard.press("Escape")
    expect(page.get_by_test_id("stHeader")).to_be_visible()
    assert "present" not in page.url


def test_a_handle_follows_the_hand_where_the_figure_is_shown_larger(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?present=1", "projector")
    handle = page.locator(".handle[data-end=hi]")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + 60
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 200, y, steps=5)
    moved = handle.bounding_box()
    page.mouse.up()
    assert moved is not None
    assert abs(moved["x"] - (box["x"] - 200)) < 12  # where it may have snapped to a calibrator
    settle(page)


def test_the_address_follows_controls_also_after_a_notice_before_them_is_gone(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_granularity?granularity_bits=99", "projector")
    notice = page.get_by_test_id("stAlert").filter(has_text="99")
    expect(notice).to_be_visible()
    with asking(page):
        page.get_by_role("button", name="Present").click()
    with asking(page):
        page.keyboard.press("Escape")
    expect(notice).to_have_count(0)
    page.get_by_role("combobox", name="One scale for each").click()
    with asking(page):
        page.get_by_role("option", name="channel", exact=True).click()
    assert parse_qs(urlsplit(page.url).query).get("granularity_shared") == ["channel"]
