"""Pinned settings: as text in the address, and side by side on the page (no browser)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer import compute, pins
from explorer.figures.compare import rate_figure
from explorer.figures.theme import Canvas
from explorer.number_formats import KINDS
from explorer.presets import PRESETS
from explorer.results import repeated
from explorer.state import PlaygroundState
from quant_engine import QuantizerSpec
from tests.app.test_fields import states
from tests.app.test_pages import start
from tests.app.waiting import await_answers
from tests.models import CNN_KEY, DEPTHWISE_KEY


@given(st.lists(states, max_size=pins.MAX_PINS))
def test_pins_survive_the_address(found: list[PlaygroundState]) -> None:
    kept = tuple(map(pins.pin_of, found))
    text = pins.write(kept)
    assert pins.read(text) == pins.PINS.read(text) == kept
    assert all((pin.block, pin.value) == (0, None) for pin in kept)


@pytest.mark.parametrize(
    "text", ["bits:99", "bits", "colour:red", "bits:4:5", "|".join(["default"] * 5), "bits:x|default"]
)
def test_addresses_that_are_no_pins_are_refused(text: str) -> None:
    assert not pins.PINS.accepts(text)
    assert len(pins.read(text)) < max(len(text.split("|")), 2)


@pytest.mark.choice(5)
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("layer", ["conv1", "fc1"])
def test_every_preset_can_be_used_on_every_kind_of_layer(name: str, layer: str) -> None:
    chosen = PRESETS[name]
    spec = chosen.spec(-1.0, 1.0)
    result = compute.outcome(CNN_KEY, layer, spec)
    assert result.report.sqnr_db > 10


@pytest.mark.parametrize(
    ("name", "bits_per_value"), [("MXFP4", 4.25), ("MXFP8 (E4M3)", 8.25), ("MXINT8", 8.25), ("GGUF Q4_0", 4.5)]
)
def test_presets_cost_what_their_specifications_say(name: str, bits_per_value: float) -> None:
    spec = PRESETS[name].spec(-1.0, 1.0)
    assert spec.storage((64, 288)).bits_per_value == bits_per_value


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_format_describes_itself_and_makes_a_spec(kind: str) -> None:
    chosen = PlaygroundState(KINDS[kind])
    assert isinstance(chosen.spec(-1.0, 1.0), QuantizerSpec)
    assert chosen.description
    assert len(chosen.format_name) <= 8  # figures have no room for more


def test_bits_that_a_kind_does_not_have_become_the_nearest_it_has() -> None:
    chosen = PlaygroundState(KINDS["powers of two"], bits=16)
    assert chosen.bits == 8


def test_encoding_is_timed_on_a_tensor_that_is_repeated_with_its_scales() -> None:
    values = compute.matrix(DEPTHWISE_KEY, "dw1")
    for preset in PRESETS.values():
        spec = preset.spec(float(values.min()), float(values.max()))
        fitted = compute.fitted(DEPTHWISE_KEY, "dw1", spec)
        tall, alike = repeated(values, fitted, 10_000)
        assert tall.size >= 10_000
        assert np.array_equal(alike.encode(tall).codes[: len(values)], fitted.encode(values).codes)


def test_pinned_settings_stand_in_a_table_with_what_they_cost_and_score() -> None:
    at = start()
    assert not at.table
    at.button(key="pin_now").click().run()
    at.selectbox(key="play_format").set_value("NF4").run()
    await_answers(at)
    table = at.table[0].value
    assert list(table[""]) == ["now", "1"]
    assert list(table["Setting"]) == ["NF4, per layer, min–max", "int4, per layer, min–max"]
    for name, row in zip(("NF4", "integer"), range(2), strict=True):
        spec = PlaygroundState(KINDS[name]).spec(-1.0, 1.0)
        result = compute.outcome(CNN_KEY, "conv3", spec)
        assert table["SQNR"].iloc[row] == f"{result.report.sqnr_db:.1f} dB"
        assert float(table["Bits per value"].iloc[row]) == pytest.approx(result.storage.bits_per_value, rel=1e-3)
    scores = table["Accuracy, all layers quantized"]
    assert scores.str.contains("%").all()
    assert scores.iloc[1].startswith("81.2 %")


def test_a_pin_can_be_shown_again_and_taken_off() -> None:
    at = start()
    at.query_params["play_pins"] = "bits:3|format:GGUF"
    at.run()
    assert list(at.table[0].value["Setting"]) == ["int4, per layer, min–max", "int3, per layer, min–max", "Q4_0"]
    at.button(key="show_1").click().run()
    assert at.slider(key="play_bits").value == 3
    at.button(key="unpin_2").click().run()
    assert list(at.table[0].value[""]) == ["now", "1"]
    at.button(key="unpin_1").click().run()
    assert not at.table


def test_four_can_be_pinned_and_no_more() -> None:
    at = start()
    at.query_params["play_pins"] = "|".join(["default"] * 4)
    at.run()
    assert at.button(key="pin_now").disabled


def test_a_setting_that_does_not_fit_the_tensor_is_named_and_the_others_stay() -> None:
    at = start()
    at.query_params["play_pins"] = "format:NF4,clipping:KL|bits:3"
    at.run()
    assert not at.exception
    assert any("cannot be used here" in warning.value for warning in at.warning)
    assert list(at.table[0].value["Setting"]) == ["int4, per layer, min–max", "int3, per layer, min–max"]


def test_histograms_of_what_comes_back_hold_every_value() -> None:
    spec = PlaygroundState().spec(-1.0, 1.0)
    values = compute.matrix(CNN_KEY, "conv3")
    edges = np.linspace(-1, 1, 41), np.linspace(-1, 1, 21)
    row = compute.compared(CNN_KEY, "conv3", spec, "x", edges)
    assert row.returned.sum() == row.errors.sum() == values.size
    back = compute.fitted(CNN_KEY, "conv3", spec).fake_quantize(values)
    assert (row.returned > 0).sum() <= np.unique(back).size


def test_a_codebook_of_more_codewords_than_there_are_vectors_is_said_and_has_no_error_to_draw() -> None:
    at = start()
    at.session_state["tensor"], at.session_state["play_format"] = "conv1", "vectors"
    at.run()
    assert not at.exception
    distinct = len(np.unique(np.pad(compute.matrix(CNN_KEY, "conv1"), ((0, 0), (0, 1))).reshape(-1, 2), axis=0))
    assert any(f"Only {distinct} of 256 codewords can be learned from 80 vectors" in info.value for info in at.info)
    specs = [PlaygroundState(KINDS[kind]).spec(-1.0, 1.0) for kind in ("vectors", "integer")]
    edges = np.linspace(-1, 1, 11), np.linspace(-1, 1, 11)
    rows = [compute.compared(CNN_KEY, "conv1", spec, "x", edges) for spec in specs]
    figure = rate_figure(rows, Canvas("test"))
    assert [trace.mode for trace in figure.data] == ["markers+text"]  # no decibels a bit from where nothing is lost
    assert list(figure.data[0].text) == ["now (no error)", "1"]
    assert [trace.mode for trace in rate_figure(rows[::-1], Canvas("test")).data] == ["lines+text", "markers+text"]
