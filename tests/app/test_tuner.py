"""The page *Tuner*: its numbers are the engine's, on data held out, and every edit can be undone."""

from __future__ import annotations

import io
import json
import pathlib
import zipfile
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from explorer import compute
from explorer.notation import accuracy, sizes
from explorer.results import ends
from explorer.tuner_files import Written
from explorer.tuner_results import Size, split_of
from explorer.tuning.codec import write_plan
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import FixedRange, IntFormat, LayerPlan, PerChannel, PerGroup, QuantizationPlan, QuantizerSpec, fit
from quant_engine.export import EXPORTERS, to_aimet
from quant_engine.studies import footprint
from tests.app.waiting import await_answers
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
NAMES = [*compute.network(DEPTHWISE_KEY).layers()]


def tuner(model: str, **link: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    for key, value in {"model": model, **link}.items():
        at.query_params[key] = value
    at.switch_page(str(ROOT / "pages" / "tuner.py")).run()
    assert not at.exception
    return await_answers(at)


def with_tool(at: AppTest, name: str) -> AppTest:
    at.session_state["tuner_tool"] = name
    return at.run()


def numbers(at: AppTest) -> dict[str, Any]:
    return {metric.label: metric.value for metric in at.metric}


def test_the_numbers_are_those_of_the_engine_on_the_search_split() -> None:
    plan = TunedPlan().with_cells(["dw1", "stem"], {"bits": 4, "granularity": PerChannel}).in_float(["fc"])
    at = tuner("fashion-depthwise", tuner_plan=write_plan(plan))
    network = compute.network(DEPTHWISE_KEY)
    eight = LayerPlan(QuantizerSpec(IntFormat(8)))
    four = LayerPlan(QuantizerSpec(IntFormat(4), PerChannel(0)))
    planned = {**dict.fromkeys(NAMES, eight), "dw1": four, "stem": four}
    del planned["fc"]
    engine = QuantizationPlan(planned)
    assert split_of(DEPTHWISE_KEY) == "search"
    shown, every = numbers(at), QuantizationPlan(dict.fromkeys(NAMES, eight))
    assert shown["float32"] == accuracy(network.evaluate(split="search").value)
    assert shown["All alike"] == accuracy(network.evaluate(every, "search").value)
    assert shown["Your plan"] == accuracy(network.evaluate(engine, "search").value)
    assert shown["Size of the weights"] == sizes(footprint(network).size_bytes, footprint(network, engine).size_bytes)


def test_a_pattern_edits_layers_and_undo_and_redo_go_back_and_on() -> None:
    at = tuner("fashion-depthwise")
    assert numbers(at)["Your plan"] == numbers(at)["All alike"]
    at.text_input(key="tuner_pattern").set_value("dw* → 3 bits").run()
    at = await_answers(at)
    edited = numbers(at)["Your plan"]
    assert edited != numbers(at)["All alike"]
    assert '"bits":3' in "".join(at.query_params["tuner_plan"])
    at.button(key="tuner_undo").click()
    at = await_answers(at.run())
    assert numbers(at)["Your plan"] == numbers(at)["All alike"]
    assert "tuner_plan" not in at.query_params
    at.button(key="tuner_redo").click()
    at = await_answers(at.run())
    assert numbers(at)["Your plan"] == edited
    at.text_input(key="tuner_pattern").set_value("dw* → KL, NF4").run()
    assert any("KL" in warning.value for warning in at.warning)
    at.text_input(key="tuner_pattern").set_value("nowhere → 3 bits").run()
    assert any("nowhere" in warning.value for warning in at.warning)
    assert numbers(at)["Your plan"] == edited


def test_the_damage_of_each_layer_is_measured_on_request_and_again_after_an_edit() -> None:
    at = with_tool(tuner("fashion-cnn"), "culprits")
    at.button(key="tuner damage_begin").click()
    at = await_answers(at.run())
    at.text_input(key="tuner_pattern").set_value("conv1 → 4 bits").run()
    at = await_answers(at)
    alone = at.session_state[compute.SESSION_KEY].places["tuner damage"].result().alone
    assert set(alone) == set(compute.network(CNN_KEY).layers())
    assert max(alone, key=lambda layer: alone[layer].measure.value) == "conv1"


def test_the_culprit_is_found_and_a_click_gives_it_eight_bits_with_the_score_that_was_measured() -> None:
    plan = TunedPlan().with_cells(["fc2", "conv2"], {"bits": 2})
    at = with_tool(tuner("fashion-cnn", tuner_plan=write_plan(plan)), "culprits")
    at.button(key="tuner culprits_begin").click()
    at = await_answers(at.run())
    found = at.session_state[compute.SESSION_KEY].places["tuner culprits"].result()
    said = " ".join(line.value for line in at.markdown)
    assert f"**{found.falls[0].layer}**" in said
    at.button(key="tuner_mend_eight").click()
    at = await_answers(at.run())
    network = compute.network(CNN_KEY)
    eight = QuantizationPlan.of(network.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(8)))})
    spared = {name: eight[name] for name in found.mend.layers}
    mended = QuantizationPlan({**plan.to_plan(network.layers()).layers, **spared})
    assert numbers(at)["Your plan"] == accuracy(network.evaluate(mended, "search").value)
    assert network.evaluate(mended, "search").value == pytest.approx(found.mend.in_eight_bits.score.value)


def test_a_pinned_plan_stands_beside_the_one_at_hand_sample_by_sample_and_comes_back() -> None:
    at = with_tool(tuner("fashion-depthwise"), "tried")
    at.button(key="tuner_pin").click().run()
    at.text_input(key="tuner_pattern").set_value("dw* → 3 bits").run()
    at = await_answers(await_answers(at))
    network = compute.network(DEPTHWISE_KEY)
    eight = QuantizationPlan(dict.fromkeys(NAMES, LayerPlan(QuantizerSpec(IntFormat(8)))))
    three = LayerPlan(QuantizerSpec(IntFormat(3)))
    plan = QuantizationPlan({**eight.layers, **{name: three for name in NAMES if name.startswith("dw")}})
    labels = network.data("search")[1]
    right, now = (network.predict(one, "search") == labels for one in (eight, plan))
    told = " ".join(caption.value for caption in at.caption)
    assert f"{(~right & now).sum()} samples fixed, {(right & ~now).sum()} broken" in told
    tried = at.session_state["tuner_tried"][DEPTHWISE_KEY]
    assert set(tried) == {eight.key, plan.key}
    assert tried[plan.key].score.value == pytest.approx(now.mean())
    at.button(key="tuner_load_A").click()
    at = await_answers(at.run())
    assert numbers(at)["Your plan"] == numbers(at)["All alike"]


def test_a_layer_in_float_says_so_and_can_be_quantized_again() -> None:
    at = tuner("fashion-cnn", tensor="fc1", tuner_plan=write_plan(TunedPlan().in_float(["fc1"])))
    assert any("fc1" in info.value for info in at.info)
    at.button(key="tuner_like_others").click().run()
    assert not at.exception
    assert not at.info


def test_a_link_of_nonsense_opens_all_layers_alike_and_says_so() -> None:
    at = tuner("fashion-cnn", tuner_plan='{"schema":1,"base":{"bits":99}}')
    assert any("not a plan that this version has written; all layers start alike" in one.value for one in at.warning)
    assert numbers(at)["Your plan"] == numbers(at)["All alike"]


def test_bits_a_weight_are_all_bits_over_all_weights() -> None:
    assert Size(1000, 4000).bits_a_weight == pytest.approx(8.0)


def export_tool(at: AppTest, target: str) -> AppTest:
    at = with_tool(at, "export")
    at.selectbox(key="tuner_target").set_value(target)
    return await_answers(at.run())


def test_the_plan_is_written_as_a_file_that_is_the_plan_and_verified(tmp_path: pathlib.Path) -> None:
    plan = TunedPlan().with_cells(["conv2"], {"bits": 5}).with_range("conv3", 0, -0.2, 0.2)
    at = export_tool(tuner("fashion-cnn", tuner_plan=write_plan(plan)), "plan")
    at.button(key="tuner export_begin").click()
    at = await_answers(at.run())
    at.button(key="tuner verify_begin").click()
    at = await_answers(at.run())
    assert at.table[0].value["same codes"].tolist() == ["yes"]
    found = at.session_state[compute.SESSION_KEY].places["tuner export"].result()
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        archive.extractall(tmp_path)
    [path] = tmp_path.glob("*.json")
    network = compute.network(CNN_KEY)
    loaded = QuantizationPlan.load(path)
    assert network.evaluate(loaded) == network.evaluate(plan.to_plan(network.layers()))


@pytest.mark.parametrize("target", EXPORTERS)
def test_every_target_says_what_it_cannot_express_or_writes_a_file(target: str) -> None:
    at = export_tool(tuner("fashion-cnn", tuner_plan=write_plan(TunedPlan().with_cells(["fc1"], {"bits": 5}))), target)
    begin = [button for button in at.button if button.key == "tuner export_begin"]
    if not begin:
        assert any(box.key == "tuner_as_float" for box in at.checkbox)
        at.checkbox(key="tuner_as_float").check()
        at = await_answers(at.run())
    at.button(key="tuner export_begin").click()
    at = await_answers(at.run())
    assert at.session_state[compute.SESSION_KEY].places["tuner export"].result().content


def test_a_plan_within_the_budget_is_taken_with_the_score_that_was_measured_and_tested_by_a_button() -> None:
    at = with_tool(tuner("fashion-cnn"), "budget")
    at.button_group(key="tuner_shared_by").set_value(["channel"]).run()
    at.button(key="tuner budget_begin").click()
    at = await_answers(at.run())
    front = at.session_state[compute.SESSION_KEY].places["tuner budget"].result()
    best = front.best_within(at.slider(key="tuner_bits").value)
    at.button(key="tuner_take").click()
    at = await_answers(at.run())
    assert numbers(at)["Your plan"] == accuracy(best.measured.score.value)
    at.button(key="tuner test_begin").click()
    at = await_answers(at.run())
    tested = compute.network(CNN_KEY).evaluate(best.plan, "test")
    assert any(f"**{accuracy(tested.value)}**" in line.value for line in at.markdown)
    assert [*at.session_state["tuner_tested"][CNN_KEY]] == [best.plan.key]
    assert any("session: 1. " in line.value and accuracy(tested.value) in line.value for line in at.caption)


def test_a_file_is_a_start_with_its_own_scales_and_goes_back_byte_for_byte(tmp_path: pathlib.Path) -> None:
    network = compute.network(CNN_KEY)
    plan = QuantizationPlan.of(network.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(4), PerChannel(0)))})
    to_aimet(network, plan, tmp_path / "cnn.encodings")
    encodings = (tmp_path / "cnn.encodings").read_bytes()
    at = export_tool(tuner("fashion-cnn"), "plan")
    at = loaded(at, "cnn.encodings", encodings)
    assert numbers(at)["Your plan"] == accuracy(network.evaluate(plan, "search").value)
    quantizer = fit(compute.matrix(CNN_KEY, "conv2"), QuantizerSpec(IntFormat(4), PerChannel(0)))
    shown = dict(at.session_state[compute.SESSION_KEY].places["tuner sqnr"].items)
    assert shown["conv2"] == pytest.approx(quantizer.measure(compute.matrix(CNN_KEY, "conv2")).sqnr_db)
    assert at.selectbox(key="tuner_target").value.startswith("aimet")
    assert written(at).content == encodings
    at.text_input(key="tuner_pattern").set_value("fc1 → 8 bits").run()
    at = await_answers(at)
    edited = written(at)
    assert edited.edited == 1
    before, after = (
        {one["name"]: one for one in json.loads(text)["param_encodings"]} for text in (encodings, edited.content)
    )
    assert [name for name in before if before[name] != after[name]] == ["fc1.weight"]


def test_a_quantized_graph_is_a_start_and_what_is_no_plan_is_refused(tmp_path: pathlib.Path) -> None:
    network = compute.network(CNN_KEY)
    inputs = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
    plan = QuantizationPlan.of(network.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(4), PerChannel(0)), inputs)})
    EXPORTERS["onnx"].write(network, plan, tmp_path / "quantized.onnx")
    graph = (tmp_path / "quantized.onnx").read_bytes()
    at = loaded(export_tool(tuner("fashion-cnn"), "plan"), "quantized.onnx", graph)
    assert numbers(at)["Your plan"] == accuracy(network.evaluate(plan, "search").value)
    assert written(at).content == graph
    at.session_state["tuner_tool"], at.session_state["tuner_side"] = "range", "inputs"
    at = await_answers(at.run())
    layer, fitted = "conv3", network.freeze(plan)
    found = at.session_state[compute.SESSION_KEY].places["tuner inputs"].result()
    assert (found.view.lo, found.view.hi) == pytest.approx(ends(fitted[layer].activation))
    assert found.view.distribution.hi <= network.activations([layer])[layer].max()
    at = export_tool(at, "plan")
    for name, text in (("deep.json", b"[" * 100_000), ("no.json", b"[1, 2")):
        at = loaded(at, name, text)
        assert any("no JSON" in warning.value for warning in at.warning)
    QuantizationPlan({"conv3": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(64)))}).save(tmp_path / "other.json")
    at = loaded(at, "other.json", (tmp_path / "other.json").read_bytes())
    assert any("does not divide" in error.value for error in (*at.error, *at.warning))
    assert numbers(at)["Your plan"] == accuracy(network.evaluate(plan, "search").value)


def test_a_range_of_inputs_by_hand_is_scored_and_shown_over_what_the_layer_receives() -> None:
    plan = TunedPlan().with_base({"activation_bits": 8}).with_input_range("dw1", 0.0, 6.0)
    at = tuner("fashion-depthwise", tensor="dw1", tuner_plan=write_plan(plan))
    network = compute.network(DEPTHWISE_KEY)
    static = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
    layers = dict.fromkeys(NAMES, LayerPlan(QuantizerSpec(IntFormat(8)), static))
    layers["dw1"] = LayerPlan(QuantizerSpec(IntFormat(8)), replace(static, clipping=FixedRange(0.0, 6.0)))
    assert numbers(at)["Your plan"] == accuracy(network.evaluate(QuantizationPlan(layers), "search").value)
    at.session_state["tuner_side"] = "inputs"
    at = await_answers(at.run())
    assert not at.exception
    found = at.session_state[compute.SESSION_KEY].places["tuner inputs"].result()
    assert (found.view.lo, found.view.hi) == (0.0, pytest.approx(6.0))
    received = network.activations(["dw1"])["dw1"]
    marks = {mark.name: mark.hi for mark in found.marks}
    assert marks["min–max"] == pytest.approx(received.max())


def loaded(at: AppTest, name: str, content: bytes) -> AppTest:
    """Give the page a file to start from."""
    at.file_uploader(key="tuner_file").set_value((name, content, "application/octet-stream"))
    return await_answers(at.run())


def written(at: AppTest) -> Written:
    """Have the page write the file of the target that is chosen."""
    at.button(key="tuner export_begin").click()
    at = await_answers(at.run())
    found: Written = at.session_state[compute.SESSION_KEY].places["tuner export"].result()
    return found


def test_a_report_of_the_plan_beside_all_layers_alike_is_one_file_with_both_scores() -> None:
    plan = TunedPlan().with_cells(["fc1"], {"bits": 3})
    at = export_tool(tuner("fashion-cnn", tuner_plan=write_plan(plan)), "plan")
    at.button(key="tuner report_begin").click()
    at = await_answers(at.run())
    assert not at.exception
    report = at.session_state[compute.SESSION_KEY].places["tuner report"].result()
    text = report.content.decode()
    assert report.name == "fashion-cnn-report.html"
    network = compute.network(CNN_KEY)
    score = network.evaluate(plan.to_plan(network.layers()), "search")
    assert f"{score.value:.3f}" in text
    assert "All alike" in text
    assert "Your plan" in text
