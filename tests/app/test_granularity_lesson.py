"""The lesson on granularity: blocks, bits, errors and edits worked out again with numpy from the tensor alone."""

from __future__ import annotations

import math
import pathlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer import model_scores, tensors
from explorer.caches import ResultKey
from explorer.figures.granularity_tradeoff import tradeoff_figure
from explorer.figures.maps import STEPS, range_map, signed_map
from explorer.figures.theme import INK, Canvas
from explorer.instrument import Move
from explorer.lessons import LESSONS
from explorer.lessons.framework.links import is_exact, playground_state
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Looked, Scene
from explorer.lessons.granularity import blocks, granularity_controls, granularity_tradeoff
from explorer.notation import short
from explorer.state import PlaygroundState
from explorer.tensors import Subject
from quant_engine import (
    E4M3,
    FixedRange,
    IntFormat,
    LayerPlan,
    MinMSE,
    PerBlock,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    QuantizationPlan,
    QuantizerSpec,
)
from quant_engine.network import Score, load
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
WORDS = read_prose("granularity").laboratory
LESSON = LESSONS["granularity"]
INT4 = IntFormat(4)
CANVAS = Canvas("test")
SHAPES = {  # settings, and the rows and columns of a block
    "layer": ({}, (24, 9)),
    "channel group": ({"channels": 5}, (5, 9)),
    "channel": ({}, (1, 9)),
    "sub-channel": ({"group": 4}, (1, 4)),
    "2-D block": ({"rows": 7, "columns": 2}, (7, 2)),
}


def open_lesson(layer: str = "dw1", **settings: object) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["model"] = "fashion-depthwise"
    at.query_params["tensor"] = layer
    at.switch_page(str(ROOT / "pages" / "lesson_granularity.py"))
    return change(at, show_anyway=True, **settings)


def change(at: AppTest, **settings: object) -> AppTest:
    for name, value in settings.items():
        at.session_state[f"granularity_{name}"] = value
    at.run()
    assert not at.exception
    return at


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def dw1() -> np.ndarray:
    return load("fashion-depthwise").weight("dw1").reshape(24, 9)


def subject() -> Subject:
    return tensors.subject("weights", DEPTHWISE_KEY, "dw1")


def in_blocks(x: np.ndarray, rows: int, columns: int) -> list[tuple[slice, slice]]:
    return [
        (slice(top, top + rows), slice(left, left + columns))
        for top in range(0, len(x), rows)
        for left in range(0, x.shape[1], columns)
    ]


def quantized(x: np.ndarray, rows: int, columns: int, edits: dict[int, float] | None = None) -> np.ndarray:
    """What comes back at 4 bits from extreme to extreme, block by block; `edits` are β by block."""
    back = np.empty_like(x)
    for number, place in enumerate(in_blocks(x, rows, columns)):
        reach = (edits or {}).get(number, float(np.abs(x[place]).max()))
        scale = np.float32(reach / 7)
        back[place] = np.clip(np.rint(x[place] / scale), -8, 7) * scale
    return back


# --- the story --------------------------------------------------------------------------------------------------------


def opened(**query: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    for name, value in query.items():
        at.query_params[name] = value
    at.switch_page(str(ROOT / "pages" / "lesson_granularity.py")).run()
    assert not at.exception
    return at


def on_display(at: AppTest) -> tuple[str, str]:
    return at.session_state["model"], at.session_state["tensor"]


def test_the_lesson_opens_on_its_story_unless_another_tensor_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    at = opened()
    assert on_display(at) == ("fashion-depthwise", "dw1")
    at.selectbox(key="tensor").select("pw3").run()
    assert on_display(at.run()) == ("fashion-depthwise", "pw3")
    assert at.query_params["model"] == "fashion-depthwise"
    assert on_display(opened(model="fashion-cnn", tensor="fc2")) == ("fashion-cnn", "fc2")
    monkeypatch.setenv("QUANT_EXPLORER_MODEL", "fashion-cnn")
    assert on_display(opened()) == ("fashion-cnn", "conv3")


def test_the_prediction_is_decided_by_the_rows_that_become_zeros() -> None:
    x = dw1()
    dead = int((np.abs(np.rint(x / np.float32(np.abs(x).max() / 7))).max(axis=1) == 0).sum())
    assert dead == 10
    assert LESSON.prediction(Scene(subject(), QuantizerSpec(INT4))) == "many"  # 10 of 24
    facts = LESSON.facts(Scene(subject(), QuantizerSpec(INT4)))
    assert (facts["dead"], facts["rows"]) == ("10", "24")
    reaches = np.abs(x).max(axis=1)
    assert facts["spread"] == f"×{short(float(reaches.max() / reaches.min()))}"
    assert "10 of 24" in next(text.value for text in open_lesson(beat="See").markdown if "widest" in text.value)


# --- blocks, bits, errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", SHAPES)
def test_bits_errors_and_rows_of_zeros_are_numpys(shared: str) -> None:
    settings, (rows, columns) = SHAPES[shared]
    x = dw1()
    back = quantized(x, rows, columns)
    shown = metrics(open_lesson(shared=shared, **settings))
    scales = len(in_blocks(x, rows, columns))
    assert shown[WORDS["scales"]] == str(scales)
    assert shown[WORDS["true_bits"]] == short(4 + 32 * scales / x.size, 5)
    assert shown[WORDS["dead_weight"]] == f"{int((back == 0).all(axis=1).sum())} of 24"
    assert shown["MSE"] == short(float(np.mean((back.astype(np.float64) - x) ** 2)))


def test_blocks_that_do_not_divide_are_cut_padded_or_refused_and_each_is_said() -> None:
    at = open_lesson(shared="sub-channel", group=4)  # rows of 9
    cut = metrics(at)
    change(at, remainder="padded")
    assert metrics(at)[WORDS["true_bits"]] == short((24 * 12 * 4 + 24 * 3 * 32) / 216, 5)
    assert metrics(at)["MSE"] == cut["MSE"]
    assert any("1.33 of filling" in text.value for text in at.caption)
    change(at, remainder="refused")
    assert any("blocks of 4 do not divide a matrix of 24 × 9" in box.value for box in at.warning)
    assert metrics(at)["MSE"] == cut["MSE"]
    assert metrics(at)[WORDS["true_bits"]] == cut[WORDS["true_bits"]]


def test_scales_that_no_zero_point_goes_with_are_refused_in_words() -> None:
    at = open_lesson(shared="channel", range="asymmetric", scales="E8M0")
    assert WORDS["scales_refused"] in [box.value for box in at.warning]
    assert metrics(at)[WORDS["true_bits"]] == short(4 + 24 * (32 + 4) / 216, 5)


@pytest.mark.parametrize("shared", SHAPES)
def test_the_right_answer_counts_everything_and_the_wrong_ones_are_what_they_say(shared: str) -> None:
    settings, (rows, columns) = SHAPES[shared]
    scales = len(in_blocks(dw1(), rows, columns))
    at = open_lesson("stem", shared=shared, beat="Check", scales="E4M3", **settings)  # asked of the layer after it
    assert metrics(at)[WORDS["true_bits"]] == "?"
    asked = LESSON.question(Scene(subject(), spec_of(shared)))
    assert asked.option("right").label == f"{short((216 * 4 + 8 * scales + 32) / 216, 5)} bits"
    labels = {option.key: option.label for option in asked.options}
    assert labels["free"] == "4 bits"
    assert labels["inverse"] == f"{short(4 + 8 / scales, 5)} bits"
    assert list(at.radio[0].options) == [option.label for option in asked.options]


def spec_of(shared: str) -> QuantizerSpec:
    settings, _ = SHAPES[shared]
    granularity = granularity_controls.granularity_of(
        granularity_controls.SHARED.meaning(shared), list(settings.values()), "short"
    )
    return QuantizerSpec(INT4, granularity, scale_format=E4M3)


@pytest.mark.parametrize("shared", SHAPES)
def test_every_block_is_told_its_own_range_and_error(shared: str) -> None:
    _, (rows, columns) = SHAPES[shared]
    x, spec = dw1(), QuantizerSpec(INT4, spec_of(shared).granularity)
    back, found = quantized(x, rows, columns), blocks.blocks_of(subject(), spec)
    np.testing.assert_array_equal(found.errors, back - x)
    for number, place in enumerate(in_blocks(x, rows, columns)):
        reach = float(np.abs(x[place]).max())
        assert found.ranges[number] == pytest.approx((-reach, reach), rel=1e-6)
        assert found.mse[number] == pytest.approx(np.mean((back[place].astype(np.float64) - x[place]) ** 2), rel=1e-6)
        left, top, right, bottom = found.box(number)
        np.testing.assert_array_equal(x[top:bottom, left:right], x[place])


# --- ranges by hand ---------------------------------------------------------------------------------------------------


def test_a_range_by_hand_changes_its_block_alone_is_kept_and_taken_back() -> None:
    x = dw1()
    at = open_lesson(shared="channel", block=5)
    before = metrics(at)["MSE"]
    mark = granularity_controls.mark_of(subject(), QuantizerSpec(INT4, PerChannel(0)))
    change(at, edits=f"{mark}~5_-4_4")
    by_hand = quantized(x, 1, 9, {5: 4.0})
    assert (quantized(x, 1, 9) != by_hand).any(axis=1).nonzero()[0].tolist() == [5]
    edited = metrics(at)["MSE"]
    assert edited == short(float(np.mean((by_hand.astype(np.float64) - x) ** 2))) != before
    assert any("**set by hand** for this block alone" in text.value for text in at.markdown)
    change(at, shared="layer")
    assert not any("set by hand" in text.value for text in at.markdown if text.value.startswith("Block"))
    change(at, shared="channel")  # it has waited
    assert metrics(at)["MSE"] == edited
    at.button(key="granularity_back").click().run()
    assert not at.exception
    assert metrics(at)["MSE"] == before
    assert at.button(key="granularity_back").disabled
    change(at, edits=f"{mark}~5_-4_4~7_-1_1")
    assert at.button(key="granularity_back_all").label == WORDS["back_all"].format(n=2)
    at.button(key="granularity_back_all").click().run()
    assert metrics(at)["MSE"] == before


def test_a_drag_sets_the_range_of_the_block_on_display(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, object] = {}
    monkeypatch.setattr(granularity_controls.st, "session_state", kept)
    monkeypatch.setattr(granularity_controls.controls.st, "session_state", kept)
    spec = QuantizerSpec(INT4, PerChannel(0))
    blocks._moved(subject(), spec, {2: (-1.0, 1.0)}, 7)(Move(5, (-0.25, 0.25), None))
    mark, edits = granularity_controls.read_edits(str(kept["granularity_edits"]))
    assert mark == granularity_controls.mark_of(subject(), spec)
    assert edits == {2: (-1.0, 1.0), 7: (-0.25, 0.25)}
    assert kept["granularity_bits"] == 5
    blocks._moved(subject(), spec, edits, 7)(Move(4, None, None))  # bits alone
    assert granularity_controls.read_edits(str(kept["granularity_edits"]))[1] == edits


ends = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.9g}"))
ranges = st.tuples(ends, ends).map(sorted).filter(lambda pair: pair[0] < pair[1]).map(tuple)


@given(st.dictionaries(st.integers(0, 10**6), ranges, max_size=6))
def test_edits_survive_the_address(edits: dict[int, tuple[float, float]]) -> None:
    text = granularity_controls.write_edits("0123abcd", edits)
    assert granularity_controls.read_edits(text)[1] == edits


@pytest.mark.parametrize(
    "text", ["x", "12ab~", "12ab~1_0_0", "12ab~1_1_-1", "12ab~1_0_inf", "12ab~1_0_1e999", "12ab~1_0", "12ab~-1_0_1"]
)
def test_what_is_no_range_is_left_out_of_a_link(text: str) -> None:
    assert not granularity_controls.EDITS.accepts(text)
    at = open_lesson(shared="channel")
    assert not any("by hand" in t.value for t in change(at, edits=text).markdown if t.value.startswith("Block"))


def test_edits_of_blocks_that_are_not_there_are_not_used() -> None:
    mark = granularity_controls.mark_of(subject(), QuantizerSpec(INT4, PerChannel(0)))
    at = open_lesson(shared="channel", edits=f"{mark}~24_-1_1", block=10**9)
    assert any(text.value.startswith("Block **23** of 24") for text in at.markdown)


def test_the_accuracy_with_an_edit_is_the_networks() -> None:
    network, x = load("fashion-depthwise"), dw1()
    plain = QuantizerSpec(INT4, PerChannel(0))
    reach = np.abs(x).max(axis=1).astype(np.float64)
    reach[5] = 4.0
    by_hand = QuantizerSpec(INT4, PerChannel(0), clipping=FixedRange(tuple(-reach), tuple(reach)))
    edited = granularity_controls.edited_spec(subject(), plain, {5: (-4.0, 4.0)})
    task = model_scores.accuracies("test", DEPTHWISE_KEY, "dw1", LayerPlan(edited), LayerPlan(plain))
    _, alone, every = task.result(60)
    assert alone == network.evaluate(QuantizationPlan({"dw1": LayerPlan(by_hand)}))
    layers = dict.fromkeys(network.layers(), LayerPlan(plain))
    assert every == network.evaluate(QuantizationPlan({**layers, "dw1": LayerPlan(by_hand)}))


# --- figures ----------------------------------------------------------------------------------------------------------


def sight(spec: QuantizerSpec, block: int = 0):
    found = blocks.blocks_of(subject(), spec)
    seen = blocks._window(found, block)
    edits = {3: (-1.0, 1.0)} if found.grid.count > 3 else {}
    return found, blocks._sight(found, block, edits, seen, ("row", "column"))


def test_colours_are_the_values_and_the_same_to_both_sides() -> None:
    x, spec = dw1(), QuantizerSpec(INT4, PerGroup(4, remainder="short"))
    _, seen = sight(spec, 4)
    for ink in INK.values():
        figure = signed_map("values", x, 5.0, seen, Canvas("test", ink))
        cells = figure.data[0]
        np.testing.assert_array_equal(cells.z, np.rint(np.clip(x / 5.0, -1, 1) * STEPS))
        assert (cells.zmin, cells.zmax) == (-STEPS, STEPS)
    assert [round(shape.y0 + 0.5) for shape in figure.layout.shapes] == [1, 1]  # block 3 edited, block 4 chosen


def test_the_nearest_target_of_a_cell_is_that_of_its_block() -> None:
    for shared in SHAPES:
        spec = QuantizerSpec(INT4, spec_of(shared).granularity)
        grid = spec.granularity.blocks((24, 9))
        _, seen = sight(spec)
        targets = signed_map("values", dw1(), 5.0, seen, CANVAS).data[-1]
        middles = np.stack([targets.y, targets.x], axis=1).astype(float)
        for number in range(grid.count):
            rows, columns = grid.slices(number)
            middle = np.array([(rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2])
            nearest = np.square(middles - middle).sum(axis=1).argmin()
            assert targets.customdata[nearest][0] == number


def test_ranges_are_coloured_by_their_logarithm_and_blocks_without_one_stay_empty() -> None:
    found, seen = sight(QuantizerSpec(INT4, PerChannel(0)))
    reaches = found.ranges[:, 1][seen.numbers].copy()
    reaches[4] = 0.0
    cells = range_map("ranges", reaches, seen, CANVAS).data[0]
    some = reaches > 0
    expected = np.log(reaches[some] / reaches[some].min()) / np.log(reaches.max() / reaches[some].min())
    np.testing.assert_allclose(np.asarray(cells.z)[some], expected, atol=1e-6)
    assert np.isnan(np.asarray(cells.z)[~some]).all()


def test_of_a_large_tensor_the_part_around_the_block_is_in_sight() -> None:
    large = Subject(ResultKey("large"), "t", "activation", np.arange(1, 1 + 500 * 700, dtype=np.float32), 700)
    found = blocks.blocks_of(large, QuantizerSpec(INT4, PerBlock(50, 60, remainder="short")))
    seen = blocks._window(found, found.grid.count - 1)
    assert seen == (slice(384, 500), slice(640, 700))
    whole = blocks._sight(found, found.grid.count - 1, {}, seen, ("row", "column"))
    assert whole.numbers[-1, -1] == found.grid.count - 1
    assert (whole.rows[0], whole.rows[-1], whole.columns[0], whole.columns[-1]) == (384, 500, 640, 700)


# --- every granularity side by side -----------------------------------------------------------------------------------


def test_rungs_cost_and_lose_what_numpy_says() -> None:
    x = dw1()
    sizes = {"layer": (24, 9), "channel": (1, 9), "runs of 3": (1, 3), "4 channels": (4, 9), "4 × 4": (4, 4)}
    found = granularity_tradeoff.specs(QuantizerSpec(INT4))
    assert next(iter(found)) == ("min–max", "layer")
    for name, (rows, columns) in sizes.items():
        spec = found["min–max", name]
        scales = len(in_blocks(x, rows, columns))
        assert spec.storage(x.shape).bits_per_value == (4 * x.size + 32 * scales) / x.size
        mse = np.mean((quantized(x, rows, columns).astype(np.float64) - x) ** 2)
        assert np.mean(blocks.blocks_of(subject(), spec).errors.astype(np.float64) ** 2) == pytest.approx(mse, rel=1e-6)
    shapes = [info.matrix_shape for info in load("fashion-depthwise").layers().values()]
    scales = sum(out for out, _ in shapes)
    total = sum(math.prod(shape) for shape in shapes)
    assert granularity_tradeoff.network_bits(DEPTHWISE_KEY, found["least MSE", "channel"]) == 4 + 32 * scales / total


def test_accuracies_are_measured_one_after_the_other_and_are_the_networks() -> None:
    network, spec = load("fashion-cnn"), QuantizerSpec(INT4)
    scores = granularity_tradeoff.scores(CNN_KEY, spec)
    assert next(scores) == ((granularity_tradeoff.PLAIN, ""), network.evaluate())
    plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(spec)))
    assert next(scores) == (("min–max", "layer"), network.evaluate(plan))


def test_the_figure_names_every_granularity_where_it_costs_what_it_does() -> None:
    found = [
        granularity_tradeoff.TradeoffPoint(name, bits, mse, bits, None)
        for name, bits, mse in (("layer", 4.1, 0.2), ("channel", 5.0, 0.05), ("runs", 8.0, 0.01))
    ]
    ways = {"min–max": found, "least MSE": [granularity_tradeoff.TradeoffPoint("layer", 4.1, 0.1, 4.1, None)]}
    figure = tradeoff_figure(ways, found[1], 4, None, False, CANVAS)
    points = figure.data[0]
    np.testing.assert_allclose(points.x, [0.1, 1.0, 4.0])
    assert list(points.text) == ["layer", "channel", "runs"]
    ticks = dict(zip(figure.layout.xaxis.tickvals, figure.layout.xaxis.ticktext, strict=True))
    assert ticks[1.0] == "5"
    assert [figure.data[n].textposition[0] for n in (0, 1)] == ["top right", "bottom right"]
    assert points.textposition[-1] == "top left"
    close = [replace(point, bits=4 + (point.bits - 4) / 1e5) for point in found]
    axis = tradeoff_figure({"min–max": close}, close[1], 4, None, False, CANVAS).layout.xaxis
    assert len(set(axis.ticktext)) == len(axis.ticktext)


def test_scores_that_are_no_shares_stand_in_their_own_unit_on_a_logarithmic_axis() -> None:
    worse, plain = (Score("perplexity", value, 100, (value / 2, value * 2), better="lower") for value in (1e5, 10.0))
    found = granularity_tradeoff.TradeoffPoint("layer", 4.1, 0.2, 4.1, worse)
    figure = tradeoff_figure({"min–max": [found], "least MSE": [found]}, found, 4, plain, True, CANVAS)
    assert figure.layout.yaxis2.title.text == "perplexity"
    assert dict(zip(figure.layout.yaxis2.tickvals, figure.layout.yaxis2.ticktext, strict=True))[1.0] == "10"
    [scores, *_] = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert list(scores.y) == [5.0]
    assert figure.layout.shapes[0].y0 == 1.0
    low, high = figure.layout.yaxis2.range
    assert low < np.log10(5) < 5 + np.log10(2) < high


# --- what else can be asked -------------------------------------------------------------------------------------------

ABSURD = {
    "zeros": np.zeros(24),
    "one value": np.array([0.5]),
    "constant": np.full(24, -0.25),
    "a huge outlier": np.append(np.linspace(-1, 1, 23), 1e30),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_tensors_have_answers(name: str) -> None:
    values = ABSURD[name].astype(np.float32)
    absurd = Subject(ResultKey(name), name, "value", values, min(values.size, 6))
    for granularity in (PerTensor(), PerChannel(0), PerGroup(4, remainder="pad")):
        for spec in (QuantizerSpec(INT4, granularity), QuantizerSpec(INT4, granularity, False, MinMSE())):
            scene = Scene(absurd, spec)
            assert LESSON.facts(scene)
            assert LESSON.prediction(scene)
            assert LESSON.question(scene).options
            edited = granularity_controls.edited_spec(absurd, spec, {0: (-1.0, 1.0)})
            assert np.isfinite(blocks.blocks_of(absurd, edited).mse).all()


@pytest.mark.parametrize(
    "granularity",
    [
        PerTensor(),
        PerChannelGroup(5, remainder="short"),
        PerChannel(0),
        PerGroup(4, remainder="short"),
        PerBlock(7, 2, remainder="short"),
    ],
    ids=str,
)
def test_the_playground_opens_on_the_same_blocks(granularity: object) -> None:
    spec = QuantizerSpec(INT4, granularity, scale_format=E4M3)
    scene = Scene(subject(), spec, looked=Looked(0, blocks._view(subject(), spec, 0, subject().matrix[:1].reshape(-1))))
    assert PlaygroundState.read(playground_state(scene).link()).spec(-1.0, 1.0) == spec
    assert is_exact(scene)
    assert not is_exact(replace(scene, looked=replace(scene.looked, edited=True)))


def test_blocks_that_other_layers_refuse_are_compared_on_the_tensor_at_hand() -> None:
    """Five rows a block divide the ten of fc, and not the 24 of dw1: the network's bits are not known."""
    at = open_lesson("fc", shared="channel group", channels=5, remainder="refused", bits=4)
    assert not at.error
    assert "granularity_chart_rungs" in str(at.main)
