"""The lesson on mixed precision: what it measures, says and offers, held against torch, numpy and trying all plans."""

from __future__ import annotations

import csv
import io
import itertools
import json
import pathlib
import time

import numpy as np
import pytest
import scipy.stats
import torch
from streamlit.testing.v1 import AppTest

from explorer.figures.additivity import additivity_figure
from explorer.figures.plans import PlanPoint, front_figure, scatter_figure, undominated
from explorer.figures.sensitivity import sensitivity_figure
from explorer.figures.slopes import Column, slope_figure
from explorer.figures.theme import Canvas
from explorer.lessons import LESSONS
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix, Scene
from explorer.lessons.mixed import layer_sensitivity, next_bit, plans, ranking, search
from explorer.lessons.mixed import lesson as mixed
from explorer.lessons.mixed.additivity import measured_of, verdict
from explorer.notation import short
from explorer.tensors import subject
from quant_engine import FP16, IntFormat, MinMSE, PerChannel, QuantizationPlan, QuantizerSpec, fake_quantize
from quant_engine.network import Score, load
from quant_engine.studies import additivity, effect, footprint
from quant_engine.studies import ranking as compare_ranks
from quant_engine.tasks.score import mean
from tests import reference
from tests.app.waiting import await_answers
from tests.engine.trained import folded, trained_module
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
WORDS = read_prose("mixed").laboratory
LAYERS = ("conv1", "conv2", "conv3", "fc1", "fc2")
CANVAS = Canvas("test")


def open_lesson(model: str = "fashion-cnn", **settings: object) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.switch_page(str(ROOT / "pages" / "lesson_mixed.py"))
    at.query_params["model"] = model
    return change(at, show_anyway=True, **settings)


def change(at: AppTest, **settings: object) -> AppTest:
    for name, value in settings.items():
        at.session_state[f"mixed_{name}"] = value
    at.run()
    assert not at.exception
    return at


def await_text(at: AppTest, wanted: str, limit: float = 60) -> AppTest:
    """Run again until some text is on the page, as the page does by itself."""
    deadline = time.monotonic() + limit
    while not any(wanted in text for text in everything_on(at)):
        assert time.monotonic() < deadline, (wanted, everything_on(at))
        time.sleep(0.2)
        change(at)
    return at


def everything_on(at: AppTest) -> list[str]:
    found = [element.value for kind in (at.markdown, at.caption, at.info) for element in kind]
    return [*found, *(table.value.to_string() for table in at.table)]


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def scene_of(bits: tuple[int, ...], shared: str = "channel", layer: str = "conv3") -> Scene:
    mix = Mix(CNN_KEY, layer, shared, 4, bits)
    return Scene(subject("network", mix.model, layer), plans.spec_of(mix, bits[LAYERS.index(layer)]), mix=mix)


def rounded(x: np.ndarray, width: int) -> np.ndarray:
    """A weight in one output channel's scale, by the best of many: the obvious slow way."""
    if width == 16:
        return x.astype(np.float16).astype(np.float32)
    rows, top = x.reshape(len(x), -1), 2 ** (width - 1) - 1
    found = np.empty_like(rows)
    for row, out in zip(rows, found, strict=True):
        scales = np.float32(np.abs(row).max() / top) * np.linspace(0.2, 1.0, 801, dtype=np.float32)[:, None]
        tried = np.clip(np.rint(row / scales), -top - 1, top) * scales
        out[:] = tried[np.square(tried - row, dtype=np.float64).sum(axis=1).argmin()]
    return found.reshape(x.shape)


def losses_of(all_bits: list[tuple[int | None, ...]]) -> list[float]:
    """The calibration loss of plans by torch alone: the trained modules with weights replaced; None leaves float32."""
    layers, whole = folded(trained_module("fashion-cnn"))
    images, labels = (torch.from_numpy(part) for part in load("fashion-cnn").data("calibration"))
    kept = {name: layers[name].weight.detach().numpy().copy() for name in LAYERS}
    found = []
    for bits in all_bits:
        with torch.inference_mode():
            for name, width in zip(LAYERS, bits, strict=True):
                new = kept[name] if width is None else rounded(kept[name], width)
                layers[name].weight.copy_(torch.from_numpy(new))
            found.append(torch.nn.functional.cross_entropy(whole(images), labels).item())
    return found


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_most_sensitive_layer_is_the_one_of_which_torchs_loss_rises_the_most() -> None:
    alone = [tuple(3 if name == layer else None for name in LAYERS) for layer in LAYERS]
    plain, *tried = losses_of([(None,) * 5, *alone])
    rises = layer_sensitivity.rises(Mix(CNN_KEY, "conv3", "channel", 4, (4,) * 5), 3)
    for layer, loss in zip(LAYERS, tried, strict=True):
        assert rises[layer] == pytest.approx(loss - plain, rel=0.25, abs=0.01)
    scene = scene_of((4,) * 5)
    assert mixed.most_sensitive(scene) == LAYERS[int(np.argmax(tried))] == "conv1"
    assert LESSONS["mixed"].prediction(scene) == "first"
    at = open_lesson(beat="See")
    assert any("**conv1**" in text and "raises the loss the most" in text for text in everything_on(at))


def test_the_next_bit_goes_where_torchs_loss_falls_most_for_the_bytes() -> None:
    bits = (8, 4, 4, 3, 4)
    grown = [tuple((16 if b == 8 else b + 1) if n == place else b for n, b in enumerate(bits)) for place in range(5)]
    now, *then = losses_of([bits, *grown])
    weights = [load("fashion-cnn").layers()[name].parameters for name in LAYERS]
    outputs = [load("fashion-cnn").layers()[name].shape[0] for name in LAYERS]
    # one bit more for every weight; from int8 to FP16, 8 more, and no scales
    added = [n / 8 if b < 8 else n - 4 * out for n, b, out in zip(weights, bits, outputs, strict=True)]
    gains = {name: (now - loss) / size for name, loss, size in zip(LAYERS, then, added, strict=True)}
    scene = scene_of(bits)
    assert {name: size for name, (_, size) in next_bit.steps_up(scene).items()} == dict(zip(LAYERS, added, strict=True))
    assert next_bit.next_bit(scene) == max(gains, key=lambda name: gains[name])
    asked = LESSONS["mixed"].question(scene)
    labels = {option.key: option.label for option in asked.options}
    assert labels["right"] == next_bit.next_bit(scene)
    assert labels.get("biggest", "fc1") == "fc1"


def test_where_every_layer_is_a_float_none_gets_the_next_bit() -> None:
    asked = LESSONS["mixed"].question(scene_of((16,) * 5))
    assert asked.option("right").label.startswith("none")
    at = open_lesson(beat="Check", plan="16_16_16_16_16")
    assert not at.exception


def test_the_formula_holds_torchs_fisher_information() -> None:
    layers, whole = folded(trained_module("fashion-cnn"))
    images, labels = (torch.from_numpy(part) for part in load("fashion-cnn").data("calibration"))
    weight = layers["fc2"].weight.requires_grad_()
    total = torch.zeros_like(weight)
    for image, label in zip(images, labels, strict=True):
        loss = torch.nn.functional.cross_entropy(whole(image[None]), label[None])
        total += torch.autograd.grad(loss, weight)[0].square()
    plain = weight.detach().numpy()
    error = np.square(rounded(plain, 4) - plain, dtype=np.float64)
    expected = float(((total / len(images)).numpy() * error).sum() / 2)
    scene = scene_of((4,) * 5, layer="fc2")
    found = layer_sensitivity.predicted(scene.mix, "fc2", scene.spec).loss_increase
    assert found == pytest.approx(expected, rel=0.05)
    lines = LESSONS["mixed"].formulas(scene, None)
    assert rf"\tfrac12 \cdot {plain.size} \cdot" in lines[1]
    assert r"136 + 2432 + 9472 + 28032 + 520 = 40592 \le 40592" in lines[2]


def divergences_of(model: str, chosen: list[tuple[str, ...]], bits: int) -> list[np.ndarray]:
    """KL of every calibration sample's outputs by torch alone, with some layers' weights quantized."""
    layers, whole = folded(trained_module(model))
    images = torch.from_numpy(load(model).data("calibration")[0])
    spec = QuantizerSpec(IntFormat(bits), PerChannel(0), clipping=MinMSE())
    kept = {name: layer.weight.detach().numpy().copy() for name, layer in layers.items()}
    found = []
    for names in ((), *chosen):
        with torch.inference_mode():
            for name, weight in kept.items():
                rows = weight.reshape(len(weight), -1)
                new = fake_quantize(rows, spec).reshape(weight.shape) if name in names else weight
                layers[name].weight.copy_(torch.from_numpy(new))
            found.append(whole(images).double().log_softmax(1))
    plain, *others = found
    return [(plain.exp() * (plain - other)).sum(1).numpy() for other in others]


@pytest.mark.parametrize(("model", "bits"), [("fashion-cnn", 2), ("fashion-depthwise", 4), ("fashion-depthwise", 5)])
def test_the_additivity_ratio_is_that_of_torchs_divergences(model: str, bits: int) -> None:
    key = {"fashion-cnn": CNN_KEY, "fashion-depthwise": DEPTHWISE_KEY}[model]
    names = tuple(load(model).layers())
    *alone, together = divergences_of(model, [*((name,) for name in names), names], bits)
    mix = Mix(key, names[0], "channel", 4, (4,) * len(names))
    study = measured_of(mix, bits)
    *steps, found = study.steps()
    assert len(steps) + 1 == study.total
    compared = found.additivity
    for name, values in zip(names, alone, strict=True):
        assert found.alone[name].measure.value == pytest.approx(values.mean(), rel=1e-3)
    expected = together.sum() / sum(alone).sum()
    assert compared.ratio.value == pytest.approx(expected, rel=1e-3)
    drawn = np.random.default_rng(0).integers(len(together), size=(4000, len(together)))
    low, high = np.quantile(together[drawn].sum(1) / sum(alone)[drawn].sum(1), [0.025, 0.975])
    assert compared.ratio.interval == pytest.approx((low, high), abs=0.15 * (high - low))
    said = verdict(mix, bits, compared.total, compared)
    assert short(expected) in said
    wanted = "worse than the sum" if low > 1 else "less than the sum" if high < 1 else "the damage adds up"
    assert wanted in said


def test_layers_that_do_nothing_have_no_additivity_ratio() -> None:
    still = mean("KL", np.zeros(64))
    compared = additivity({"a": still, "b": still}, still)
    assert compared.ratio is None
    mix = Mix(CNN_KEY, "conv3", "channel", 4, (4,) * 5)
    assert verdict(mix, 4, compared.total, compared) == WORDS["sum_none"].format(
        at=4, n=64, unit="image", total="0", together="0"
    )


def test_the_sum_of_the_parts_is_drawn_end_to_end_once_it_is_asked_for() -> None:
    at = open_lesson(shared="layer", part="Together")
    at.button(key="mixed_alone_begin").click()
    await_text(change(at), "**additivity ratio**")
    alone = {name: Score(name, value, 9, (value, value)) for name, value in (("a", 0.5), ("b", 0.25))}
    total, together = Score("sum", 0.75, 9, (0.5, 1.0)), Score("together", 1.5, 9, (1.25, 2.0))
    bars = [trace for trace in additivity_figure(alone, total, together, CANVAS).data if trace.type == "bar"]
    assert [(bar.base[0], bar.x[0]) for bar in bars] == [(0, 0.5), (0.5, 0.25), (0, 1.5)]


def test_the_sum_of_the_parts_waits_for_the_prediction() -> None:
    at = change(open_lesson(part="Together"), show_anyway=False)
    assert not any(button.key == "mixed_alone_begin" for button in at.button)
    assert WORDS["locked"] in everything_on(at)


@pytest.mark.parametrize("model", ["fashion-cnn", "fashion-depthwise"])
def test_a_ranking_lies_where_pairs_are_in_the_wrong_order_beyond_chance(model: str) -> None:
    key = {"fashion-cnn": CNN_KEY, "fashion-depthwise": DEPTHWISE_KEY}[model]
    names, mix = [*load(model).layers()], Mix(key, "conv3", "channel", 4, (4,) * len(load(model).layers()))
    *_, attribution = measured_of(mix, 3).steps()
    scores = {name: one.divergence for name, one in attribution.alone.items()}
    found = {name: score.samples for name, score in scores.items()}
    weights = {name: load(model).weight(name).reshape(len(load(model).weight(name)), -1) for name in names}
    spec = plans.spec_of(mix, 3)
    for name, by in {
        "kurtosis": {layer: scipy.stats.kurtosis(w, axis=None, fisher=False) for layer, w in weights.items()},
        "weight MSE": {layer: np.mean((fake_quantize(w, spec) - w) ** 2) for layer, w in weights.items()},
    }.items():
        values = {layer: ranking.PROXIES[name](mix, layer, spec) for layer in names}
        assert values == pytest.approx(by, rel=1e-4)
        ranked = compare_ranks(values, scores)
        wrong = sure = 0
        for a, b in itertools.combinations(names, 2):
            ends = scipy.stats.norm.interval(0.95, (found[a] - found[b]).mean(), scipy.stats.sem(found[a] - found[b]))
            if (by[a] > by[b]) != (found[a].mean() > found[b].mean()):
                wrong += 1
                sure += not ends[0] <= 0 <= ends[1]
        assert (ranked.pairs, ranked.wrong, ranked.sure) == (len(names) * (len(names) - 1) // 2, wrong, sure)
        measured = [found[layer].mean() for layer in names]
        assert ranked.correlation == pytest.approx(scipy.stats.spearmanr([by[n] for n in names], measured).statistic)
        places = [scipy.stats.rankdata([-value for value in found]) for found in (by.values(), measured)]
        apart = np.abs(places[0] - places[1])
        assert ranked.misplaced == tuple(np.array(names)[(apart == apart.max()) & (apart > 0)])
        said = ranking.verdict(name, ranked)
        assert ("the ranking lies" in said) == (sure > 0)
        assert all(f"**{layer}**" in said for layer in ranked.misplaced)


def test_a_ranking_whose_only_faults_are_chance_does_not_lie() -> None:
    rng = np.random.default_rng(0)
    found = {"a": rng.normal(1.0, 0.5, 400), "b": rng.normal(0.1, 0.5, 400)}
    found["c"] = found["b"] + rng.normal(0.0, 5.0, 400)
    close = found["b"].mean() < found["c"].mean()
    scores = {name: mean(name, values) for name, values in found.items()}
    ranked = compare_ranks({"a": 3.0, "b": 2.0, "c": 1.0} if close else {"a": 3.0, "b": 1.0, "c": 2.0}, scores)
    assert (ranked.wrong, ranked.lies) == (1, False)
    assert "does not lie" in ranking.verdict("kurtosis", ranked)
    right = compare_ranks({name: score.value for name, score in scores.items()}, scores)
    assert (right.wrong, right.misplaced, right.correlation) == (0, (), pytest.approx(1.0))


def test_both_rankings_are_drawn_once_the_layers_are_measured() -> None:
    at = open_lesson(part="Together")
    at.session_state["mixed_at"] = 7  # bits, which no other test measures in this process
    assert WORDS["rank_none"] in everything_on(at.run())
    at.button(key="mixed_alone_begin").click()
    await_text(change(at), "Rank correlation (Spearman)")
    left, right = Column("kurtosis", {"a": 9.0, "b": 3.0}), Column("KL", {"a": 0.1, "b": 0.2})
    lines = {trace.name: list(trace.y) for trace in slope_figure(left, right, ("a",), CANVAS).data}
    assert lines == {"a": [1, 2], "b": [2, 1]}


# --- plans ------------------------------------------------------------------------------------------------------------


def test_bytes_and_downloads_are_the_engines_own(tmp_path: pathlib.Path) -> None:
    mix = Mix(DEPTHWISE_KEY, "dw1", "layer", 4, (16, 8, 7, 6, 5, 4, 3, 2, 3, 4))
    network = plans.network_of(mix)
    (tmp_path / "plan.json").write_text(plans.as_json(mix), encoding="utf-8")
    loaded = QuantizationPlan.load(tmp_path / "plan.json")
    assert [loaded[name].weight.format for name in network.layers()] == [
        FP16 if width == 16 else IntFormat(width) for width in mix.bits
    ]
    rows = list(csv.DictReader(io.StringIO(plans.as_csv(mix))))
    assert [row["layer"] for row in rows] == list(network.layers())
    assert [int(row["bits"]) for row in rows] == list(mix.bits)
    assert sum(int(row["bytes"]) for row in rows) == footprint(network, loaded).size_bytes == plans.size_of(mix)
    assert rows[0]["format"] == "FP16"


def test_the_exact_plan_is_the_best_of_all_and_goes_into_the_steppers() -> None:
    at = open_lesson(cost="loss", part="Optimiser")
    at.button(key="mixed_exact_run").click()
    await_text(change(at), "Bytes against accuracy")
    deadline = time.monotonic() + 60
    while not at.session_state["mixed_plan"]:
        assert time.monotonic() < deadline
        change(at)
    await_text(change(at, part="Plan"), "Ahead by")
    bits = plans.read_plan(at.session_state["mixed_plan"])
    mix = Mix(CNN_KEY, "conv3", "channel", 4, bits)
    costs, sizes = plans.findings(CNN_KEY, "channel").costs["loss"], plans.sizes(mix)
    chosen = [plans.WIDTHS.index(width) for width in bits]
    best = reference.best_choice(costs, sizes, plans.budget_of(mix))
    assert costs[np.arange(5), chosen].sum() == pytest.approx(best, rel=1e-12)
    assert plans.size_of(mix) <= plans.budget_of(mix) == 40592
    kinds = search.kinds_of(mix, "loss")
    point = next(point for point in kinds["yours"])
    assert point.predicted == pytest.approx(best)
    assert point.accuracy == load("fashion-cnn").evaluate(plans.engine_plan(mix), "calibration").value


def test_a_search_can_be_stopped_and_goes_on() -> None:
    at = open_lesson(cost="accuracy", part="Optimiser")
    at.button(key="mixed_greedy_run").click()
    change(at)
    at.button(key="mixed_greedy_stop").click()
    change(at)
    assert not any(button.key == "mixed_greedy_stop" for button in at.button)
    listed, done = plans.findings(CNN_KEY, "channel").fronts, -1
    while len(listed.get(("mixed_greedy", "accuracy"), [])) != done:  # the step under way may still end
        done = len(listed.get(("mixed_greedy", "accuracy"), []))
        time.sleep(3)
    assert done < 36


def test_test_images_are_scored_only_when_asked_for_and_counted() -> None:
    at = await_text(open_lesson(plan="8_7_6_3_6"), "calibration images, within the bytes")
    assert not any("test data" in table.value.to_string() for table in at.table)
    at.button(key="mixed_score").click()
    network = load("fashion-cnn")
    mix = Mix(CNN_KEY, "conv3", "channel", 4, (8, 7, 6, 3, 6))
    await_text(change(at), f"{100 * network.evaluate(plans.engine_plan(mix)).value:.1f} %")
    assert any("The search never saw the test data" in text for text in everything_on(at))
    change(at, plan="7_7_6_3_6")
    at.button(key="mixed_score").click()
    change(at)
    assert any("2 mixed plans" in text for text in everything_on(at))


@pytest.mark.parametrize("bits", [(4,) * 5, (16, 4, 4, 3, 16), (8, 7, 6, 3, 6), (4, 4, 4, 3, 4), (8,) * 5])
def test_puzzles_are_solved_by_bytes_and_measured_accuracies(bits: tuple[int, ...]) -> None:
    scene, network = scene_of(bits), load("fashion-cnn")
    size, budget = (footprint(network, plans.engine_plan(plan_of(widths))).size_bytes for widths in (bits, (4,) * 5))
    right = {}
    for widths in (bits, (4,) * 5):
        plans.effect_of(plan_of(widths))
        right[widths] = network.evaluate(plans.engine_plan(plan_of(widths)), "calibration").correct
    ahead = right[bits] - right[(4,) * 5]
    expected = (size <= budget and 16 in bits, size <= budget and ahead > 0, size <= 0.9 * budget and ahead >= 0)
    assert LESSONS["mixed"].puzzles(scene) == expected


def plan_of(bits: tuple[int, ...]) -> Mix:
    return Mix(CNN_KEY, "conv3", "channel", 4, bits)


def test_a_plan_over_the_budget_is_no_fair_match() -> None:
    at = await_text(open_lesson(plan="8_8_8_8_8"), "not a fair match")
    assert metrics(at)["Uniform, 4 bits"] != "…"


def test_a_plan_of_another_network_is_said_and_put_aside() -> None:
    at = open_lesson("fashion-depthwise", plan="8_7_6_3_6")
    assert any("for 5 layers, fashion-depthwise has 10" in info.value for info in at.info)
    assert at.session_state["mixed_plan"] == ""
    change(at)
    assert not any("for 5 layers" in info.value for info in at.info)


@pytest.mark.parametrize("text", ["4_9", "4__4", "x", "4_4_4_4_4_", "-4", "4 4", "4_4.0"])
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    assert not search.PLAN.accepts(text)


def test_sensitivities_on_the_page_are_the_engines() -> None:
    at = await_text(open_lesson(metric="KL", part="Layers"), "are the most sensitive")
    network = load("fashion-cnn")
    mix = Mix(CNN_KEY, "conv3", "channel", 4, (4,) * 5)
    known = layer_sensitivity.values_of(mix, 3, "KL", "only this layer")
    for place, layer in enumerate(LAYERS):
        plan = QuantizationPlan({layer: layer_sensitivity.Trial(layer, plans.spec_of(mix, 3)).plan(network)[layer]})
        assert known["weights"][place] == effect(network, plan).divergence
    change(at, metric="Fisher")
    await_text(at, "predicted rise of the loss")


# --- figures ----------------------------------------------------------------------------------------------------------


def test_the_front_has_the_plans_that_no_other_beats() -> None:
    rng = np.random.default_rng(2)
    points = [PlanPoint(str(n), "", int(s), float(a)) for n, (s, a) in enumerate(rng.integers(1, 12, (40, 2)))]
    found = {(point.size_bytes, point.accuracy) for point in undominated(points)}
    beaten = {
        (b.size_bytes, b.accuracy)
        for a, b in itertools.permutations(points, 2)
        if a.size_bytes <= b.size_bytes
        and a.accuracy >= b.accuracy
        and (a.size_bytes, a.accuracy) != (b.size_bytes, b.accuracy)
    }
    assert found == {(point.size_bytes, point.accuracy) for point in points} - beaten


def test_points_carry_the_plan_that_a_click_loads() -> None:
    kinds = {"exact": [PlanPoint("4_3", "4, 3", 2048, 0.9, 0.01, 0.02), PlanPoint("8_3", "8, 3", 4096, 0.95, 0.0, 0.0)]}
    front, scatter = front_figure(kinds, 3000, CANVAS), scatter_figure(kinds, "loss", True, CANVAS)
    assert list(next(trace for trace in front.data if trace.name == "exact").customdata) == ["4_3", "8_3"]
    assert list(next(trace for trace in scatter.data if trace.name == "exact").customdata) == ["4_3"]  # 0 has no place


def test_bars_are_veiled_until_a_prediction_is_made() -> None:
    at = await_answers(change(open_lesson(part="Layers"), show_anyway=False))
    known = [value for trace in bars_of(at) for value in trace["y"]]
    assert known == [None] * 10
    assert any(value for trace in bars_of(change(at, show_anyway=True)) for value in trace["y"])


def bars_of(at: AppTest) -> list[dict[str, list[float | None]]]:
    chart = next(chart for chart in at.get("plotly_chart") if "mixed_chart_survey" in chart.proto.id)
    return list(json.loads(chart.proto.spec)["data"])


def test_bars_that_are_not_known_yet_are_left_out() -> None:
    figure = sensitivity_figure(["a", "b"], {"weights": [0.5, None], "inputs": [None, np.inf]}, "loss", CANVAS)
    assert [list(trace.y) for trace in figure.data] == [[0.5, None], [None, None]]
