"""Integer-only arithmetic in the lesson on number formats: what is written is worked out again with numpy."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import compute
from explorer.language import read_words
from explorer.lessons.formats.integer_pixel import followed, plan_of, rows, terms
from quant_engine.integer_only import compile_plan, integer_accuracy
from quant_engine.network import load
from tests.app.waiting import await_answers
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
WORDS = read_words("integer_only")
PIXELS = [
    (CNN_KEY, "conv1", 3, (0, 0)),
    (CNN_KEY, "conv3", 2, (2, 5)),
    (CNN_KEY, "fc1", 50, ()),
    (CNN_KEY, "fc2", 9, ()),
    (DEPTHWISE_KEY, "dw1", 1, (1, 5)),
    (DEPTHWISE_KEY, "pw4", 7, (3, 3)),
]


def whole(text: str) -> int:
    return int(text.replace("−", "-").replace(",", ""))


def of_bits(text: str) -> int:
    return int(text, 2) - (1 << len(text) if text[0] == "1" else 0)


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize(("model", "layer", "channel", "place"), PIXELS)
def test_every_row_follows_from_the_one_before(
    model: str, layer: str, channel: int, place: tuple[int, ...], weight_bits: int
) -> None:
    pixel, real = followed(model, weight_bits, 32, 4, layer, channel, place)
    found = {row.title: row for row in rows(pixel, real, 32)}
    moved = pixel.weights * (pixel.codes - pixel.zero_point)
    total = whole(found[WORDS["bias"]].value)
    assert total == int(moved.sum()) + pixel.bias
    assert whole(found[WORDS["sum"]].value) == int((pixel.weights * pixel.codes).sum())
    for row in found.values():
        if row.bits and row.title != WORDS["clamp"]:
            assert of_bits(row.bits) == whole(row.value)
    if WORDS["multiply"] in found and pixel.gathered is None:
        assert pixel.requantized is not None
        assert whole(found[WORDS["multiply"]].value) == total * pixel.requantized.multiplier


@pytest.mark.parametrize(("model", "layer", "channel", "place"), PIXELS)
def test_the_float_beside_is_the_networks_own(model: str, layer: str, channel: int, place: tuple[int, ...]) -> None:
    _, real = followed(model, 8, 32, 4, layer, channel, place)
    network = compute.network(model)
    names = list(network.layers())
    if layer == names[-1]:
        expected = network.run(network.data()[0][4:5])[0, channel]
        assert real.output == pytest.approx(float(expected), rel=1e-4, abs=1e-4)
        return
    following = network.activations([names[names.index(layer) + 1]], "test", 4, 5)
    after = next(iter(following.values()))[0]
    if layer == "fc1":
        assert max(real.output, 0.0) == pytest.approx(float(after[channel]), rel=1e-4, abs=1e-4)
    elif layer == "dw1":
        assert max(real.output, 0.0) == pytest.approx(float(after[(channel, *place)]), rel=1e-4, abs=1e-4)
    else:  # pooled: what is shown is one of those that the largest, or the mean, is taken of
        assert real.inputs.size == real.weights.size == int(np.prod(network.weight(layer).shape[1:]))


def test_the_terms_and_what_they_leave_out_are_the_whole_sum() -> None:
    pixel, real = followed(CNN_KEY, 8, 32, 0, "conv3", 2, (2, 5))
    listed, rest = terms(pixel, real, 8)
    left = whole(rest.split("summing to ")[1].split(";")[0])
    assert len(listed) == 9
    assert f"{pixel.codes.size - 9} more products" in rest
    assert sum(whole(term.product) for term in listed) + left == pixel.raw
    for term in listed:
        assert whole(term.code) * whole(term.weight) == whole(term.product)
        assert int(term.code_bits, 2) == whole(term.code)
        assert of_bits(term.weight_bits) == whole(term.weight)
    pixel, real = followed(CNN_KEY, 8, 32, 0, "conv1", 3, (0, 0))
    listed, rest = terms(pixel, real, 8)
    assert len(listed) == 9
    assert "all 9 products" in rest
    assert [term.inside for term in listed].count(False) == 5  # a corner


def test_sixteen_bits_overflow_and_say_so() -> None:
    pixel, real = followed(CNN_KEY, 8, 16, 0, "conv3", 2, (2, 5))
    row = next(row for row in rows(pixel, real, 16) if row.title == WORDS["bias"])
    assert "Overflow" in row.text
    assert len(row.bits) == 16
    assert of_bits(row.lost + row.bits) == pixel.total
    assert whole(row.value) == pixel.total - 2**16


def test_the_page_steps_runs_and_holds_what_a_link_sets() -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["formats_int_image"] = "5000"
    at.switch_page(str(ROOT / "pages" / "lesson_formats.py")).run()
    assert any("5000 is too much here; 1999" in warning.value for warning in at.warning)
    at.button(key="formats_int_next").click().run()
    assert at.session_state["formats_int_image"] == 1999
    assert at.session_state["formats_int_step"] == 2
    at.button(key="formats_int_all").click().run()
    assert at.session_state["formats_int_step"] == 12
    at.session_state["tensor"] = "fc2"  # fewer places, channels and steps
    at.session_state["formats_int_channel"] = 150
    at.session_state["formats_int_register"] = "16 bits"
    at.run()
    assert not at.exception
    assert at.session_state["formats_int_channel"] == 9
    at.button(key="formats_int_run_button").click().run()
    assert any("Running the test data every way" in bar.proto.text for bar in at.get("progress"))
    await_answers(at)
    shown = {metric.label: metric.value for metric in at.metric}
    plan = plan_of(CNN_KEY, 8)
    compiled = compile_plan(load("fashion-cnn"), plan)
    integer = integer_accuracy(load("fashion-cnn"), compiled)
    simulated = load("fashion-cnn").evaluate(plan)
    assert shown["Integer-only"] == f"{100 * integer.value:.2f} %"
    assert shown["Simulated"] == f"{100 * simulated.value:.2f} %"
    ways, images = at.table[-3].value, at.table[-2].value
    assert ways["right, of 2,000"].map(whole).tolist()[:: len(ways) - 1] == [simulated.correct, integer.correct]
    assert ways["unlike the line above"].tolist()[2] == "0"  # integers as such change no label
    assert len(images) == whole(ways["labels unlike simulated"].tolist()[-1])
    assert all("bias" in text or "rounding\u00a0twice" in text for text in images["codes turned by"])
    assert any("16 accumulator bits" in warning.value for warning in at.warning)
    assert any("estimates" in caption.value and "Horowitz" in caption.value for caption in at.caption)
