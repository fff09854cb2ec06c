"""The inspector: the layer that does the damage comes first once it is measured, and its card says why, truly."""

from __future__ import annotations

import pathlib
import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from explorer import compute
from explorer.figures.tensor_map import TensorMap, describe_tensor_map, tensor_map_figure
from explorer.figures.theme import Canvas
from explorer.notation import short
from explorer.panels.tensor_card import known_of, sentence
from explorer.tensor_table import agreements, looked_at
from quant_engine import (
    IntFormat,
    LayerPlan,
    MinMSE,
    PerChannel,
    PerGroup,
    PerTensor,
    QuantizationPlan,
    QuantizerSpec,
    fake_quantize,
    fit,
)
from quant_engine.studies import (
    Attribution,
    attribute,
    effect,
    input_moments,
    layer_input,
    layer_output_sqnr_db,
    predict_sensitivity,
)
from quant_engine.studies.sensitivity import Trial
from tests.app.waiting import await_answers
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
SPEC = QuantizerSpec(IntFormat(4))
SHARED = (PerTensor(), PerChannel(0), PerGroup(64, remainder="short"))
SPECS = [QuantizerSpec(IntFormat(bits), shared) for bits in (2, 4, 8, 16) for shared in SHARED]


def inspector(model: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["model"] = model
    at.switch_page(str(ROOT / "pages" / "inspector.py")).run()
    assert not at.exception
    return await_answers(at)


def column(at: AppTest, start: str) -> list[float]:
    table = at.dataframe[0].value
    [name] = [name for name in table if name.startswith(start)]
    return list(table[name])


def test_the_table_is_sorted_by_what_is_to_gain_and_then_by_the_measured_damage() -> None:
    at = inspector("fashion-depthwise")
    gains = column(at, "dB to gain")
    assert gains == sorted(gains, reverse=True)
    at.button(key="inspector damage_begin").click()
    at = await_answers(await_answers(at.run()).run())  # what the damage is compared with is found behind it
    names, damage = column(at, "Tensor"), column(at, "KL alone")
    assert damage == sorted(damage, reverse=True)
    network = compute.network(DEPTHWISE_KEY)
    for name, value in zip(names[:2], damage[:2], strict=True):
        alone = effect(network, Trial(name, SPEC).plan(network))
        assert value == pytest.approx(alone.divergence, rel=1e-9)
    text = " ".join(one.value for one in at.caption)
    assert "times the sum" in text
    assert "Rank correlation" in text
    expected = [predict_sensitivity(network, name, SPEC).loss_increase for name in names]
    agreed = scipy.stats.spearmanr(expected, damage).statistic
    assert f"Fisher (½ Σ F·error²) {short(agreed, 2)}" in text


def test_output_sqnr_is_found_for_every_layer_of_a_model_with_data() -> None:
    at = inspector("fashion-cnn")
    names, shown = column(at, "Tensor"), column(at, "Output SQNR")
    network = compute.network(CNN_KEY)
    expected = {
        one.layer: layer_output_sqnr_db(network, one.layer, SPEC, one.moment)
        for one in input_moments(network, network.layers())
        if one is not None
    }
    assert dict(zip(names, shown, strict=True)) == pytest.approx(expected)


def test_search_and_filter_leave_what_they_say_and_the_card_stays() -> None:
    at = inspector("fashion-depthwise")
    at.text_input(key="inspector_search").set_value("DW").run()
    assert {name[:2] for name in column(at, "Tensor")} == {"dw"}
    at.selectbox(key="inspector_filter").set_value("gain").run()
    assert min(column(at, "dB to gain")) > 3
    at.text_input(key="inspector_search").set_value("nowhere").run()
    assert not at.dataframe
    assert not at.exception
    assert any("dw1" in one.value for one in at.subheader)


def test_what_would_help_is_measured_for_the_chosen_layer() -> None:
    at = inspector("fashion-depthwise")
    at.button(key="inspector help_begin").click()
    at = await_answers(at.run())
    rows = at.table[0].value
    assert not rows["damage"][:6].str.contains("…").any()
    assert any("Gaussian noise of the same size" in one.value for one in at.caption)


def test_the_sentence_on_every_tensor_of_both_networks_is_true() -> None:
    for model in (CNN_KEY, DEPTHWISE_KEY):
        for layer in compute.network(model).layers():
            for spec in SPECS:
                known = known_of(model, layer, spec)
                said, x = sentence(known, spec), compute.matrix(model, layer)
                numbers = [float(text) for text in re.findall(r"\d+\.?\d*(?= σ)", said)]
                largest = np.abs(x).max() / x.std(dtype=np.float64)
                assert numbers == ([pytest.approx(largest, rel=0.01)] if numbers else [])
                for count, total in re.findall(r"(\d+) of (\d+) codes", said):
                    counts = np.sort(np.unique(fit(x, spec).encode(x).codes, return_counts=True)[1])[::-1]
                    assert counts[: int(count)].sum() >= 0.99 * x.size
                    assert int(total) == 1 << spec.format.bits
                best, finer = replace(spec, clipping=MinMSE()), replace(spec, granularity=PerChannel(0))
                for text in re.findall(r"best range .* gains (\d+\.\d) dB", said):
                    assert float(text) == pytest.approx(sqnr_db(x, best) - sqnr_db(x, spec), abs=0.06)
                for text in re.findall(r"scale a channel gains (\d+\.\d) dB", said):
                    assert float(text) == pytest.approx(sqnr_db(x, finer) - sqnr_db(x, spec), abs=0.06)
                for text in re.findall(r"(-?\d+\.\d) dB with one more bit", said):
                    more = replace(spec, format=IntFormat(spec.format.bits + 1))
                    assert float(text) == pytest.approx(sqnr_db(x, more) - sqnr_db(x, spec), abs=0.06)
                for text in re.findall(r"ends at ([\d.]+) %", said):
                    ends = fit(x, best).scale / fit(x, spec).scale
                    assert float(text) == pytest.approx(100 * float(np.median(ends)), rel=0.01)
                    assert float(text) < 95
                assert ("no more bits" in said) <= (spec.format.bits == 16)
                if "No outlier and no channel" in said:
                    assert sqnr_db(x, finer) - sqnr_db(x, spec) < 1


def sqnr_db(x: NDArray[np.float32], spec: QuantizerSpec) -> float:
    exact = x.astype(np.float64)
    error = np.square(fake_quantize(x, spec) - exact).sum()
    return float(10 * np.log10(np.square(exact).sum() / error)) if error else float("inf")


def test_agreement_is_spearmans_of_each_proxy_with_the_damage() -> None:
    rows = {row.name: row for row in looked_at(DEPTHWISE_KEY, SPEC)}
    outputs = {name: float(number) for number, name in enumerate(rows)}
    del outputs["dw1"]  # of a layer that the model does not run there is none
    rows = {name: replace(row, output_sqnr_db=outputs.get(name)) for name, row in rows.items()}
    plan = QuantizationPlan.of(rows, {"*": LayerPlan(SPEC)})
    *_, found = attribute(compute.network(DEPTHWISE_KEY), plan, kept=compute.attributions(DEPTHWISE_KEY))
    assert isinstance(found, Attribution)
    agreed = agreements(rows.values(), found.alone)
    damage = [found.alone[name].measure.value for name in rows]
    weights = [compute.matrix(DEPTHWISE_KEY, name).astype(np.float64) for name in rows]
    errors = [np.square(fit(x, SPEC).fake_quantize(x.astype(np.float32)) - x).sum() for x in weights]
    kurtosis = [scipy.stats.kurtosis(x, axis=None, fisher=False) for x in weights]
    assert agreed["squared_error"] == pytest.approx(scipy.stats.spearmanr(errors, damage).statistic)
    some = [found.alone[name].measure.value for name in outputs]
    assert agreed["output_sqnr"] == pytest.approx(scipy.stats.spearmanr([*outputs.values()], some).statistic * -1)
    assert agreed["kurtosis"] == pytest.approx(scipy.stats.spearmanr(kurtosis, damage).statistic)


def test_areas_of_the_map_are_parameters_and_colours_the_column_that_is_chosen() -> None:
    rows = list(looked_at(CNN_KEY, SPEC))
    gains = [row.gain_db for row in rows]
    shown = TensorMap([row.name for row in rows], [row.parameters for row in rows], [*gains[:-1], None], "dB to gain")
    [areas] = tensor_map_figure(shown, Canvas("")).data
    assert list(areas.values) == [layer.parameters for layer in compute.network(CNN_KEY).layers().values()]
    known = np.array(gains[:-1])
    assert areas.marker.colors[-1] is None
    assert list(areas.marker.colors[:-1]) == pytest.approx((known - known.min()) / (known.max() - known.min()))
    assert rows[int(known.argmax())].name in describe_tensor_map(shown)


def test_the_calibration_check_is_begun_by_a_button_and_shows_every_layer_of_every_set() -> None:
    at = inspector("fashion-cnn")
    at.session_state["inspector_coverage"] = True
    at.run()
    at.button(key="inspector coverage_begin").click()
    at = await_answers(at.run())
    table = next(one.value for one in at.dataframe if "Layer" in one.value)
    assert [*table["Layer"]] == [name for name in compute.network(CNN_KEY).layers() for _ in range(3)]
    lost = table.groupby("Set")["dB lost"]
    assert lost.max()["In-domain"] < 3 < lost.min()["Gaussian noise"]
    said = next(one.value for one in at.markdown if "In-domain" in one.value)
    assert "**In-domain** (512 samples): fine in all 5 layers." in said
    assert "**Gaussian noise** (512 samples): too wide in 5 of 5 layers, most in conv1" in said


def test_what_a_layer_receives_is_shown_and_opens_in_the_playground_as_a_tensor() -> None:
    at = inspector("fashion-cnn")
    at.session_state["inspector_input"] = True
    at = await_answers(at.run())
    layer = compute.MODELS.opening_layer("fashion-cnn")
    found = layer_input(compute.network(CNN_KEY), layer)
    said = next(one.value for one in at.caption if "Least MSE at 8 bits" in one.value)
    assert f"Outlier channels: {len(found.outlier_channels) or 'none'}" in said
    at.button(key="inspector_input_open").click().run()
    [name] = at.session_state["own_files"].names
    assert name == f"fashion-cnn {layer} input.npz"
    models = at.session_state["own_files"].models
    network = models.network(models.key(name))
    np.testing.assert_array_equal(network.weight(f"{layer} input"), found.values)
