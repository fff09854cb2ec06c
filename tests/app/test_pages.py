"""Every page of the table runs, and every control of the playground has an effect (no browser)."""

from __future__ import annotations

import pathlib

import pytest
from streamlit.testing.v1 import AppTest

from explorer.page_table import PAGES
from tests.app.waiting import await_answers

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
TIMEOUT = 120
SCRIPTS = [page.script for pages in PAGES.values() for page in pages]


def playground() -> AppTest:
    return AppTest.from_file(ENTRY, default_timeout=TIMEOUT).switch_page(str(ROOT / "pages" / "playground.py"))


def start() -> AppTest:
    at = playground().run()
    assert not at.exception
    return at


def metrics(at: AppTest) -> dict[str, tuple[str, str]]:
    return {metric.label: (metric.value, metric.delta) for metric in at.metric}


def whole_tensor(at: AppTest) -> str:
    """Return the line with the exact numbers of the whole tensor."""
    lines = [line for caption in at.caption for line in caption.value.split("\n\n")]
    return next(line for line in lines if line.startswith("Whole tensor, exact"))


@pytest.mark.parametrize("first", ["home", "playground"])
def test_the_tensor_of_a_link_goes_along_to_the_page_that_follows_at_once(first: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=TIMEOUT)
    at.query_params["tensor"] = "fc2"
    at.switch_page(str(ROOT / "pages" / f"{first}.py")).run()
    at.query_params.clear()
    at.switch_page(str(ROOT / "pages" / "lesson_uniform.py")).run()
    tensor = at.selectbox(key="tensor")
    assert (tensor.value, tensor.proto.raw_value, tensor.proto.set_value) == ("fc2", "fc2", True)  # the browser is told


def test_every_script_in_pages_is_in_the_table_once() -> None:
    assert sorted(SCRIPTS) == sorted(path.name for path in (ROOT / "pages").glob("*.py"))
    assert sum(page.default for pages in PAGES.values() for page in pages) == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_page_runs(script: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=TIMEOUT).switch_page(str(ROOT / "pages" / script)).run()
    assert not at.exception


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("play_bits", 7),
        ("play_symmetry", "asymmetric"),
        ("play_codes", "unsigned"),
        ("play_granularity", "channel"),
        ("play_granularity", "channel group"),
        ("play_granularity", "sub-channel"),
        ("play_clipping", "percentile"),
        ("play_clipping", "least MSE"),
        ("play_hi", 0.05),
    ],
)
def test_every_control_changes_the_numbers(key: str, value: object) -> None:
    at = await_answers(start())
    before = metrics(at), whole_tensor(at)
    at.session_state[key] = value
    if key == "play_hi":
        at.session_state["play_clipping"] = "by hand"
    await_answers(at.run())
    assert metrics(at) != before[0]
    assert whole_tensor(at) != before[1]


def test_a_range_by_hand_is_chosen_at_once_with_a_format_that_takes_none() -> None:
    at = start()
    at.selectbox(key="play_clipping").set_value("by hand")
    at.selectbox(key="play_format").set_value("GGUF")
    assert not at.run().exception


def test_the_restricted_range_leaves_out_one_code() -> None:
    at = start()
    assert "of 16 codes" in whole_tensor(at)
    at.session_state["play_levels"] = "restricted"
    at.run()
    assert "of 15 codes" in whole_tensor(at)


@pytest.mark.parametrize(
    ("granularity", "key", "sizes"),
    [("channel group", "play_channels", (4, 16)), ("sub-channel", "play_group", (16, 64))],
)
def test_block_sizes_change_the_number_of_scales(granularity: str, key: str, sizes: tuple[int, int]) -> None:
    at = start()
    at.session_state["play_granularity"] = granularity
    shown = []
    for size in sizes:
        at.session_state[key] = size
        at.run()
        shown.append(metrics(at)["Bits per value"])
    assert shown[0] != shown[1]


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
@pytest.mark.parametrize("symmetry", ["symmetric", "asymmetric"])
def test_every_bit_width_draws(bits: int, symmetry: str) -> None:
    at = playground()
    at.session_state["play_bits"] = bits
    at.session_state["play_symmetry"] = symmetry
    at.session_state["tensor"] = "conv1"
    at.run()
    assert not at.exception
    assert f"of {2**bits:,} codes" in whole_tensor(at)


def test_a_range_upside_down_is_an_error_message_not_an_exception() -> None:
    at = start()
    for key, value in (("play_symmetry", "asymmetric"), ("play_clipping", "by hand")):
        at.session_state[key] = value
    at.session_state["play_lo"], at.session_state["play_hi"] = 1.0, -1.0
    at.run()
    assert not at.exception
    assert "α = 1 is not below β = −1" in at.error[0].value
    at.session_state["play_hi"] = 2.0
    at.run()
    assert not at.error


def test_another_model_opens_on_its_own_layer() -> None:
    at = start()
    at.selectbox(key="model").select("fashion-depthwise").run()
    assert not at.exception
    assert at.selectbox(key="tensor").value == "dw1"


def test_the_model_named_on_the_command_line_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_EXPLORER_MODEL", "fashion-depthwise")
    assert start().selectbox(key="model").value == "fashion-depthwise"
