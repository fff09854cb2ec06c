"""A class in real browsers: a teacher with a projector, and three students, one on a phone that loses the network."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.teaching import kept
from explorer.teaching.access_key import kept_key
from explorer.teaching.builtin import question_named
from tests.browser.conftest import (
    FORMS,
    NO_FAULTS,
    ROOT,
    SCREENSHOTS,
    faults_on,
    free_port,
    wait_for,
)

pytestmark = pytest.mark.browser
WRONG = "<script>document.title = 'taken'</script>"
Class = tuple[str, str]


@pytest.fixture
def held(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Class]:
    """Hold a class of two questions; yield the server's address and the class's code."""
    monkeypatch.setenv("QUANT_EXPLORER_PROJECTS", str(tmp_path / "projects.sqlite"))
    code = kept.classes().open("Range", [question_named("best_range"), question_named("four_formats")], kept_key())
    port, log = free_port(), tmp_path / "server.log"
    command = [sys.executable, "-m", "explorer.cli", "class", "--headless", "--host=127.0.0.1", f"--port={port}"]
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ})
        try:
            wait_for(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}", code
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture
def students(browser: Browser) -> Iterator[list[Page]]:
    """Open three browsers of students, the first a phone; nothing may be logged as an error but a lost network."""
    faults: list[str] = []
    pages = []
    for form in ("phone", "dark", "desktop"):
        context = browser.new_context(**FORMS[form])
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
        pages.append(page)
    yield pages
    for page in pages:
        page.context.close()
    assert not faults


def join(page: Page, held: Class, name: str) -> None:
    page.goto(f"{held[0]}/join/{held[1]}")
    page.get_by_label("Nickname").fill(name)
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("heading", name="You are in")).to_be_visible()


def act(page: Page, action: str) -> None:
    page.locator(f".st-key-classroom_{action} button").click()
    expect(page.locator(f".st-key-classroom_{action} button")).to_have_count(0)


def take(page: Page, name: str) -> None:
    """Save a picture of a page as it is now, if pictures are asked for."""
    if SCREENSHOTS:
        page.screenshot(path=pathlib.Path(SCREENSHOTS) / f"{name}.png", full_page=True)


def test_a_class_of_three_goes_through_wrong_names_reloads_and_a_lost_network(
    held: Class, students: list[Page], open_page: Callable[..., Page]
) -> None:
    address, code = held
    teacher = open_page(f"{address}/class/enter?key={kept_key()}", "projector")
    assert "key" not in teacher.url
    teacher.locator(f".st-key-go_on_{code} button").click()
    expect(teacher.get_by_text("/join").first).to_be_visible()
    phone, wrong, other = students
    twin = other.context.new_page()  # a second window of one student, who presses Join in both
    twin.goto(f"{address}/join/{code}")
    for page, name in zip(students, ("Ada", WRONG, "Bob"), strict=True):
        join(page, held, name)
    twin.get_by_label("Nickname").fill("Bob")
    twin.get_by_role("button", name="Join").click()
    expect(twin.get_by_role("heading", name="You are in")).to_be_visible()
    twin.close()
    expect(wrong.locator("#who")).to_have_text(WRONG[:24])
    phone.reload()
    expect(phone.get_by_role("heading", name="You are in")).to_be_visible()
    expect(teacher.get_by_test_id("stMetricValue").first).to_have_text("3")  # neither joins anybody twice
    take(teacher, "class-lobby-projector")
    act(teacher, "begin")

    slider = phone.get_by_role("slider")
    for _ in range(30):
        slider.press("ArrowLeft")
    beta = float(slider.get_attribute("aria-valuenow") or 0)
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    phone.context.set_offline(True)
    phone.get_by_role("button", name="Send answer").click()
    expect(phone.get_by_text("Not sent yet")).to_be_visible()
    take(phone, "class-offline-phone")
    phone.context.set_offline(False)
    expect(phone.get_by_text("is saved")).to_be_visible()
    for page in (wrong, other):
        page.get_by_role("button", name="Send answer").click()
        expect(page.get_by_text("is saved")).to_be_visible()
    assert kept.classes().votes(code, 0)[1].count(pytest.approx(beta)) == 1
    expect(teacher.get_by_test_id("stMetricValue").nth(1)).to_have_text("3")

    for action in ("close", "spread"):
        act(teacher, action)
    expect(phone.get_by_text("How the class answered")).to_be_visible()
    expect(phone.locator(".truth")).to_have_count(0)
    act(teacher, "again")
    phone.reload()  # in mid-vote: the first answer is where the handle stands
    expect(phone.get_by_role("slider")).to_have_attribute("aria-valuenow", str(beta))
    phone.get_by_role("button", name="Send answer").click()
    expect(phone.get_by_text("is saved")).to_be_visible()
    act(teacher, "reveal")
    expect(phone.locator("svg .truth").first).to_be_attached()
    take(phone, "class-revealed-phone")
    take(wrong, "class-revealed-dark")
    expect(teacher.locator(".js-plotly-plot")).to_be_visible()
    expect(teacher.get_by_text("times smaller")).to_be_visible()
    assert faults_on(teacher) == NO_FAULTS  # it never settles: it follows the class
    take(teacher, "class-revealed-projector")

    teacher.keyboard.press("q")
    expect(other.get_by_role("radio")).to_have_count(4)
    other.get_by_role("radio").nth(1).click()
    expect(other.get_by_role("radio").nth(1)).to_be_checked()
    expect(teacher.get_by_test_id("stMetricValue").nth(1)).to_have_text("1")
    assert re.search("script", teacher.inner_text("body")) is None
    assert wrong.title() == "Quant Explorer"
    teacher.locator(".st-key-classroom_end button").first.click()
    teacher.get_by_role("button", name="Delete class and answers").click()
    expect(other.get_by_role("heading", name="The class has ended")).to_be_visible()
    assert kept.classes().totals() == (0, 0)
