"""The lesson on learned codebooks: centroids, thresholds and errors worked out again with numpy and kmeans1d."""

from __future__ import annotations

import math
import pathlib

import kmeans1d
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import model_scores, tensors
from explorer.buckets.mount import script
from explorer.caches import ResultKey
from explorer.figures.midpoints import Bucketed
from explorer.lessons import LESSONS
from explorer.lessons.centroids import codebooks, learning
from explorer.lessons.centroids import lesson as centroids
from explorer.lessons.centroids.learning import OPENING
from explorer.lessons.framework.links import playground_state
from explorer.lessons.framework.scene import Placed, Scene
from explorer.notation import share, short, with_interval
from explorer.state import PlaygroundState
from quant_engine import KMeans, LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.network import load
from tests.models import CNN_KEY

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ("weights", "layer inputs", "logits", "synthetic Laplace")
ABSURD = {
    "constant": lambda rng: np.full(tensors.SAMPLES, 0.25),
    "two values": lambda rng: rng.choice([-1.0, 3.0], tensors.SAMPLES),
    "all zero": lambda rng: np.zeros(tensors.SAMPLES),
    "a huge outlier": lambda rng: np.append(rng.standard_normal(tensors.SAMPLES - 1), 1e6),
}


def open_lesson(**settings: object) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.switch_page(str(ROOT / "pages" / "lesson_centroids.py"))
    return change(at, **settings)


def change(at: AppTest, **settings: object) -> AppTest:
    for name, value in settings.items():
        at.session_state[f"centroids_{name}"] = value
    at.run()
    assert not at.exception
    return at


def scene(source: str = "weights", bits: int = 4, placed: Placed = OPENING) -> Scene:
    return Scene(tensors.subject(source, CNN_KEY, "conv3"), QuantizerSpec(KMeans(1 << bits)), placed=placed)


def values_of(source: str = "weights") -> np.ndarray:
    return tensors.subject(source, CNN_KEY, "conv3").values.astype(np.float64)


def shown(at: AppTest, label: str) -> str:
    return next(metric.value for metric in at.metric if metric.label == label)


def formulas_on(at: AppTest) -> list[str]:
    return [text.value for text in at.markdown if text.value.startswith("$")]


def nearest(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, x)


def lloyd_by_hand(x: np.ndarray, levels: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        bucket = nearest(x, levels)
        levels = np.array([x[bucket == k].mean() for k in range(levels.size)])
    return levels


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 10, 40])
def test_the_error_after_each_step_is_numpys(steps: int) -> None:
    x = values_of()
    levels = lloyd_by_hand(x, np.linspace(x.min(), x.max(), 4), steps)
    at = open_lesson(bits=2, steps=steps, show_anyway=True)
    assert shown(at, "MSE") == short(float(np.mean((levels[nearest(x, levels)] - x) ** 2)))


@pytest.mark.parametrize("source", SOURCES)
def test_the_least_of_all_errors_is_kmeans1ds(source: str) -> None:
    x = values_of(source)
    for bits in (1, 3, 5):
        clusters, means = kmeans1d.cluster(x, 1 << bits)
        least = float(np.mean((np.array(means)[np.array(clusters)] - x) ** 2))
        assert learning.optimum_of(scene(source, bits)).mse == pytest.approx(least, rel=1e-9)


def test_the_buttons_step_and_stop_at_both_ends() -> None:
    at = open_lesson(show_anyway=True)
    last = learning.run_of(scene()).last

    def press(name: str) -> int:
        at.button(key=f"centroids_step_{name}").click()
        at.run()
        assert not at.exception
        return int(at.session_state["centroids_steps"])

    assert at.button(key="centroids_step_back").disabled
    assert [press("one"), press("ten"), press("one"), press("all")] == [1, 11, 12, last]
    assert all(at.button(key=f"centroids_step_{name}").disabled for name in ("one", "ten", "all"))
    assert press("back") == 0
    change(at, steps=last - 3)
    assert press("ten") == last


def test_another_start_begins_at_its_first_step() -> None:
    at = open_lesson(steps=12)
    at.selectbox(key="centroids_start").set_value("quantiles")
    at.run()
    assert not at.exception
    assert int(at.session_state["centroids_steps"]) == 0


def test_lloyd_may_stop_above_the_best_and_the_page_says_so() -> None:
    least = learning.optimum_of(scene()).mse
    for start in ("min–max", "quantiles"):
        end = learning.run_of(scene(placed=Placed(start, 0, 0, (), 0))).end.mse
        at = open_lesson(start=start, steps=learning.MAX_STEPS, show_anyway=True)
        stopped = next(caption.value for caption in at.caption if caption.value.startswith("Lloyd stops"))
        assert (f"×{short(end / least, 4)}" in stopped) == (end > centroids.AT_BEST * least)
        assert ("best codebook there is" in stopped) == (end <= centroids.AT_BEST * least)
    assert learning.run_of(scene()).end.mse > 1.01 * least  # the opening state shows it


def test_another_seed_draws_another_start_of_values_of_the_tensor() -> None:
    drawn = [learning.start_of(scene().subject, 16, Placed("k-means++", seed, 0, (), 0)) for seed in (0, 1)]
    assert not np.array_equal(*drawn)
    assert all(np.isin(start, values_of()).all() for start in drawn)


# --- the hand ---------------------------------------------------------------------------------------------------------


def test_centroids_placed_by_hand_are_where_the_hand_left_them() -> None:
    x, levels = values_of(), np.array([-0.2, -0.05, 0.05, 0.3])
    at = open_lesson(bits=2, start="by hand", hand="-0.2_-0.05_0.05_0.3", show_anyway=True)
    assert shown(at, "MSE") == short(float(np.mean((levels[nearest(x, levels)] - x) ** 2)))
    at.button(key="centroids_step_one").click()
    at.run()
    levels = lloyd_by_hand(x, levels, 1)
    assert shown(at, "MSE") == short(float(np.mean((levels[nearest(x, levels)] - x) ** 2)))


def test_a_hand_that_has_placed_another_number_leaves_even_centroids_and_says_so() -> None:
    at = open_lesson(bits=3, start="by hand", hand="-0.2_0.1", show_anyway=True)
    assert any("No hand has placed" in caption.value for caption in at.caption)
    other = open_lesson(bits=3, start="min–max", show_anyway=True)
    assert shown(at, "MSE") == shown(other, "MSE")


@pytest.mark.parametrize("text", ["0.3_-0.2", "a_b", "nan_1", "1e39", "_", "_".join(["0"] * 33)])
def test_a_link_with_centroids_that_make_no_sense_is_said(text: str) -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["centroids_hand"] = text
    at.run()
    assert not at.exception
    assert any("Centroids" in warning.value for warning in at.warning)


def test_what_a_hand_did_is_taken_over_with_six_figures() -> None:
    given = (-0.123456789, 1e-7, 12345.678)
    assert learning.read_hand(learning.write_hand(given)) == pytest.approx(given, rel=1e-5)


def test_the_component_is_one_module_with_the_instruments_files() -> None:
    assert script().count("export default function") == 1
    assert "function evaluate(stats, quantizer)" in script()


# --- means and midpoints ----------------------------------------------------------------------------------------------


def test_the_formula_has_the_mean_of_the_bucket_and_the_midpoint_of_two_centroids() -> None:
    x, levels = values_of(), np.array([-0.2, -0.05, 0.05, 0.3])
    at = open_lesson(bits=2, start="by hand", hand="-0.2_-0.05_0.05_0.3", bucket=2, beat="Formula", show_anyway=True)
    inside = x[nearest(x, levels) == 2]
    _, moved, threshold = formulas_on(at)
    assert f"{{{inside.size}}}" in moved
    assert float(moved.rstrip("$").split("=")[-1]) == pytest.approx(inside.mean(), rel=1e-3)
    assert float(threshold.rstrip("$").split("=")[-1]) == pytest.approx(0.175, rel=1e-3)


def test_uniform_codewords_are_midpoints_and_learned_ones_are_means() -> None:
    subject = scene().subject
    even = np.linspace(-0.3, 0.3, 9)
    middles = (even[1:] + even[:-1]) / 2
    _, places, means = Bucketed(even, middles, learning.means_of(subject, middles)).inner
    assert places == pytest.approx(np.zeros(7), abs=1e-12)
    assert np.abs(means).max() > 0.02
    end = learning.run_of(scene()).end
    _, places, means = Bucketed(end.centroids, end.thresholds, learning.means_of(subject, end.thresholds)).inner
    assert places == pytest.approx(means, abs=1e-6)
    assert np.abs(places).max() > 0.1


def test_the_mean_of_an_empty_bucket_is_none() -> None:
    means = learning.means_of(scene().subject, np.array([-50.0, 50.0]))
    assert np.isnan(means[[0, 2]]).all()
    assert means[1] == pytest.approx(values_of().mean())


# --- prediction, question, side by side -------------------------------------------------------------------------------


def test_the_prediction_is_decided_by_the_tensor() -> None:
    for source, expected in (("synthetic uniform", "same"), ("synthetic Laplace", "half")):
        x = values_of(source)
        clusters, means = kmeans1d.cluster(x, 16)
        least = float(np.mean((np.array(means)[np.array(clusters)] - x) ** 2))
        grid = (even_error(x, scale, zero) for scale in np.geomspace(0.05, 0.8, 120) for zero in range(5, 11))
        ratio = min(grid) / least
        decided = min(centroids.GAINS, key=lambda key: abs(math.log(ratio / centroids.GAINS[key])))
        assert LESSONS["centroids"].prediction(scene(source)) == decided == expected


def test_an_error_that_only_k_means_gets_rid_of_is_the_greatest_gain() -> None:
    few = tensors.Subject(ResultKey("few values"), "few values", "value", np.array([-1.0, 0.1, 3.0, 3.3], np.float32))
    asked = Scene(few, QuantizerSpec(KMeans(16)))
    assert learning.optimum_of(asked).mse == 0
    assert LESSONS["centroids"].prediction(asked) == "quarter"


def even_error(x: np.ndarray, scale: float, zero: int) -> float:
    return float(np.mean(((np.clip(np.rint(x / scale) + zero, 0, 15) - zero) * scale - x) ** 2))


@pytest.mark.parametrize("source", SOURCES)
def test_the_fullest_bucket_is_numpys(source: str) -> None:
    x = values_of(source)
    for bits, steps in ((1, 300), (2, 500)):
        levels = lloyd_by_hand(x, np.linspace(x.min(), x.max(), 1 << bits), steps)
        asked = LESSONS["centroids"].question(scene(source, bits))
        right = asked.option(asked.right).label
        assert right == share(float(np.bincount(nearest(x, levels)).max() / x.size))


def test_equal_shares_and_the_best_codebook_are_among_the_wrong_answers() -> None:
    asked = LESSONS["centroids"].question(scene())
    assert asked.option("equal").label == "6.25 %"
    x = values_of()
    clusters, _ = kmeans1d.cluster(x, 16)
    assert asked.option("best").label == share(float(np.bincount(clusters).max() / x.size))


def test_shares_and_errors_are_hidden_while_they_are_asked_for() -> None:
    at = open_lesson(beat="Check", show_anyway=True)
    assert not at.metric
    assert not at.table


def test_codebooks_side_by_side_count_all_that_is_stored() -> None:
    at = open_lesson(tensor="layer inputs", bits=3, show_anyway=True)
    table = at.table[0].value.set_index("codebook")
    n = values_of("layer inputs").size
    assert table.loc["k-means, optimal", "bits per value"] == short(3 + 8 * 32 / n, 4)
    assert table.loc["powers of two", "bits per value"] == short(3 + 32 / n, 4)
    assert table.loc["k-means, optimal", "of the least"] == "×1"
    assert "NF4" not in table.index
    assert any("NF4 is a table of 16 values" in caption.value for caption in at.caption)


def test_accuracy_comes_from_the_network_with_every_layer_so() -> None:
    at = open_lesson(bits=2, show_anyway=True)
    for candidate, spec in codebooks.entered(2).items():
        _, alone, everywhere = model_scores.accuracies("test", CNN_KEY, "conv3", LayerPlan(spec)).result(120)
        network = load("fashion-cnn")
        plan = LayerPlan(spec)
        assert alone == network.evaluate(QuantizationPlan({"conv3": plan}))
        assert everywhere == network.evaluate(QuantizationPlan(dict.fromkeys(network.layers(), plan)))
        at.run()
        table = at.table[0].value.set_index("codebook")
        assert table.loc[candidate.name, "all layers quantized"] == with_interval(everywhere)


@pytest.mark.parametrize("name", ABSURD)
@pytest.mark.parametrize("start", ["min–max", "clipped", "quantiles", "k-means++", "by hand"])
def test_absurd_tensors_are_shown_too(monkeypatch: pytest.MonkeyPatch, name: str, start: str) -> None:
    monkeypatch.setitem(tensors.SYNTHETIC, f"synthetic {name}", ABSURD[name])
    absurd = tensors.subject(f"synthetic {name}", CNN_KEY, "conv3")
    monkeypatch.setattr(tensors, "subject", lambda *_: absurd)
    for bits in (1, 4):
        at = open_lesson(start=start, bits=bits, steps=3, show_anyway=True)
        for beat in ("See", "Formula", "Check"):
            change(at, beat=beat)
    best = learning.optimum_of(Scene(absurd, QuantizerSpec(KMeans(16)))).mse
    assert (best == 0) == (name != "a huge outlier")


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 5])
def test_the_playground_opens_on_the_best_centroids(bits: int) -> None:
    opened = PlaygroundState.read(playground_state(scene(bits=bits)).link())
    assert opened.spec(-1.0, 1.0).format == KMeans(1 << bits)
