"""The tuner's plan: every edit, its text, its history, and the engine's plan that follows."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from explorer.instrument import Move
from explorer.layer_table import TableEdit
from explorer.panels.tuner_inputs import moved_inputs
from explorer.panels.tuner_layer import moved_plan
from explorer.panels.tuner_table import set_cell
from explorer.state import PlaygroundState
from explorer.tuning.cells import COLUMNS, FLOAT32, counts, word_of
from explorer.tuning.codec import read_plan, write_plan
from explorer.tuning.fitted import of_block, with_block
from explorer.tuning.fused import made_alike, unlike
from explorer.tuning.history import MAX_STATES, History
from explorer.tuning.layer_setting import settings_of
from explorer.tuning.pattern import by_pattern
from explorer.tuning.tuned_plan import TunedPlan, tuned_of
from quant_engine import (
    EditedRanges,
    FixedRange,
    IntFormat,
    LayerPlan,
    MinKL,
    MinMax,
    MinMSE,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    QuantError,
    QuantizationPlan,
    QuantizedTensor,
    Quantizer,
    QuantizerSpec,
    fit,
)
from quant_engine.models import Layer, fused_groups
from quant_engine.network import load

LAYERS = load("fashion-cnn").layers()
NAMES = [*LAYERS]


def is_possible(plan: TunedPlan) -> bool:
    """Say whether formats and clippings go together."""
    try:
        plan.to_plan(LAYERS)
    except QuantError:
        return False
    return True


@st.composite
def edits(draw: st.DrawFn) -> TunedPlan:
    """Return a plan after some edits of any kind."""
    plan = TunedPlan()
    for _ in range(draw(st.integers(0, 6))):
        layers = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
        column = draw(st.sampled_from([*COLUMNS]))
        word = draw(st.sampled_from([*COLUMNS[column]]))
        edited = set_cell(plan, NAMES, TableEdit("set", tuple(layers), column, word))
        plan = edited if is_possible(edited) else plan
        if layers and draw(st.booleans()):
            hi = draw(st.floats(0.01, 1))
            plan = plan.with_range(layers[0], draw(st.integers(0, 3)), -hi, hi)
        if draw(st.booleans()):
            plan = plan.locked(layers, draw(st.booleans()))
    return plan


@given(edits())
def test_a_plan_comes_back_from_its_text_and_from_the_plan_of_the_engine(plan: TunedPlan) -> None:
    back = read_plan(write_plan(plan))
    assert back == plan
    assert write_plan(back) == write_plan(plan)
    engine = plan.to_plan(LAYERS)
    assert tuned_of(engine, LAYERS).to_plan(LAYERS).key == engine.key


@given(edits(), st.sampled_from(NAMES), st.data())
def test_an_edit_changes_what_it_says_of_free_layers_and_nothing_else(
    plan: TunedPlan, layer: str, data: st.DataObject
) -> None:
    column = data.draw(st.sampled_from([*COLUMNS]))
    word = data.draw(st.sampled_from([*COLUMNS[column]]))
    after = set_cell(plan, NAMES, TableEdit("set", (layer,), column, word))
    assume(is_possible(after))
    assert all(after.layer_plan(name).key == plan.layer_plan(name).key for name in NAMES if name != layer)
    if layer in plan.locks:
        assert after.layer_plan(layer).key == plan.layer_plan(layer).key
    elif (column, word) == ("format", FLOAT32):
        assert layer not in after.to_plan(LAYERS).layers
    else:
        assert word_of(column, after.settings(layer)) == word or not counts(column, after.settings(layer))
        others = {one for one in set(COLUMNS) - {column} if counts(one, after.settings(layer))}
        assert all(word_of(one, after.settings(layer)) == word_of(one, plan.settings(layer)) for one in others)


def test_a_range_by_hand_is_one_layers_and_one_blocks_alone() -> None:
    plan = TunedPlan().with_base({"granularity": PerChannel}).with_range("conv2", 3, -0.5, 0.5)
    spec = plan.layer_plan("conv2").weight
    assert isinstance(spec, QuantizerSpec)
    weight = load("fashion-cnn").weight("conv2").reshape(LAYERS["conv2"].matrix_shape)
    found, usual = fit(weight, spec), fit(weight, QuantizerSpec(IntFormat(8), PerChannel(0)))
    assert found.scale[3, 0] == pytest.approx(0.5 / 127)
    assert (found.scale[:3] == usual.scale[:3]).all()
    assert plan.layer_plan("conv3").key == LayerPlan(usual.spec).key
    assert not plan.with_cells(["conv2"], {"granularity": PerGroup}).ranges
    assert plan.with_cells(["conv2"], {"bits": 4}).ranges == plan.ranges


def test_the_hand_on_the_instrument_sets_a_range_and_takes_it_back_on_a_method() -> None:
    plan = moved_plan(TunedPlan(), "fc1", 0, Move(8, (-0.2, 0.25), None))
    assert plan.ranges["fc1"] == ((0, -0.25, 0.25),)  # symmetric: β counts
    spec = plan.layer_plan("fc1").weight
    assert isinstance(spec, QuantizerSpec)
    assert isinstance(spec.clipping, EditedRanges)
    assert moved_plan(plan, "fc1", 0, Move(8, None, "min–max")) == TunedPlan()
    assert moved_plan(plan, "fc1", 0, Move(5, None, None)).settings("fc1").bits == 5
    assert moved_plan(plan, "fc1", 0, Move(8, None, "least MSE")).settings("fc1").clipping is MinMSE
    locked = plan.locked(["fc1"], True)
    assert moved_plan(locked, "fc1", 0, Move(3, (-1.0, 1.0), None)) == locked


def test_a_pattern_sets_what_its_words_say_and_refuses_what_no_layer_or_menu_has() -> None:
    plan, found = by_pattern(TunedPlan(), NAMES, "conv? -> 6 bits, channel, least MSE")
    assert found == ["conv1", "conv2", "conv3"]
    spec = plan.layer_plan("conv2").weight
    assert spec == QuantizerSpec(IntFormat(6), PerChannel(0), clipping=MinMSE())
    assert plan.layer_plan("fc1").key == TunedPlan().layer_plan("fc1").key
    sized = by_pattern(plan, NAMES, "conv? → groups of 48, asymmetric")[0].layer_plan("conv2").weight
    assert sized == QuantizerSpec(IntFormat(6), PerGroup(48, remainder="short"), symmetric=False, clipping=MinMSE())
    grouped = by_pattern(plan, NAMES, "fc1 → groups of 4 channels")[0].layer_plan("fc1").weight
    assert grouped == QuantizerSpec(IntFormat(8), PerChannelGroup(4, remainder="short"))
    assert by_pattern(plan, NAMES, "*→float")[0].to_plan(LAYERS).layers == {}
    for wrong in ("nowhere*", "conv* → 99 bits", "fc1 → groups of 0", "fc1 → groups of", "fc1 → wishful"):
        with pytest.raises(QuantError):
            by_pattern(plan, NAMES, wrong)


def test_what_is_fitted_is_shown_as_a_setting_and_an_edit_leaves_the_other_part_to_the_bit() -> None:
    network = load("fashion-cnn")
    inputs = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
    fitted = network.freeze(QuantizationPlan({"fc2": LayerPlan(QuantizerSpec(IntFormat(3), PerChannel()), inputs)}))
    plan, weight = tuned_of(fitted, LAYERS), fitted["fc2"].weight
    assert isinstance(weight, Quantizer)
    assert plan.plain == {*NAMES} - {"fc2"}
    assert plan.to_plan(LAYERS)["fc2"] is fitted["fc2"]
    assert settings_of(fitted["fc2"]) is None
    said = plan.setting("fc2")
    assert (said.settings.bits, said.settings.granularity, said.settings.activation_bits) == (3, PerChannel, 8)
    assert said.ranges[4] == pytest.approx((4, -3 * weight.scale[4, 0], 3 * weight.scale[4, 0]))
    five = plan.with_cells(["fc2"], {"bits": 5}).layer_plan("fc2")
    assert five.activation is fitted["fc2"].activation
    assert five.weight == QuantizerSpec(IntFormat(5), PerChannel(), clipping=EditedRanges(MinMax(), said.ranges))
    moved = plan.with_input_range("fc2", 0.0, 2.5).layer_plan("fc2")
    assert moved.weight is weight
    assert moved.activation == replace(inputs, clipping=FixedRange(0.0, 2.5))
    both = plan.with_cells(["fc2"], {"bits": 5}).with_input_range("fc2", 0.0, 2.5)
    assert not both.given
    assert both.layer_plan("fc2").key == LayerPlan(five.weight, moved.activation).key
    assert read_plan(write_plan(both)) == both


def test_a_hand_on_a_block_of_loaded_codes_changes_this_block_alone() -> None:
    network = load("fashion-cnn")
    values = network.weight("conv2").reshape(LAYERS["conv2"].matrix_shape)
    loaded = fit(values, QuantizerSpec(IntFormat(4), PerChannel(), symmetric=False)).encode(values)
    codes = loaded.codes.copy()
    codes[0, 0] = 3  # not what rounding gives
    given = QuantizedTensor(codes, loaded.scale, loaded.zero_point, loaded.spec)
    moved = with_block(given, values[5:6], 5, (-0.3, 0.45))
    assert isinstance(moved, QuantizedTensor)
    others = [row for row in range(len(values)) if row != 5]
    for before, after in zip(vars(given).values(), vars(moved).values(), strict=True):
        if isinstance(before, np.ndarray):
            assert (after[others] == before[others]).all()
    assert moved.scale[5, 0] == pytest.approx(0.75 / 15)
    x_hat = moved.dequantize()[5]
    assert np.abs(x_hat - np.clip(values[5], x_hat.min(), x_hat.max())).max() <= 0.5001 * moved.scale[5, 0]
    alone = of_block(moved, 5)
    assert alone.scale.item() == moved.scale[5, 0]
    assert alone.levels()[[0, -1]] == pytest.approx([-0.3, 0.45])


def test_the_hand_on_inputs_sets_bits_a_calibration_or_a_range() -> None:
    plan = TunedPlan().with_base({"activation_bits": 8})
    moved = moved_inputs(plan, "fc1", Move(8, (0.0, 3.5), None))
    assert moved.inputs == {"fc1": (0.0, 3.5)}
    assert moved_inputs(moved, "fc1", Move(6, None, None)).setting("fc1").inputs == (0.0, 3.5)
    calibrated = moved_inputs(moved, "fc1", Move(8, (0.0, 2.0), "KL"))
    assert calibrated.settings("fc1").calibration == MinKL()
    assert not calibrated.inputs
    assert moved.with_cells(["fc1"], {"activation_bits": 8}) == plan
    assert (
        moved_inputs(plan.locked(["fc1"], True), "fc1", Move(4, (0.0, 1.0), None)).settings("fc1").activation_bits == 8
    )


def test_layers_that_a_model_does_not_have_are_left_out() -> None:
    plan = TunedPlan().with_cells(["other", "fc1"], {"bits": 3}).in_float(["gone"]).locked(["gone", "fc1"], True)
    fitting = plan.fitting(NAMES)
    assert fitting == TunedPlan().with_cells(["fc1"], {"bits": 3}).locked(["fc1"], True)


def test_every_step_is_undone_and_done_again() -> None:
    states = list(range(MAX_STATES + 20))
    history = History(states[0])
    for state in states[1:]:
        history = history.then(state).then(state)
    for state in states[-2:-50:-1]:
        history = history.undo()
        assert history.now == state
    assert history.redo().undo() == history
    for _ in states:
        history = history.undo()
    assert history.now == states[-1] - MAX_STATES
    for _ in states:
        history = history.redo()
    assert history.now == states[-1]


def test_fused_layers_are_found_and_made_alike() -> None:
    names = [f"model.layers.{n}.self_attn.{part}_proj" for n in range(2) for part in "qkvo"]
    info = dataclasses.replace(LAYERS["fc1"])
    layers: dict[str, Layer] = {name: dataclasses.replace(info, name=name) for name in names}
    assert fused_groups(layers) == [tuple(names[:3]), tuple(names[4:7])]
    plan = TunedPlan(PlaygroundState(bits=4)).with_cells([names[1]], {"bits": 8})
    assert unlike(plan, layers) == [tuple(names[:3])]
    alike = made_alike(plan, layers)
    assert [alike.settings(name).bits for name in names] == [8, 8, 8, 4, 4, 4, 4, 4]
    assert not unlike(alike, layers)
    assert not unlike(made_alike(plan.in_float([names[0]]), layers), layers)


BAD_EDIT, BAD_FIELD = '{"schema":1,"edits":{"a":{"bits":99}}}', '{"schema":1,"base":{"nothing":1}}'


BAD_BLOCK, DEEP = '{"schema":1,"ranges":{"a":[[1e999,0,1]]}}', "[" * 100_000
NO_OBJECT = '{"schema":1,"edits":[1],"plain":3}'


@pytest.mark.parametrize("text", ["[]", "{", '{"schema":2}', BAD_EDIT, BAD_FIELD, BAD_BLOCK, DEEP, NO_OBJECT])
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  any of json's, too
        read_plan(text)
