"""Journeys with real models, whose packs are installed once into the person's own cache."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from playwright.sync_api import Locator, Page, expect

from quant_engine.network import load
from quant_engine.packs import PACKS, folder_of, install
from quant_engine.packs.ocr import FILE, text_lines
from tests.browser.conftest import (
    NO_FAULTS,
    ROOT,
    SCREENSHOTS,
    download,
    faults_on,
    metrics,
    photograph,
    serve,
    serve_source,
    settle,
)
from tests.conftest import PACKS_CACHE
from tests.packs.plans import lines_of_width

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
ROW, THUMB = 35, 12  # pixels, of a table and of a slider
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


def choose_row(page: Page, row: int = 0) -> None:
    """Click a row of the table of tensors, and so choose its tensor."""
    place = {"x": 60, "y": (row + 1) * ROW + ROW / 2}
    page.get_by_test_id("stDataFrame").first.locator(".dvn-scroller").click(position=place)


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
    choose_row(page)
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


def choose_bits(page: Page, bits: int) -> None:
    """Click where a number of bits is on its slider."""
    slider = page.get_by_test_id("stSlider").filter(has=page.get_by_role("slider", name="Bits"))
    thumb, track = slider.get_by_role("slider").locator("..").bounding_box(), slider.bounding_box()
    assert thumb is not None
    assert track is not None
    room = track["width"] - THUMB
    page.mouse.click(track["x"] + THUMB / 2 + room * (bits - 2) / 14, thumb["y"] + thumb["height"] / 2)
    expect(slider.get_by_role("slider")).to_have_value(str(bits))
    settle(page)


def shown(page: Page, column: str) -> dict[str, str]:
    """Return what the table of tensors shows in a column, by tensor, in its order."""
    rows = page.get_by_test_id("stDataFrame").first.locator("canvas tr")  # what the canvas shows, for screen readers
    rows.nth(1).wait_for(state="attached")
    texts = "all => all.map(row => [...row.children].map(one => one.textContent))"
    heads, *found = rows.evaluate_all(texts)
    return {row[0]: row[heads.index(column)] for row in found}


def most_kurtosis(file: Path) -> str:
    """Return which layer of a graph scipy gives the most kurtosis."""
    network = load(file)
    return max(network.layers(), key=lambda layer: scipy.stats.kurtosis(network.weight(layer), axis=None))


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server that this machine alone reaches, where graphs run; it remembers nothing."""
    entry, folder = str(ROOT / "explorer" / "app.py"), tmp_path_factory.mktemp("own")
    command = [sys.executable, "-m", "streamlit", "run", entry, "--server.headless=true", "--server.address=127.0.0.1"]
    yield from serve(command, folder / "log", cwd=ROOT, env={**os.environ, "QUANT_EXPLORER_CACHE": str(folder)})


@pytest.mark.full
def test_the_recognisers_file_is_dropped_and_three_clicks_lead_to_the_layer_that_breaks_it(
    own_server: str, open_page: Opener, packs_home: Callable[[str], Path], tmp_path: Path
) -> None:
    page = open_page(f"{own_server}/open", "projector")
    file = packs_home("ocr") / FILE
    np.savez(tmp_path / "lines.npz", x=lines_of_width(160))
    page.locator("input[type=file]").set_input_files([file, tmp_path / "lines.npz"])
    page.wait_for_url(re.compile(r"/inspector\?"))
    settle(page)
    choose_bits(page, 8)
    page.get_by_role("button", name=re.compile("^Measure damage")).click()
    expect(page.get_by_text("Rank correlation")).to_be_visible(timeout=MINUTES)
    settle(page)
    choose_row(page)
    expect(page.get_by_role("heading", name="Why is conv2d_180.w_0 hard?")).to_be_visible()
    assert faults_on(page) == NO_FAULTS
    first_screen(page, "journey-dropped-culprit")
    tailed, damages = most_kurtosis(file), shown(page, "KL alone")
    assert tailed == "conv2d_184.w_0"
    assert float(damages[tailed]) < float(damages["conv2d_180.w_0"]) / 2
    heading = page.get_by_role("heading", name=f"Why is {tailed} hard?")
    for _ in range(5):  # a click that a busy browser loses is made again
        choose_row(page, [*damages].index(tailed))
        with suppress(AssertionError):
            expect(heading).to_be_visible(timeout=20_000)
            break
    expect(heading).to_be_visible()
    expect(page.get_by_text(re.compile("^The largest value lies at 17[12] σ"))).to_be_visible()
    assert faults_on(page) == NO_FAULTS
    first_screen(page, "journey-dropped-kurtosis")


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
    choose_row(page)
    heading = page.get_by_role("heading", name=re.compile("^Why is"))
    first = re.compile(f"^Why is ({'|'.join(map(re.escape, culprits))}) hard")
    expect(heading).to_have_text(first)
    photograph(page, f"journey-{model}-projector")
    assert faults_on(page) == NO_FAULTS


def tool(page: Page, name: str) -> None:
    """Take one of the tuner's tools."""
    page.locator(".st-key-tuner_tool").get_by_text(name, exact=True).click()
    settle(page)


def score(page: Page) -> float:
    """Return the plan's score in per cent, once it is measured."""
    expect(page.locator("[class*=st-key-tuner_numbers_]")).to_be_visible(timeout=MINUTES)
    settle(page)
    return float(metrics(page)["Your plan"].split()[0])


def first_screen(page: Page, name: str) -> None:
    """Save what a projector shows as a picture, if pictures are asked for."""
    page.mouse.move(0, 0)
    settle(page)
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def read_outside(graph: Path, split: str, folder: Path) -> list[float]:
    """Return the per cent of a split's lines that onnxruntime reads right, without and with graph optimization."""
    lines = text_lines(split)
    arrays = {f"pixels{place}": pixels for place, (pixels, _) in enumerate(lines)}
    np.savez(folder / "lines.npz", texts=json.dumps([texts for _, texts in lines]), **arrays)
    script = Path(__file__).with_name("ocr_outside.py")
    command = [sys.executable, "-I", script, graph, folder / "lines.npz"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return [100 * float(share) for share in found.split()]


def break_and_mend(page: Page) -> float:
    """Find the layer that breaks the recogniser, mend it by its range, then by its scales; return the score then."""
    assert score(page) == 0
    tool(page, "Plans tried")
    page.get_by_role("button", name="Pin this plan").click()
    tool(page, "Culprits")
    page.get_by_role("button", name="Find the culprits").click()
    expect(page.locator(".st-key-tuner_mend")).to_be_visible(timeout=2 * MINUTES)
    first_screen(page, "journey-1-culprits")
    row = page.locator("tr").filter(has=page.get_by_role("button", name="conv2d_180.w_0", exact=True))
    row.get_by_role("button", name="conv2d_180.w_0", exact=True).click()
    drag_inwards(page, row.get_by_label("Range"))
    clipped = score(page)
    assert clipped > 50
    first_screen(page, "journey-2-range")
    row.get_by_label("Scale for").select_option("channel")
    expect(row.get_by_label("Range")).to_have_value("min–max")
    spared = score(page)
    assert clipped < spared
    first_screen(page, "journey-3-channel")
    return spared


def drag_inwards(page: Page, menu: Locator) -> None:
    """Drag the upper end of the range of the layer shown, until its menu says that it is set by hand."""
    for _ in range(5):
        settle(page)
        box = page.locator(".handle[data-end=hi]").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + 31
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 190, y, steps=8)
        page.mouse.up()
        with suppress(AssertionError):  # a handle that was drawn anew meanwhile loses it
            expect(menu).to_have_value("by hand", timeout=20_000)
            return
    raise AssertionError("the range cannot be dragged")


def compare_pins(page: Page, mended: float) -> None:
    """Pin the plan as B, beside A, and compare both on test data on page *Compare*; go back to the tuner."""
    tool(page, "Plans tried")
    page.get_by_role("button", name="Pin this plan").click()
    told = page.get_by_text(re.compile("From A to your plan: .* samples fixed, 0 broken"))
    expect(told).to_be_visible(timeout=MINUTES)
    first_screen(page, "journey-4-pins")
    page.get_by_role("link", name="Compare weight by weight").click()
    page.wait_for_url(re.compile(r"/compare\?"))
    page.get_by_role("button", name=re.compile("^Measure both on")).click()
    hero = page.locator(".st-key-hero").get_by_test_id("stMetricValue")
    expect(hero).to_have_text(re.compile("^0.* → "), timeout=MINUTES)
    expect(page.get_by_text(re.compile("fixed, 0 broken"))).to_be_visible()
    first_screen(page, "journey-5-compare")
    assert float(hero.inner_text().split("→")[1].split()[0]) == pytest.approx(mended, abs=10)  # other lines
    page.go_back()
    page.wait_for_url(re.compile(r"/tuner\?"))
    assert score(page) == mended


def bits_a_weight(page: Page) -> float:
    """Return what a weight takes under the plan, as the size says."""
    note = page.get_by_test_id("stMetricDelta").filter(has_text="bits a weight")
    return float(note.inner_text().split()[0])


def plan_within(page: Page, bits: float) -> tuple[float, float]:
    """Search plans along a budget, take the best within so many bits and test it; return both its scores."""
    tool(page, "Budget")
    sharing = page.get_by_test_id("stButtonGroup").filter(has_text="64 inputs")
    sharing.get_by_text("a channel", exact=True).click()  # groups of 64 alone take half as long
    settle(page)
    page.get_by_role("button", name="Search plans along a budget").click()
    expect(page.locator(".st-key-tuner_take")).to_be_visible(timeout=4 * MINUTES)
    expect(page.get_by_text(re.compile(f"^The best plan measured within {bits:g}[.0]* bits"))).to_be_visible()
    settle(page)
    first_screen(page, "journey-6-budget")
    page.get_by_role("button", name="Take this plan").click()
    searched = score(page)
    assert bits_a_weight(page) <= bits
    page.get_by_role("button", name=re.compile("^Score the plan on")).click()
    told = page.get_by_text(re.compile(r"; float32 [\d.]+"))
    expect(told).to_be_visible(timeout=MINUTES)
    first_screen(page, "journey-7-tested")
    tested, plain = (float(found) for found in re.findall(r"([\d.]+)\s%", told.inner_text())[::3])
    assert tested >= plain - 2
    return searched, tested


@pytest.mark.full
def test_a_broken_recogniser_is_mended_by_hand_and_reads_as_well_outside(
    app_with_packs: str, open_page: Opener, tmp_path: Path
) -> None:
    page = open_page(f"{app_with_packs}/tuner?model=ocr", "projector")
    compare_pins(page, break_and_mend(page))
    searched, tested = plan_within(page, 5)
    tool(page, "Export")
    page.get_by_role("button", name="Write the file: ONNX (QDQ)").click()
    expect(page.get_by_role("button", name=re.compile("^Download"))).to_be_visible(timeout=MINUTES)
    first_screen(page, "journey-8-export")
    graph = download(page, re.compile("^Download"), tmp_path)
    for split, ours, line in (("search", searched, 100 / 64), ("test", tested, 100 / 120)):
        plain, optimized = read_outside(graph, split, tmp_path)
        assert plain == pytest.approx(ours, abs=0.05)
        assert optimized == pytest.approx(ours, abs=line + 0.05)  # it rounds otherwise, which decides a line at most
    assert faults_on(page) == NO_FAULTS
