"""What a person does in the playground, in a real browser, against the engine's own numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from explorer import notation
from explorer.background.live import LOOK
from explorer.figures import theme
from quant_engine import (
    FixedRange,
    IntFormat,
    LayerPlan,
    MinMSE,
    PerChannel,
    PerGroup,
    PerTensor,
    QuantizationPlan,
    QuantizerSpec,
    fit,
)
from quant_engine.network import load
from quant_engine.studies import model_card
from tests.browser.conftest import NO_FAULTS, faults_on, forms_of, metrics, open_more, photograph, settle

pytestmark = pytest.mark.browser
Opener = Callable[..., Page]


def expected(model: str, layer: str, spec: QuantizerSpec, others: QuantizerSpec | None = None) -> dict[str, str]:
    """Return what the screen must say, from the engine; `others` is the spec of the other layers if it is another."""
    network = load(model)
    x = network.weight(layer).reshape(len(network.weight(layer)), -1)
    quantizer = fit(x, spec)
    report, storage = quantizer.measure(x), quantizer.storage(x.shape)
    everywhere = QuantizationPlan(
        {**dict.fromkeys(network.layers(), LayerPlan(others or spec)), layer: LayerPlan(spec)}
    )
    return {
        "SQNR": notation.decibels(report.sqnr_db).removesuffix(" dB"),
        "MSE": notation.short(report.mse),
        "Greatest error": notation.short(report.max_abs),
        "Bits per value": notation.short(storage.bits_per_value, 4),
        "Size": notation.sizes(4 * x.size, storage.size_bytes),
        "Float32": notation.accuracy(network.evaluate().value),
        "This layer quantized": notation.accuracy(network.evaluate(QuantizationPlan({layer: LayerPlan(spec)})).value),
        "All layers quantized": notation.accuracy(network.evaluate(everywhere).value),
    }


def assert_shows(page: Page, model: str, layer: str, spec: QuantizerSpec, others: QuantizerSpec | None = None) -> None:
    shown = numbers(page)
    wanted = expected(model, layer, spec, others)
    assert {label: shown.get(label) for label in wanted} == wanted


def numbers(page: Page) -> dict[str, str]:
    """Return the metrics, and SQNR and MSE from the line below the figure."""
    line = page.get_by_text("Whole tensor, exact").inner_text()
    found = re.search(r"SQNR (\S+) dB.*; MSE (\S+) =", line)
    assert found is not None
    return {**metrics(page), "SQNR": found[1], "MSE": found[2]}


def press(page: Page, group: str, option: str) -> None:
    """Choose a word of a menu."""
    choose(page, group, option)


def choose_tensor(page: Page, name: str) -> None:
    choose(page, "Tensor", name)


def choose(page: Page, menu: str, name: str) -> None:
    box = page.get_by_role("combobox", name=menu)
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name, exact=True).click()
    settle(page)


@pytest.mark.parametrize("form", ["projector", "phone"])
def test_settings_and_accuracy_are_in_sight_and_on_a_projector_the_figure_with_them(
    app: str, open_page: Opener, form: str
) -> None:
    page = open_page(f"{app}/playground", form)
    names = ("Model", "Tensor", "Format", "Clipping", "Range", "One scale for each")
    hero, figure = page.get_by_test_id("stMetric").first, page.locator("canvas.values")
    parts = [
        *(page.get_by_role("combobox", name=name) for name in names),
        page.get_by_test_id("stMainBlockContainer").get_by_text("More", exact=True),
        hero,
    ]
    places = [part.bounding_box() for part in parts]
    for place in places:
        assert place is not None
        assert place["y"] + place["height"] <= page.viewport_size["height"]
    assert hero.get_by_test_id("stMetricLabel").inner_text().strip() == "All layers quantized"
    if form == "projector":
        assert len({place["y"] for place in places[: len(names)] if place}) == 1  # one line
        assert page.get_by_test_id("stTooltipIcon").count() <= 4
        box = figure.bounding_box()
        assert box is not None
        assert page.viewport_size["height"] - box["y"] >= 0.6 * box["height"]
    figure.scroll_into_view_if_needed()
    assert faults_on(page) == NO_FAULTS


def test_a_setting_behind_more_that_is_not_as_it_opens_is_named(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?play_codes=unsigned&play_activations=8+bits")
    expect(page.get_by_text("More: Activations, Codes", exact=True).first).to_be_visible()
    open_more(page)
    page.get_by_role("button", name="Reset", exact=True).click()
    settle(page)
    expect(page.get_by_test_id("stMainBlockContainer").get_by_text("More", exact=True).first).to_be_visible()


def test_back_from_the_playground_leads_to_the_lesson_as_it_was(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/lesson_uniform?uniform_bits=3")
    before = page.url
    page.get_by_role("link", name="Open in the playground").click()
    expect(page.get_by_role("slider", name="Bits")).to_have_value("3")
    settle(page)
    page.go_back()
    page.wait_for_url("**/lesson_uniform*")
    settle(page)
    assert page.url == before


def test_a_newcomer_changes_everything_and_every_number_is_the_engines(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground")
    assert_shows(page, "fashion-cnn", "conv3", QuantizerSpec(IntFormat(4)))
    page.get_by_role("slider", name="Bits").focus()
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert_shows(page, "fashion-cnn", "conv3", QuantizerSpec(IntFormat(3)))
    press(page, "Clipping", "least MSE")
    assert_shows(page, "fashion-cnn", "conv3", QuantizerSpec(IntFormat(3), clipping=MinMSE()))
    press(page, "One scale for each", "channel")
    per_channel = QuantizerSpec(IntFormat(3), PerChannel(0), clipping=MinMSE())
    assert_shows(page, "fashion-cnn", "conv3", per_channel)
    choose_tensor(page, "fc1")
    assert_shows(page, "fashion-cnn", "fc1", per_channel)

    again = open_page(page.url)
    assert_shows(again, "fashion-cnn", "fc1", per_channel)
    page.reload()
    settle(page)
    assert_shows(page, "fashion-cnn", "fc1", per_channel)
    assert faults_on(page) == NO_FAULTS


@pytest.mark.parametrize("model", ["fashion-cnn", "fashion-depthwise"])
def test_three_bit_accuracy_is_the_model_cards(app: str, open_page: Opener, model: str) -> None:
    page = open_page(f"{app}/playground?model={model}&play_bits=3")
    for words, granularity in (("layer", PerTensor()), ("channel", PerChannel(0))):
        press(page, "One scale for each", words)
        card = model_card(model).weights_only[QuantizerSpec(IntFormat(3), granularity)]
        assert abs(float(metrics(page)["All layers quantized"].split()[0]) - 100 * card.value) <= 0.2


def test_a_range_by_hand_starts_from_the_one_shown_and_can_be_typed(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?play_clipping=least+MSE")
    least = numbers(page)["MSE"]
    press(page, "Clipping", "by hand")
    assert numbers(page)["MSE"] == least
    open_more(page)
    beta = page.get_by_role("spinbutton", name="β")
    beta.fill("0.1")
    beta.press("Enter")
    settle(page)
    by_hand = QuantizerSpec(IntFormat(4), clipping=FixedRange(-0.1, 0.1))
    assert_shows(page, "fashion-cnn", "conv3", by_hand, QuantizerSpec(IntFormat(4), clipping=MinMSE()))
    asked = parse_qs(urlsplit(page.url).query)
    assert (asked["play_hi"], asked["play_others"]) == (["0.1"], ["least MSE"])
    expect(page.get_by_text("More: β, Other layers", exact=True).first).to_be_visible()
    choose(page, "Other layers", "min–max")
    assert_shows(page, "fashion-cnn", "conv3", by_hand, QuantizerSpec(IntFormat(4)))
    press(page, "Clipping", "KL")
    assert "play_others" not in parse_qs(urlsplit(page.url).query)


def test_float32_stays_while_other_accuracies_are_measured_anew(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?model=fashion-depthwise&tensor=dw2")
    seen = page.evaluate_handle(
        """() => { const seen = []; setInterval(() => {
            const row = document.querySelectorAll('.st-key-awaiting_accuracy [data-testid=stMetricValue]')[1];
            if (row && row.textContent) seen.push(row.textContent); }, 10); return seen; }"""
    )
    for clipping in ("ACIQ", "least MSE", "percentile"):
        press(page, "Clipping", clipping)
    assert set(seen.json_value()) == {metrics(page)["Float32"]}


def test_nothing_more_is_asked_of_the_server_once_accuracies_are_there(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?model=fashion-depthwise&tensor=dw3")
    page.get_by_role("slider", name="Bits").focus()
    for keys in (["ArrowRight"], ["ArrowRight", "ArrowLeft"]):  # to a new setting, and back to one that is known
        for key in keys:
            page.keyboard.press(key)
        settle(page)
        asked = page.evaluate("window.askedAt")
        page.wait_for_timeout(3000 * LOOK)
        assert page.evaluate("window.askedAt") == asked


def test_links_with_the_older_word_for_min_max_open_without_a_word(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?play_bits=3&play_clipping=min-max&play_pins=bits:5,clipping:min-max")
    assert page.get_by_test_id("stAlert").count() == 0
    assert_shows(page, "fashion-cnn", "conv3", QuantizerSpec(IntFormat(3)))
    expect(page.get_by_test_id("stTable")).to_contain_text("int5, per layer, min–max")


def test_blocks_are_looked_into_one_by_one(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?model=fashion-depthwise&tensor=pw1&play_granularity=sub-channel&play_group=10")
    assert_shows(page, "fashion-depthwise", "pw1", QuantizerSpec(IntFormat(4), PerGroup(10, remainder="short")))
    first = page.locator("[aria-label^='Histogram of']").get_attribute("aria-label")
    page.get_by_role("spinbutton", name="Block shown").fill("2")
    page.keyboard.press("Enter")
    settle(page)
    third = page.locator("[aria-label^='Histogram of']").get_attribute("aria-label")
    assert first != third
    assert "4 weights" in (third or "")  # 24 inputs in tens: the third group is short


def test_a_range_upside_down_is_explained_and_nothing_breaks(app: str, open_page: Opener) -> None:
    page = open_page(f"{app}/playground?play_symmetry=asymmetric&play_clipping=by+hand&play_lo=0.5&play_hi=0.2")
    expect(page.get_by_text(re.compile("α = 0.5 is not below β = 0.2")).first).to_be_visible()
    press(page, "Clipping", "min–max")
    assert_shows(page, "fashion-cnn", "conv3", QuantizerSpec(IntFormat(4), symmetric=False))


BROKEN = {  # links, and what is said of each of their settings
    "play_bits=77&play_clipping=magic&model=resnet&tensor=conv9&play_hi=nan&colour=red": (
        "Bits: “77” is not a whole number from 2 to 16",
        "Clipping: “magic” is not one of min–max",
        "Model: “resnet” is not one of",
        "Tensor: “conv9” is not one of",
        "β: “nan” is not a number",
        "“colour” is no setting",
    ),
    "play_bits=four&play_granularity=channel&play_block=64": (
        "Bits: “four” is not",
        "Block 64 does not exist here",
    ),
}


@pytest.mark.parametrize("query", BROKEN)
def test_a_broken_link_falls_back_with_a_notice_of_each_setting(app: str, open_page: Opener, query: str) -> None:
    page = open_page(f"{app}/playground?{query}")
    for says in BROKEN[query]:
        expect(page.get_by_text(says).first).to_be_visible()
    assert metrics(page)["Float32"] == "93.8 %"
    assert faults_on(page) == NO_FAULTS


@pytest.mark.parametrize("extreme", ["1e-30", "2.9e38"])
def test_absurd_ranges_leave_the_page_whole(app: str, open_page: Opener, extreme: str) -> None:
    page = open_page(f"{app}/playground?play_clipping=by+hand&play_hi={extreme}")
    assert faults_on(page) == NO_FAULTS
    assert metrics(page)["Bits per value"] == "4.002"


@pytest.mark.parametrize("form", ["desktop", "phone"])
@pytest.mark.parametrize("path", ["playground", "model_card"])
def test_every_page_is_whole_in_every_form(app: str, open_page: Opener, form: str, path: str) -> None:
    page = open_page(f"{app}/{path}", form)
    for shown in forms_of(page, form):
        assert faults_on(page) == NO_FAULTS
        photograph(page, f"{path}-{shown}")


@pytest.mark.parametrize("where", ["playground", "model_card"])
def test_figures_take_the_colours_of_a_theme_that_changes_while_they_are_shown(
    app: str, open_page: Opener, where: str
) -> None:
    page = open_page(f"{app}/{where}")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(
            """ink => {
              const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
              const drawn = hosts.map(host => host.shadowRoot.querySelector('.instrument')).filter(Boolean);
              const plots = [...document.querySelectorAll('.js-plotly-plot')];
              const inks = [
                ...drawn.map(each => each.style.getPropertyValue('--ink')), ...plots.map(plot => plot.layout.font.color)
              ];
              return inks.length && inks.every(each => each === ink);
            }""",
            arg=theme.INK[scheme],
        )
