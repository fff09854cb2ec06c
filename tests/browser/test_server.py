"""The server as its own protocol shows it: every page, every control, and a log that stays empty."""

from __future__ import annotations

import pathlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.language import read_words
from explorer.page_table import PAGES
from tests.browser.conftest import PATIENCE, ROOT, free_port, serve, settle, wait_for
from tools.measure_memory import random_link, status
from tools.session import Session

NAMES = [page.script.removesuffix(".py") for pages in PAGES.values() for page in pages]
SEED, DRAWN = 2, 7  # pages whose controls are moved; with --full, of all
BANNER = re.compile(r"\s*|.*(You can now view your|URL:).*")
PINS = (
    "default|granularity:channel,clipping:least MSE|format:float,scales:E4M3,granularity:sub-channel,group:16|"
    "format:GGUF"
)
LOSS = "ForwardMsg MISS"
MAX_MIB = 1200  # that a class of thirty may take; `tools/measure_memory.py` opens 150 links


ENDING = """
import itertools
import streamlit as st
from explorer.background import live

asked = st.session_state.setdefault("asked", itertools.count())
live(lambda: None, lambda: next(asked) < 5)
st.text(f"asked {next(asked)} times")
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("elsewhere") / "server.log"


@pytest.fixture(scope="module")
def server(log: pathlib.Path) -> Iterator[str]:
    """Run the app from a folder that is not the project's, as anybody may."""
    entry, address = str(ROOT / "explorer" / "app.py"), "--server.address=127.0.0.1"
    command = [sys.executable, "-m", "streamlit", "run", entry, "--server.headless=true", address]
    yield from serve(command, log, cwd=log.parent)


def test_every_page_answers_at_its_name_and_controls_move_with_nothing_in_the_log(
    server: str, log: pathlib.Path, pytestconfig: pytest.Config
) -> None:
    moved = NAMES if pytestconfig.getoption("--full") else random.Random(SEED).sample(NAMES, DRAWN)
    for name in NAMES:
        with Session(server, name) as session:
            session.open()
            assert session.found, f"{name} is not found"
            if name in moved:
                session.move_every_control()
            assert not session.exceptions, name
            assert not session.references, f"{name}: a message is sent by reference"
    written = [line for line in log.read_text().splitlines() if not BANNER.fullmatch(line)]
    assert written == []


def test_behind_a_proxy_nobody_names_files_of_the_machine(server: str) -> None:
    with Session(server, "open") as own, Session(server, "open", headers={"X-Forwarded-For": "203.0.113.7"}) as other:
        own.open()
        other.open()
        said = read_words("open")
        assert own.labels & {said["name"], said["path"]}
        assert not other.labels & {said["name"], said["path"]}


def test_memory_is_bounded_after_every_page_and_random_links(server: str) -> None:
    rng = random.Random(1)
    for _ in range(6):
        with Session(server, "", random_link(rng)) as session:
            session.open()
    held: list[int] = []
    for _ in range(60):  # what is still under way has memory of its own, and gives it back
        found = re.search(r"memory ([\d,]+) MiB", status(server))
        assert found
        held.append(int(found[1].replace(",", "")))
        if held[-1] <= MAX_MIB:
            return
        time.sleep(1)
    raise AssertionError(f"memory in MiB, second by second: {held}")


def test_bits_stepped_with_pins_on_the_page_do_not_end_the_connection(
    server: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{server}/playground?model=fashion-depthwise&tensor=stem&play_pins={PINS.replace('|', '%7C')}")
    page.get_by_role("slider", name="Bits").focus()
    for key in ["ArrowRight"] * 6 + ["ArrowLeft"] * 8:
        page.keyboard.press(key)
        page.wait_for_timeout(250)
    settle(page)
    assert LOSS not in page.content()
    expect(page.get_by_role("slider", name="Bits")).to_be_enabled()
    expect(page.get_by_role("slider", name="Bits")).to_have_value("2")
    expect(page).to_have_url(re.compile("play_bits=2"))


def test_a_server_that_is_killed_says_so_and_is_met_where_one_was_when_it_is_back(
    tmp_path: pathlib.Path, browser: Browser
) -> None:
    port, log = free_port(), tmp_path / "server.log"
    command = [sys.executable, "-m", "explorer.cli", "--headless", "--host", "127.0.0.1", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"

    @contextmanager
    def running() -> Iterator[None]:
        with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as server:
            try:
                wait_for(address, server, log)
                yield
            finally:
                server.kill()

    with running():
        page = browser.new_page()
        page.goto(f"{address}/playground?model=fashion-depthwise&tensor=pw1")
        settle(page)
        bits = page.get_by_role("slider", name="Bits")
        bits.focus()
        page.keyboard.press("ArrowRight")
        settle(page)
        expect(page).to_have_url(re.compile("play_bits=5"))
        before = page.locator("[data-testid=stMetricValue]").all_inner_texts()
    expect(page.get_by_text("Connection error")).to_be_visible(timeout=PATIENCE)
    with running():
        expect(page.get_by_text("Connection error")).not_to_be_visible(timeout=PATIENCE)
        settle(page)
        expect(bits).to_have_value("5")
        assert page.locator("[data-testid=stMetricValue]").all_inner_texts() == before
        bits.focus()
        page.keyboard.press("ArrowRight")
        expect(page).to_have_url(re.compile("tensor=pw1.*play_bits=6|play_bits=6.*tensor=pw1"))
    page.close()


def test_work_that_ends_during_a_look_at_it_is_seen_in_that_look(tmp_path: pathlib.Path) -> None:
    """The page asks twice as it opens, once at the end of a look, and then on until that stays no longer."""
    (script := tmp_path / "page.py").write_text(ENDING)
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"]
    for address in serve(command, tmp_path / "log", cwd=ROOT):
        with Session(address, "") as session:
            session.open()
            session.let_run()
            assert session.texts == ["asked 2 times", "asked 8 times"]
