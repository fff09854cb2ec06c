"""Centroids in a real browser: their arithmetic beside the engine's, and what mouse, keys and fingers do to them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from explorer import notation
from explorer.buckets.mount import script
from explorer.payloads import InstrumentSetting, pack, statistics
from quant_engine import Distribution, KMeans, QuantizerSpec, fit
from quant_engine.distribution import linear_start, lloyd_steps
from quant_engine.network import load
from tests.browser.conftest import NO_FAULTS, asking, faults_on, forms_of, metrics, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]

LESSON = "lesson_centroids"
FOCUSED = "() => document.activeElement.shadowRoot?.activeElement?.getAttribute('aria-label')"
EVALUATE = """([bytes, codebooks]) => {
  const data = Uint8Array.from(atob(bytes), letter => letter.charCodeAt(0));
  const { header, payload } = unpack(data);
  const stats = statistics(payload, header.values);
  return codebooks.map(levels => {
    const quantizer = bucketQuantizer(levels);
    const { mse, counts } = evaluate(stats, quantizer);
    return { mse, counts: [...counts], means: bucketMeans(stats, quantizer) };
  });
}"""


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    heavy = rng.standard_normal(500_000).astype(np.float32)
    heavy[123] = 1000.0
    return {
        "conv3, value by value": load("fashion-cnn").weight("conv3"),
        "post-ReLU, half of it 0": np.maximum(rng.laplace(0.0, 1.0, 300_000), 0.0).astype(np.float32),
        "one huge outlier": heavy,
        "constant": np.full(1000, 0.25, np.float32),
        "two values": rng.choice([-1.0, 3.0], 1000).astype(np.float32),
    }


@pytest.fixture(scope="module")
def arithmetic(browser: Browser) -> Iterator[Callable[..., list[dict]]]:
    page = browser.new_page()
    page.add_script_tag(content=script().replace("export default function", "function mount"))

    def run(x: np.ndarray, codebooks: list[list[float]]) -> list[dict]:
        packed = pack(statistics(x, Distribution(x, exact=True)), InstrumentSetting(4, True, False, True, 0.0, 1.0), [])
        return page.evaluate(EVALUATE, [base64.b64encode(packed).decode(), codebooks])

    yield run
    page.close()


@pytest.mark.parametrize("name", list(tensors()))
@pytest.mark.parametrize("k", [2, 16, 32])
def test_errors_shares_and_means_agree_with_the_engine_to_one_per_cent(arithmetic: Callable, name: str, k: int) -> None:
    x = tensors()[name].reshape(-1)
    shown = Distribution(x, exact=True)
    steps = list(lloyd_steps(shown, linear_start(shown.lo - 0.1, shown.hi + 0.1, k)))
    chosen = [steps[at] for at in sorted({0, min(3, len(steps) - 1), len(steps) - 1})]
    for step, found in zip(chosen, arithmetic(x, [s.centroids.tolist() for s in chosen]), strict=True):
        assert found["mse"] == pytest.approx(step.mse, rel=0.01, abs=1e-12)
        assert sum(found["counts"]) == pytest.approx(x.size)
        assert found["counts"] == pytest.approx(step.counts.tolist(), abs=0.003 * x.size)
        bucket = np.searchsorted(step.thresholds, x.astype(np.float64))
        for number, mean in enumerate(found["means"]):
            inside = x[bucket == number].astype(np.float64)
            assert (mean is None) == (inside.size == 0)
            if inside.size:
                assert mean == pytest.approx(inside.mean(), rel=0.01, abs=0.003 * float(x.std()))


# --- what a person does -----------------------------------------------------------------------------------------------


def open_lesson(open_page: Opener, app: str, query: str = "", form: str = "desktop") -> Page:
    """Open the lesson with a prediction made, so that errors are shown."""
    page = open_page(f"{app}/{LESSON}?{query}", form)
    with asking(page):
        page.get_by_test_id("stRadio").locator("label").nth(1).click()
    return page


def handles(page: Page) -> Locator:
    return page.locator(".buckets .rail div")


def numbers(page: Page) -> str:
    return page.locator(".buckets dl.numbers").inner_text().replace("\n", " ")


def confirmed(page: Page) -> list[float]:
    """Return the centroids that the server confirmed last."""
    return json.loads(page.locator(".buckets canvas").get_attribute("data-shows") or "[]")


def await_other(page: Page, than: list[float]) -> list[float]:
    """Wait until the server has confirmed something new, and return it."""
    page.wait_for_function(
        """before => {
          const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
          const canvas = hosts.map(host => host.shadowRoot.querySelector('.buckets canvas')).find(Boolean);
          return canvas?.dataset.shows && JSON.stringify(JSON.parse(canvas.dataset.shows)) !== JSON.stringify(before);
        }""",
        arg=than,
    )
    settle(page)
    return confirmed(page)


def grip(page: Page, k: int) -> tuple[float, float]:
    handles(page).nth(k).scroll_into_view_if_needed()
    box = handles(page).nth(k).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def live_error(page: Page) -> str:
    return page.locator(".buckets [data-number=mse]").inner_text()


def test_buckets_follow_a_dragged_centroid_and_letting_go_tells_the_page(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app, "centroids_bits=3")
    before = confirmed(page)
    x, y = grip(page, 5)
    page.mouse.move(x, y)
    page.mouse.down()
    said = set()
    for step in range(1, 13):
        page.mouse.move(x - 3 * step, y)
        for _ in range(20):  # frames; a busy machine draws late
            page.evaluate("new Promise(requestAnimationFrame)")
            if numbers(page) not in said:
                break
        said.add(numbers(page))
    assert len(said) >= 9  # nearly every move shows numbers of its own
    assert confirmed(page) == before  # the server has heard nothing yet
    page.mouse.up()
    after = await_other(page, before)
    assert [k for k in range(8) if after[k] != pytest.approx(before[k], rel=1e-4)] == [5]
    assert after[5] < before[5]
    assert "centroids_start=by+hand" in page.url
    assert "centroids_hand=" in page.url
    assert live_error(page) == metrics(page)["MSE"]
    weights = load("fashion-cnn").weight("conv3").reshape(-1).astype(np.float64)
    levels = np.array(after)
    mse = float(np.mean((levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, weights)] - weights) ** 2))
    assert written(live_error(page)) == pytest.approx(mse, rel=0.01)
    again = open_lesson(open_page, page.url.split("/lesson_centroids")[0], page.url.split("?")[1])
    assert confirmed(again) == after
    assert faults_on(again) == NO_FAULTS


def written(text: str) -> float:
    """Read a number as the app writes it."""
    powers = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    mantissa, _, power = text.replace("−", "-").partition("·10")
    return float(mantissa) * 10 ** int(power.translate(powers) or 0)


def test_a_centroid_stops_at_its_neighbours(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app, "centroids_bits=2")
    before = confirmed(page)
    x, y = grip(page, 1)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 2000, y, steps=5)
    page.mouse.up()
    after = await_other(page, before)
    assert after == sorted(after)
    assert after[1] == pytest.approx(after[2], abs=0.01)


def test_keys_go_from_centroid_to_centroid_and_move_them(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app, "centroids_bits=2")
    before = confirmed(page)
    handles(page).nth(0).focus()
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "Centroid 1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.wait_for_timeout(800)  # in which it would have been told
    assert confirmed(page) == before
    page.keyboard.press("ArrowRight")
    coarse = await_other(page, before)
    assert page.evaluate(FOCUSED) == "Centroid 1"  # the page's answer leaves the focus where it is
    page.keyboard.press("Shift+ArrowRight")
    fine = await_other(page, coarse)
    assert (coarse[1] - before[1]) == pytest.approx(10 * (fine[1] - coarse[1]), rel=0.02)
    handle = handles(page).nth(1)
    assert float(handle.get_attribute("aria-valuenow") or 0) == fine[1]
    assert "%" in (handle.get_attribute("aria-valuetext") or "")
    assert "Mean squared error" in page.locator(".buckets .announce").inner_text()


def test_a_finger_drags_a_centroid_on_a_phone(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app, "centroids_bits=2", "phone")
    before = confirmed(page)
    x, y = grip(page, 3)
    session = page.context.new_cdp_session(page)
    for kind, at in (("touchStart", x), *(("touchMove", x - 8 * i) for i in range(1, 8)), ("touchEnd", None)):
        points = [] if at is None else [{"x": at, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    after = await_other(page, before)
    assert after[3] < before[3]
    assert after[:3] == pytest.approx(before[:3], rel=1e-4)
    assert live_error(page) == metrics(page)["MSE"]


def test_a_click_on_a_centroid_picks_its_bucket_for_the_formula(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app, "centroids_beat=Predict")
    page.get_by_role("radiogroup", name="Step").get_by_text("Formula", exact=True).click()
    settle(page)
    before = confirmed(page)
    page.mouse.click(*grip(page, 12))
    page.wait_for_function("location.search.includes('centroids_bucket=12')")
    settle(page)
    assert confirmed(page) == before
    assert "centroids_start" not in page.url
    assert any("12" in text for text in page.locator(".katex").all_inner_texts())


def test_lloyd_steps_to_its_end_and_another_start_begins_anew(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app)
    shown = Distribution(load("fashion-cnn").weight("conv3"), exact=True)
    steps = list(lloyd_steps(shown, linear_start(shown.lo, shown.hi, 16)))
    at = 0
    for label, far in (("One step", 1), ("Ten steps", 10), ("To the end", len(steps))):
        before = confirmed(page)
        page.get_by_role("button", name=label).click()
        found = await_other(page, before)
        at = min(at + far, len(steps) - 1)
        assert found == pytest.approx(steps[at].centroids.tolist(), rel=1e-9)
        assert written(live_error(page)) == pytest.approx(steps[at].mse, rel=0.01)
        expect(page.get_by_text(f"Step {at} of {len(steps) - 1}").first).to_be_visible()
    expect(page.get_by_text("and yet there is a better codebook").first).to_be_visible()
    page.get_by_role("combobox", name="Start").click()
    page.get_by_role("option", name="quantiles").click()
    settle(page)
    expect(page.get_by_text(re.compile("Step 0 of")).first).to_be_visible()


@pytest.mark.parametrize("form", ["desktop", "phone"])
def test_thirty_two_centroids_and_an_outlier_fit_every_window(app: str, open_page: Opener, form: str) -> None:
    query = "centroids_bits=5&centroids_tensor=synthetic+Gaussian&centroids_outlier=40&centroids_steps=20"
    page = open_lesson(open_page, app, query, form)
    assert faults_on(page) == NO_FAULTS
    page.get_by_role("button", name="Zoom in").click()
    assert handles(page).count() == 32
    for shown in forms_of(page, form):
        assert faults_on(page) == NO_FAULTS
        wide = page.locator(".buckets").evaluate("e => e.scrollWidth - e.clientWidth")
        assert wide <= 1
        photograph(page, f"centroids-outlier-{shown}")


def test_the_playground_goes_on_with_the_best_centroids(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app, "centroids_bits=3")
    page.get_by_role("link", name="Open in the playground").click()
    expect(page.get_by_role("slider", name="Bits")).to_have_value("3")
    settle(page)
    weights = load("fashion-cnn").weight("conv3")
    report = fit(weights, QuantizerSpec(KMeans(8))).measure(weights)
    assert metrics(page)["Greatest error"] == notation.short(report.max_abs)


def test_every_column_of_the_table_can_be_reached_on_a_phone(app: str, open_page: Opener) -> None:
    page = open_lesson(open_page, app, "", "phone")
    last = page.get_by_role("columnheader", name="all layers quantized")
    last.scroll_into_view_if_needed()
    box = last.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= page.viewport_size["width"]
