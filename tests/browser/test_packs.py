"""Journeys with real models, whose packs are installed once into the person's own cache."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from quant_engine.packs import PACKS, folder_of, install
from tests.browser.conftest import NO_FAULTS, faults_on, photograph, serve_source, settle
from tests.conftest import PACKS_CACHE

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
FIRST_ROW = {"x": 60, "y": 35 + 17}
MINUTES = 600_000  # milliseconds, for measuring all layers of a real model


@pytest.fixture(scope="module")
def packs_home() -> Iterator[Callable[[str], Path]]:
    """Return what installs a pack into the person's cache if it is not yet, and tells its folder."""
    with pytest.MonkeyPatch.context() as patch:
        if PACKS_CACHE:
            patch.setenv("QUANT_EXPLORER_CACHE", PACKS_CACHE)
        else:
            patch.delenv("QUANT_EXPLORER_CACHE")

        def installed(name: str) -> Path:
            for _ in install(PACKS[name]):
                pass
            return folder_of(PACKS[name])

        yield installed


@pytest.fixture(scope="module")
def app_with_packs(packs_home: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server that offers the text recogniser and MiniLM."""
    for name in ("ocr", "minilm"):
        packs_home(name)
    yield from serve_source(tmp_path_factory.mktemp("packs") / "server.log")


def choose_first_row(page: Page) -> None:
    page.get_by_test_id("stDataFrame").first.locator(".dvn-scroller").click(position=FIRST_ROW)


def test_a_gguf_is_dropped_and_the_scales_that_it_stores_stand_over_the_weights(
    app: str, open_page: Opener, packs_home: Callable[[str], Path]
) -> None:
    page = open_page(f"{app}/open", "projector")
    [file] = packs_home("smollm2").glob("*.gguf")
    page.locator("input[type=file]").set_input_files(file)
    page.wait_for_url(re.compile(r"/inspector\?"))
    page.get_by_role("textbox", name="Search").fill("blk.0.ffn_down")
    page.keyboard.press("Enter")
    settle(page)
    choose_first_row(page)
    expect(page.get_by_role("heading", name="Why is blk.0.ffn_down.weight hard?")).to_be_visible()
    page.get_by_role("link", name="Open in the playground").click()
    page.wait_for_url(re.compile(r"/playground\?"))
    expect(page.get_by_text(re.compile("^Stored as Q4_1, 5 bits a value"))).to_be_visible()
    page.get_by_role("combobox", name="Levels").click()
    page.get_by_role("option", name="as stored").click()
    expect(page.get_by_text(re.compile("^Block 0 stores scale .* minimum .*: 16 levels from"))).to_be_visible()
    expect(page.get_by_text("∞ dB")).to_be_visible()  # what is stored is what it stands for
    settle(page)
    assert faults_on(page) == NO_FAULTS
    photograph(page, "journey-gguf-stored-projector")


@pytest.mark.full
@pytest.mark.parametrize(
    ("model", "bits", "culprits"),
    [
        ("ocr", 8, ["conv2d_180.w_0"]),
        (
            "minilm",
            4,
            [
                "embeddings.word_embeddings",
                "embeddings.position_embeddings",
                "encoder.layer.0.intermediate.dense",
            ],
        ),
    ],
)
def test_the_layers_that_break_a_real_model_are_measured_and_come_first(
    app_with_packs: str, open_page: Opener, model: str, bits: int, culprits: list[str]
) -> None:
    page = open_page(f"{app_with_packs}/inspector?model={model}&play_bits={bits}", "projector")
    page.get_by_role("button", name=re.compile("^Measure damage")).click()
    expect(page.get_by_text("Rank correlation")).to_be_visible(timeout=MINUTES)
    settle(page)
    choose_first_row(page)
    heading = page.get_by_role("heading", name=re.compile("^Why is"))
    first = re.compile(f"^Why is ({'|'.join(map(re.escape, culprits))}) hard")
    expect(heading).to_have_text(first)
    photograph(page, f"journey-{model}-projector")
    assert faults_on(page) == NO_FAULTS
