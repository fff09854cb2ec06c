"""The bits of a number in a real browser: codes and values equal to ml_dtypes', and what mouse, keys and typing do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from explorer.bits import described
from explorer.bits.mount import script
from explorer.lessons.formats.number_encodings import FLOATS, holders
from quant_engine import FixedPointFormat, IntFormat
from tests.browser.conftest import NO_FAULTS, asking, faults_on, forms_of, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]

PEERS = {
    "FP32": np.float32,
    "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "E5M2": ml_dtypes.float8_e5m2,
    "E4M3": ml_dtypes.float8_e4m3fn,
    "E3M2": ml_dtypes.float6_e3m2fn,
    "E2M3": ml_dtypes.float6_e2m3fn,
    "E2M1": ml_dtypes.float4_e2m1fn,
}


@pytest.fixture(scope="module")
def codes(browser: Browser) -> Iterator[Callable[..., list[float | None]]]:
    """Run one of the browser's functions over a list of numbers."""
    page = browser.new_page()
    page.add_script_tag(content=script().replace("export default function", "function mount"))

    def run(function: str, form: dict[str, object], numbers: np.ndarray) -> list[float | None]:
        return page.evaluate(f"([form, numbers]) => numbers.map(n => {function}(form, n))", [form, numbers.tolist()])

    yield run
    page.close()


def peer_codes(name: str, x: np.ndarray) -> np.ndarray:
    made = np.asarray(x, np.float32).astype(PEERS[name])
    return made.view(f"uint{8 * made.itemsize}")


def samples(name: str) -> np.ndarray:
    """Values of a format, all or many of them, with half-way cases and what lies next to these."""
    form, rng = FLOATS[name], np.random.default_rng(2)
    every = np.arange(1 << form.bits) if form.bits <= 8 else rng.integers(0, 1 << form.bits, 2000)
    values = form.decode(every.astype(np.int64))
    values = np.unique(values[np.isfinite(values)]).astype(np.float64)
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    found = np.concatenate([values.astype(np.float32), middles])
    return np.concatenate([found, np.nextafter(found, np.float32(np.inf)), [-0.0, 1e-45, -1e-45, 3e-8]])


@pytest.mark.parametrize("name", PEERS)
def test_the_browsers_codes_are_those_of_ml_dtypes(codes: Callable, name: str) -> None:
    x = samples(name)
    x = x[np.abs(x) <= FLOATS[name].highest].astype(np.float32)
    assert codes("encode", described(name, name, FLOATS[name]), x) == peer_codes(name, x).tolist()


@pytest.mark.parametrize("name", PEERS)
def test_the_browsers_values_are_those_of_ml_dtypes(codes: Callable, name: str) -> None:
    form = FLOATS[name]
    every = np.arange(1 << form.bits) if form.bits <= 16 else np.random.default_rng(3).integers(0, 1 << 32, 5000)
    stored = np.dtype(PEERS[name]).itemsize
    with np.errstate(invalid="ignore"):  # signalling NaN
        expected = every.astype(f"uint{8 * stored}").view(PEERS[name]).astype(np.float64)
    found = np.array(codes("decode", described(name, name, form), every), np.float64)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found)[~np.isnan(found)], np.signbit(expected)[~np.isnan(found)])


@pytest.mark.parametrize("name", list(holders(4, 0.01)))
def test_extreme_numbers_get_the_engines_code(codes: Callable, name: str) -> None:
    holder = holders(4, 0.01)[name]
    x = np.array([1e300, -1e300, np.inf, -np.inf, np.nan, 449.0, 65520.0, 3.5e38, 5e-324, 0.0, -0.0, 0.125, -2.5])
    expected = [holder.code(float(value)) for value in x]
    if isinstance(holder.format, IntFormat | FixedPointFormat):
        expected = [None if code is None else code % 256 for code in expected]
    assert codes("encode", described(name, name, holder.format, holder.step), x) == expected


# --- what a person does -----------------------------------------------------------------------------------------------


def cells(page: Page) -> Locator:
    return page.locator(".bits .cells button")


def pattern(page: Page) -> str:
    return "".join(cells(page).all_inner_texts())


def value(page: Page) -> str:
    return page.locator(".bits output").inner_text()


def row(page: Page, name: str) -> list[str]:
    return page.locator(f".bits tr[data-format='{name}'] td").all_inner_texts()


def type_number(page: Page, text: str) -> None:
    number_field(page).fill(text)


def number_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="A number")


def test_clicking_bits_answers_at_once_and_the_page_follows(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_beat=Formula&formats_number=1")
    assert pattern(page) == format(int(np.float16(1).view(np.uint16)), "016b")
    cells(page).nth(0).click()
    assert value(page) == "−1"
    for place in (5, 6, 15):
        cells(page).nth(place).click()
    expected = np.uint16(int(pattern(page), 2)).view(np.float16)
    assert value(page) == str(float(expected)).replace("-", "−")
    assert float(expected) == -(1 + 0.5 + 2**-10) / 2
    page.wait_for_function(f"location.search.includes('formats_number={expected}')")
    expect(page.locator(".katex").nth(1)).to_contain_text(f"= {expected:.9g}")


def test_bits_are_turned_by_keys_alone(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_format=E4M3&formats_number=7")
    number_field(page).focus()
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    page.keyboard.type("0")
    assert value(page) == "0"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert value(page) == "−0"
    expect(page.locator(".bits .kind")).to_have_text("−0")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    least = ml_dtypes.finfo(ml_dtypes.float8_e4m3fn).smallest_subnormal
    assert value(page) == f"−{float(least)}"
    expect(page.locator(".bits .kind")).to_have_text("subnormal")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    assert pattern(page) == "10001001"
    settle(page)
    assert page.evaluate("document.activeElement.shadowRoot?.activeElement?.dataset.place") == "3"  # no rerun took it


def test_a_typed_number_is_shown_in_every_format(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_part=Bits")
    type_number(page, "0.3")
    for name, peer in PEERS.items():
        stored = float(np.array(0.3, np.float32).astype(peer))
        assert row(page, name)[2] == str(stored)
        bits = format(int(peer_codes(name, np.array([0.3]))[0]), f"0{FLOATS[name].bits}b")
        assert row(page, name)[1].startswith(bits)
        if stored != 0.3:
            assert (
                float(row(page, name)[4].split()[0]) == pytest.approx(abs(stored - 0.3) / 0.3 * 100, rel=0.01)
                or "·" in row(page, name)[4]
            )
    assert row(page, "fixed point")[2] == "0.3125"
    assert row(page, "int8")[2:] == ["0", "−0.3", "100 %"]


SPECIAL = [  # typed, format, shown, named
    ("1e300", "FP32", "∞", "infinity"),
    ("1e300", "E4M3", "448", ""),
    ("-inf", "E5M2", "−∞", "infinity"),
    ("nan", "FP16", "NaN", "NaN"),
    ("NaN", "E2M1", "no code", ""),
    ("-0", "BF16", "−0", "−0"),
    ("−0", "int8", "0", "zero"),
    ("1e-45", "FP32", "1.401298464324817 · 10⁻⁴⁵", "subnormal"),
    ("1e-45", "FP16", "0", "zero"),
    ("2049", "FP16", "2048", ""),
    ("70000", "BF16", "70144", ""),
    ("-1000", "fixed Q3.4", "−8", ""),
    ("2,5", "int8", "2", ""),
]


def test_absurd_and_special_numbers_are_held_as_the_format_says(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_beat=Formula")
    for typed, name, shown, kind in SPECIAL:
        before = page.url
        page.locator(".bits tbody").get_by_role("button", name=name, exact=True).click()
        type_number(page, typed)
        assert (value(page), page.locator(".bits .kind").inner_text()) == (shown, kind), typed
        page.wait_for_function("before => location.href !== before", arg=before)
        settle(page)  # when the page has answered
        assert (value(page), page.locator(".bits .kind").inner_text()) == (shown, kind), typed
        assert faults_on(page) == NO_FAULTS


def test_what_is_no_number_is_said_and_the_last_one_stays(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_part=Bits&formats_number=2.5")
    for typed in ("", "abc", "1e", "--1", "0x10"):
        type_number(page, typed)
        expect(page.locator(".bits .fault")).to_contain_text("This is no number")
        assert value(page) == "2.5"
    type_number(page, "3")
    expect(page.locator(".bits .fault")).to_be_empty()
    assert value(page) == "3"


def test_the_payload_of_a_nan_survives_the_pages_answer(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_part=Bits&formats_number=nan")
    with asking(page):
        cells(page).nth(15).click()
    assert pattern(page) == "0111111000000001"
    assert value(page) == "NaN"


def test_a_row_chooses_the_format_and_the_address_holds_everything(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_part=Bits")
    type_number(page, "-0.7")
    page.locator(".bits").get_by_role("button", name="E2M3").click()
    page.wait_for_function("location.search.includes('E2M3') && location.search.includes('formats_number=-0.7')")
    settle(page)
    stored = float(np.float32(-0.7).astype(ml_dtypes.float6_e2m3fn))
    assert value(page) == str(stored).replace("-", "−")
    again = open_page(page.url)
    assert pattern(again) == pattern(page)
    assert number_field(again).input_value() == "-0.7"


def test_the_radix_point_moves_in_the_cells_too(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_format=fixed+point&formats_number=1.3&formats_point=4")
    assert value(page) == str(round(1.3 * 16) / 16)
    page.get_by_role("slider", name="Bits behind the point").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    expect(page.locator(".bits .cells .label").last).to_have_text("fraction, 5")
    assert value(page) == str(round(1.3 * 32) / 32)


def test_a_link_may_write_a_number_as_python_does(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_part=Bits&formats_number=1_000")
    assert value(page) == "1000"


def test_a_preset_sets_the_number(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_formats?formats_beat=Try")
    page.get_by_role("button", name="1000 in E4M3").click()
    settle(page)
    assert value(page) == "448"
    expect(page.locator(".bits .said")).to_contain_text("1000 is beyond the greatest value, 448")


@pytest.mark.parametrize("form", ["desktop", "phone"])
def test_the_cells_fit_every_window(app: str, open_page: Opener, form: str) -> None:
    page = open_page(f"{app}/lesson_formats?formats_format=FP32&formats_number=-3.4e38", form)
    for name, count in (("FP32", 32), ("int8 · S", 8)):
        page.locator(".bits tbody").get_by_role("button", name=name, exact=True).click()
        assert cells(page).count() == count
        for _ in forms_of(page, form):
            assert_cells_fit(page)


def assert_cells_fit(page: Page) -> None:
    width = page.viewport_size["width"]
    for box in cells(page).evaluate_all("each => each.map(one => one.getBoundingClientRect().toJSON())"):
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert min(box["width"], box["height"]) >= 24  # for a finger
    overflow = page.evaluate(
        """() => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].map(host => {
          const inner = host.shadowRoot.querySelector('.bits');
          return inner ? inner.scrollWidth - inner.clientWidth : 0;
        })"""
    )
    assert max(overflow) <= 1
    assert re.fullmatch("[01]+", pattern(page))
