"""Lessons on a projector by keyboard alone: predict, act, answer, and take the record away at the end."""

from __future__ import annotations

import itertools
import pathlib
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from explorer.lessons import LESSONS
from explorer.lessons.framework.model import BEATS
from tests.browser.conftest import NO_FAULTS, asking, barriers_on, faults_on, settle
from tests.browser.sight import is_in_one_screen, places

pytestmark = pytest.mark.browser
TABS = 80  # more than there are places to stop at
SEED, DRAWN = 6, 4  # clipping, which asks for a place, is among those that this seed draws

FOCUSED = """() => {
  let found = document.activeElement;
  while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
  const said = found.closest('label')?.innerText ?? found.getAttribute('aria-label') ?? found.innerText ?? '';
  return { kind: `${found.localName} ${found.getAttribute('role') ?? found.type ?? ''}`, said: said.trim(),
           place: found.getBoundingClientRect().toJSON() };
}"""
SHOWS_FOCUS = """async () => {
  let found = document.activeElement;
  while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
  const outer = found.closest('label') ?? found;
  const frame = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const look = () => JSON.stringify([outer, ...outer.querySelectorAll('*')].map(getComputedStyle)
    .map(style => [style.outline, style.boxShadow, style.borderColor, style.backgroundColor]));
  await frame();
  const focused = look();
  found.blur();
  await frame();
  const plain = look();
  found.focus();
  await frame();
  return focused !== plain && found.matches(':focus');
}"""
NUMBERS_BESIDE = """() => {
  const main = document.querySelector('[data-testid=stMain]').cloneNode(true);
  main.querySelectorAll('[data-testid=stRadio] [role=radiogroup], .xtick, .ytick, style, .modebar')
    .forEach(each => each.remove());
  const alt = [...main.querySelectorAll('[aria-label]')].map(each => each.getAttribute('aria-label'));
  return [main.textContent, ...alt].join(' ¶ ');
}"""
NUMBER = re.compile(r"[−-]?\d[\d,]*(?:\.\d+)?(?:·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?")


class Walker:
    """What someone does who has a keyboard, and where they find a fault."""

    def __init__(self, page: Page, patient: bool) -> None:
        """Begin where the page is; someone who is `patient` waits a minute for what lesson 11 asks about."""
        self.page, self.patient = page, patient
        self.faults: list[tuple[object, ...]] = []
        self.verdicts: set[bool] = set()
        self.schemes = itertools.cycle(["dark", "light"])

    def focused(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate(FOCUSED)
        return found

    def go_to(self, kind: str, said: str = "", back: bool = False) -> str:
        """Go with Tab, or back, to the next thing of a kind that says something, and note if it is not seen there."""
        for _ in range(TABS):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            found = self.focused()
            if re.search(kind, found["kind"]) and re.search(said, found["said"]):
                break
        else:
            raise AssertionError(f"no {kind} {said!r} can be reached on {self.page.url}")
        box = found["place"]
        if box["top"] < 0 or box["bottom"] > self.page.viewport_size["height"] + 1:
            self.faults.append(("out of sight", self.page.url, found))
        if not self.page.evaluate(SHOWS_FOCUS):
            self.faults.append(("focus is not seen", self.page.url, found))
        return str(found["said"])

    def press(self, key: str) -> None:
        with asking(self.page):
            self.page.keyboard.press(key)

    def predict(self) -> str:
        """Predict what the second option says, and return it."""
        self.go_to("input radio")
        self.press("Space")
        self.press("ArrowDown")
        return str(self.focused()["said"])

    def act(self, slug: str) -> None:
        """Move the first slider, or where there is none press a setting; the address then says it."""
        if slug == "formats":
            self.go_to("button", re.escape(LESSONS[slug].prose.presets[1].label), back=True)
            self.press("Enter")
        else:
            self.go_to("range|slider")
            self.press("ArrowRight" if self.focused()["kind"].endswith("range") else "PageUp")
        if f"{slug}_" not in self.page.url.split("_beat")[-1]:
            self.faults.append(("the address does not follow", self.page.url))

    def go_on(self) -> None:
        """Continue; the focus stays on the button."""
        before = self.go_to("button", "Continue")
        self.press("Enter")
        self.page.wait_for_function(f"before => ({FOCUSED})().said !== before", arg=before)
        after = self.focused()["said"]
        if not re.search("Continue|Next|record", after):
            self.faults.append(("focus is lost", self.page.url, before, after))

    def answer(self, slug: str) -> str:
        """Answer until it is right, and return how the answer is told."""
        if slug == "clipping":
            return self.place()
        if slug == "compensation":
            self.go_to("button", "Start the methods")
            if not self.patient:
                return ""
            self.press("Enter")
            expect(self.page.get_by_test_id("stRadio")).to_be_visible()
        return self.choose()

    def place(self) -> str:
        """Answer with a place that is wrong, and then with the one that a calibrator picks, which shows afterwards."""
        self.go_to("button", "Check my β")
        self.press("Enter")
        self.judged(right=False)
        mark = self.go_to("button", "least MSE")
        self.press("Enter")
        if self.focused()["said"] != mark:
            self.faults.append(("focus is lost", self.page.url, mark))
        said = self.go_to("button", "Check my β", back=True)
        self.press("Enter")
        self.judged(right=True)
        return said.split("= ")[1]

    def choose(self) -> str:
        """Go through the options until one is right; it must not have stood on the page."""
        beside = set(NUMBER.findall(self.page.evaluate(NUMBERS_BESIDE)))
        self.go_to("input radio")
        self.press("Space")
        while not self.page.get_by_test_id("stAlertContentSuccess").count():
            self.judged(right=False)
            self.press("ArrowDown")
        self.judged(right=True)
        right = str(self.focused()["said"])
        number = NUMBER.match(right)  # where options are words, they may stand on the page
        if number and number.group() in beside:
            self.faults.append(("the answer stood on the page", self.page.url, right))
        return right

    def judged(self, right: bool) -> None:
        """Find just one verdict, and keep which there were."""
        expect(self.page.get_by_test_id(f"stAlertContent{'Success' if right else 'Warning'}")).to_have_count(1)
        self.verdicts.add(right)

    def look(self) -> None:
        """Note what of the step is not in sight, and what could not be read at the result, in a theme by turns."""
        found = places(self.page)
        if not is_in_one_screen(found):
            self.faults.append(("not in one screen", self.page.url, found))
        if found["wide"] or faults_on(self.page) != NO_FAULTS:
            self.faults.append(("faults", self.page.url, found["wide"], faults_on(self.page)))
        if self.page.url.endswith("See") or "=See&" in self.page.url:
            scheme = next(self.schemes)
            self.page.emulate_media(color_scheme=scheme)
            settle(self.page)
            self.faults += [(scheme, self.page.url, barrier) for barrier in barriers_on(self.page)]

    def done(self) -> dict[str, Any]:
        """Return what of the lesson is done, as the page shows it."""
        steps = self.page.get_by_role("radiogroup", name="Step").get_by_role("radio").all_inner_texts()
        said = self.page.get_by_test_id("stAlert").all_inner_texts()
        chosen = self.page.locator("[data-testid=stRadio] input:checked").count()
        return {"steps": steps, "said": said, "chosen": chosen}


def slugs_by_seed() -> list[str]:
    """Return some lessons in their order."""
    drawn = random.Random(SEED).sample(list(LESSONS), DRAWN)
    return [slug for slug in LESSONS if slug in drawn]


@pytest.mark.parametrize("slugs", [slugs_by_seed(), pytest.param(list(LESSONS), marks=pytest.mark.full)])
def test_lessons_are_walked_by_keyboard_and_the_record_says_what_was_predicted_and_answered(
    app: str, open_page: Callable[..., Page], tmp_path: pathlib.Path, pytestconfig: pytest.Config, slugs: list[str]
) -> None:
    page = open_page(f"{app}/lesson_{slugs[0]}", "projector")
    walker = Walker(page, patient=pytestconfig.getoption("--full"))
    told: dict[str, tuple[str, str]] = {}
    for slug in slugs:
        if f"lesson_{slug}" not in page.url:
            page.goto(f"{app}/lesson_{slug}")
            settle(page)
        walker.look()
        predicted = walker.predict()
        for beat in BEATS[1:]:
            walker.go_on()
            walker.look()
            if beat == "Try":
                walker.act(slug)
        told[slug] = predicted, walker.answer(slug)
        if slug == slugs[len(slugs) // 2 - 1]:
            before = walker.done()
            page.goto(page.url)  # a new session, which knows what the browser kept
            expect(page.get_by_test_id("stAlertContentSuccess")).to_be_visible()
            settle(page)
            assert walker.done() == before
        if slug != slugs[-1]:
            walker.go_to("button", "Next")
            walker.press("Enter")
            page.wait_for_url(f"**/lesson_{list(LESSONS)[LESSONS[slug].number]}*")
    walker.go_to("button", "My record")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    waiting.value.save_as(tmp_path / "record.md")
    record = (tmp_path / "record.md").read_text(encoding="utf-8").split("\n## ")
    assert walker.faults == []
    assert walker.verdicts == {False, True}
    for said, (slug, (predicted, answered)) in zip(record[1:], told.items(), strict=True):
        assert said.startswith(f"{LESSONS[slug].number} {LESSONS[slug].prose.title}")
        assert f"Steps done: {', '.join(BEATS if answered else BEATS[:-1])}" in said
        assert f"You predicted: {predicted}" in said
        assert f"Answered: {answered} (right)" in said or not answered
