"""Every number format in the playground and its instrument, and methods compared, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from explorer.payloads import InstrumentSetting
from quant_engine import (
    E2M1,
    E4M3,
    E8M0,
    NF4,
    BlockFormat,
    FixedRange,
    KMeans,
    PerGroup,
    QuantizerSpec,
    fit,
    power_of_two,
)
from tests.browser.conftest import NO_FAULTS, faults_on, forms_of, metrics, photograph, settle
from tests.browser.test_instrument import arithmetic, await_setting, confirmed, grip, numbers, tensors
from tests.browser.test_playground import assert_shows

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]
listed = arithmetic  # a fixture is known by the name it has here


@pytest.mark.parametrize("name", list(tensors()))
@pytest.mark.parametrize("form", [NF4, E2M1, E4M3, power_of_two(4)], ids=str)
def test_listed_codewords_agree_with_the_engine_to_one_per_cent(listed: Callable, name: str, form: object) -> None:
    x = tensors()[name].reshape(-1)
    largest, sigma = float(np.abs(x).max()), float(x.std())
    clips = (largest, 4 * sigma, 2.5 * sigma)
    values = form.values().tolist()
    settings = [
        InstrumentSetting(form.bits, True, False, True, -clip, clip, "x", values, max(values)) for clip in clips
    ]
    for clip, found in zip(clips, listed(x, settings), strict=True):
        quantizer = fit(x, QuantizerSpec(form, clipping=FixedRange(-clip, clip)))
        report = quantizer.measure(x)
        assert found["scale"] == pytest.approx(quantizer.scale.item(), rel=1e-6)
        assert found["mse"] == pytest.approx(report.mse, rel=0.01)
        assert found["clipping"] == pytest.approx(report.clipping_mse, rel=0.01, abs=0.002 * report.mse)
        assert found["count"] == pytest.approx(x.size)


def test_codewords_that_stand_as_they_are_need_no_range(listed: Callable) -> None:
    x = tensors()["conv3, value by value"].reshape(-1)
    quantizer = fit(x, QuantizerSpec(KMeans(8)))
    setting = InstrumentSetting(3, True, False, True, -1.0, 1.0, "x", quantizer.levels().tolist(), fixed=True)
    assert listed(x, [setting])[0]["mse"] == pytest.approx(quantizer.measure(x).mse, rel=1e-6)


@pytest.mark.parametrize(
    ("query", "spec"),
    [
        ("play_format=NF4", QuantizerSpec(NF4)),
        (
            "play_format=float&play_float=E2M1&play_granularity=sub-channel&play_scales=E8M0",
            QuantizerSpec(E2M1, PerGroup(32, remainder="short"), scale_format=E8M0),
        ),
        ("play_format=centroids&play_bits=3", QuantizerSpec(KMeans(8))),
        ("play_format=GGUF&play_gguf=Q5_1", QuantizerSpec(BlockFormat("Q5_1"), PerGroup(32, remainder="short"))),
    ],
)
def test_a_link_to_a_format_shows_the_engines_numbers(app: str, open_page: Opener, query: str, spec: object) -> None:
    page = open_page(f"{app}/playground?{query}")
    assert_shows(page, "fashion-cnn", "conv3", spec)
    assert faults_on(page) == NO_FAULTS


def test_a_hand_moves_the_scale_of_a_float(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?play_format=float")
    before, hi = numbers(page), confirmed(page)["hi"]
    expect(page.get_by_role("button", name="One bit less")).to_be_disabled()
    x, y = grip(page, "hi")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 90, y, steps=6)
    page.evaluate("new Promise(requestAnimationFrame)")
    assert numbers(page) != before
    page.mouse.up()
    await_setting(page, "hi", hi)
    assert "play_clipping=by+hand" in page.url
    assert "play_format=float" in page.url
    live = float(re.search(r"noise (\S+) dB", numbers(page)).group(1))  # type: ignore[union-attr]
    exact = float(re.search(r"SQNR (\S+) dB", page.get_by_text("Whole tensor, exact").inner_text()).group(1))  # type: ignore[union-attr]
    assert live == pytest.approx(exact, abs=0.11)


def test_formats_without_a_range_have_no_handles(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?play_format=centroids")
    expect(page.locator(".handle[data-end=hi]")).to_be_hidden()
    expect(page.get_by_role("combobox", name="Clipping")).to_have_count(0)
    expect(page.locator(".hint")).to_have_text("This format has no range to drag")


def test_methods_are_pinned_compared_and_shared_by_the_address(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground")
    page.get_by_role("button", name="Pin this setting").click()
    settle(page)
    page.get_by_role("button", name="Presets").click()
    page.get_by_role("button", name="NVFP4").click()
    settle(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Pin this setting").click()
    settle(page)
    rows = page.get_by_role("table").last.get_by_role("row")
    expect(rows).to_have_count(4)
    expect(rows.nth(3)).to_contain_text("E2M1, groups of 16, min–max, E4M3 scales")
    expect(rows.nth(3)).to_contain_text("%")
    assert "play_pins=" in page.url
    other = open_page(page.url)
    rows = other.get_by_role("table").last.get_by_role("row")
    expect(rows).to_have_count(4)
    expect(rows.nth(2)).to_contain_text("81.2 %")
    assert faults_on(other) == NO_FAULTS
    photograph(other, "compare-methods")


@pytest.mark.parametrize("form", ["desktop", "phone"])
def test_a_comparison_fits_every_window(app: str, open_page: Opener, form: str) -> None:
    page = open_page(
        f"{app}/playground?play_format=NF4&play_pins=bits:4,granularity:channel,clipping:least+MSE|format:GGUF", form
    )
    for shown in forms_of(page, form):
        assert faults_on(page) == NO_FAULTS
        photograph(page, f"compare-{shown}")


def test_a_preset_is_in_the_address_with_the_controls_it_makes_appear(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground")
    page.get_by_role("button", name="Presets").click()
    page.get_by_role("button", name="NVFP4").click()
    settle(page)
    shown = assert_bits(page, "4.502")
    for part in ("play_format=float", "play_scales=E4M3", "play_group=16", "play_granularity=sub-channel"):
        assert part in page.url
    page.reload()
    settle(page)
    assert assert_bits(page, "4.502") == shown


def test_a_control_is_taken_down_to_what_the_format_has(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?play_bits=12")
    page.get_by_role("combobox", name="Format").click()
    page.get_by_role("option", name="centroids", exact=True).click()
    settle(page)
    expect(page.get_by_role("slider", name="Bits")).to_have_value("8")
    assert "play_bits=8" in page.url


def assert_bits(page: Page, expected: str) -> dict[str, str]:
    found = metrics(page)
    assert found["Bits per value"] == expected
    return found
