"""The lesson on vectors: cells, codebooks, rates and answers held against kmeans1d, faiss, numpy and theory."""

from __future__ import annotations

import base64
import io
import pathlib
import threading
import time
from collections.abc import Iterator

import faiss
import kmeans1d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from explorer import compute, tensors
from explorer.caches import ResultKey
from explorer.compute import SESSION_KEY
from explorer.figures.mosaic import strips_figure
from explorer.figures.plane import Plane, plane_figure, view_of
from explorer.figures.rates import Point, rates_figure
from explorer.figures.theme import Canvas
from explorer.lessons import LESSONS
from explorer.lessons.framework.links import playground_state
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import coded
from explorer.lessons.framework.scene import Scene
from explorer.lessons.vectors import pairs, product, rates
from explorer.notation import short
from explorer.observing import OBSERVED
from explorer.state import PlaygroundState
from explorer.tensors import Subject
from explorer.voronoi import voronoi_cells
from quant_engine import LayerPlan, ProductCodebook, QuantizationPlan, QuantizerSpec
from quant_engine.network import load
from tests.app.waiting import await_answers, task_in
from tests.models import CNN_KEY

ROOT = pathlib.Path(__file__).parents[2]
WORDS = read_prose("vectors").laboratory
CANVAS = Canvas("test")


def open_lesson(layer: str = "conv3", **settings: object) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["tensor"] = layer
    at.switch_page(str(ROOT / "pages" / "lesson_vectors.py"))
    return change(at, show_anyway=True, **settings)


def change(at: AppTest, **settings: object) -> AppTest:
    for name, value in settings.items():
        at.session_state[f"vectors_{name}"] = value
    at.run()
    assert not at.exception
    return at


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def conv3() -> Subject:
    return tensors.subject("weights", CNN_KEY, "conv3")


def scene_of(subject: Subject, form: ProductCodebook) -> Scene:
    return Scene(subject, QuantizerSpec(form))


def kmeans_mse(x: np.ndarray, k: int) -> float:
    """The least error of k single values, by dynamic programming."""
    clusters, centroids = kmeans1d.cluster(x.reshape(-1).astype(float), k)
    return float(np.mean((np.array(centroids)[clusters] - x.reshape(-1)) ** 2))


def faiss_mse(x: np.ndarray, k: int) -> float:
    """The error of k vectors, the best of five starts."""
    learner = faiss.Kmeans(x.shape[1], k, niter=60, nredo=5, seed=1, max_points_per_centroid=10**6)
    learner.train(np.ascontiguousarray(x, np.float32))
    distances, _ = learner.index.search(np.ascontiguousarray(x, np.float32), 1)
    return float(distances.mean() / x.shape[1])


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_a_tensors_rows_are_its_last_axis() -> None:
    for source, values in (
        ("weights", load("fashion-cnn").weight("conv3").reshape(64, -1)),
        ("layer inputs", load("fashion-cnn").activations(["conv3"], stop=OBSERVED)["conv3"]),
    ):
        found = tensors.subject(source, CNN_KEY, "conv3").matrix
        np.testing.assert_array_equal(found, values.reshape(-1, values.shape[-1]))


def test_what_pairs_gain_on_this_tensor_is_faisss_and_kmeans1ds() -> None:
    x = load("fashion-cnn").weight("conv3")
    scalar, vector = kmeans_mse(x, 4), faiss_mse(x.reshape(-1, 2), 16)
    at = open_lesson(beat="See")
    table = at.table[0].value.set_index(next(iter(at.table[0].value)))  # before that of synthetic pairs
    assert float(table.loc[WORDS["way_optimal"], "MSE"]) == pytest.approx(scalar, rel=5e-3)
    shown = float(str(table.loc[WORDS["way_vectors"], "gain"]).removeprefix("×").split()[0])
    assert shown == pytest.approx(scalar / vector, rel=0.01)
    assert any(f"×{short(shown)} the error of pairs" in text.value for text in at.markdown)


@pytest.mark.parametrize(("rho", "low", "high"), [(0.0, 1.06, 1.12), (0.9, 2.5, 2.8)])
def test_the_gain_of_synthetic_pairs_is_that_of_theory(rho: float, low: float, high: float) -> None:
    made = pairs.synthetic_pairs(rho)
    found = pairs.candidates(made, 2)
    assert np.corrcoef(made.matrix.T)[0, 1] == pytest.approx(rho, abs=0.02)
    assert pairs.correlation(made) == pytest.approx(np.corrcoef(made.matrix.T)[0, 1], abs=1e-6)
    assert made.values.std() == pytest.approx(1.0, abs=0.01)
    assert found["optimal"].report.mse == pytest.approx(0.1174818, rel=0.02)  # Lloyd–Max, 4 levels
    assert low < found["optimal"].report.mse / found["vectors"].report.mse < high
    assert found["vectors"].report.mse == pytest.approx(faiss_mse(made.matrix, 16), rel=0.01)


def test_an_odd_row_ends_with_a_pair_of_its_own() -> None:
    found = pairs.pairs_of(Subject(ResultKey("odd"), "t", "u", np.arange(1, 10, dtype=np.float32), 3))
    np.testing.assert_array_equal(found, [[1, 2], [3, 0], [4, 5], [6, 0], [7, 8], [9, 0]])


def test_errors_on_the_tensor_are_hidden_until_a_prediction_is_made() -> None:
    at = open_lesson()
    change(at, show_anyway=False)
    assert set(at.table[0].value["MSE"]) == {"?"}
    assert "?" not in set(at.table[1].value["MSE"])
    assert any(info.value == WORDS["rates_locked"] for info in at.info)


# --- cells ------------------------------------------------------------------------------------------------------------


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


places = st.tuples(*[st.floats(-3, 3, width=32)] * 2)


@given(st.lists(places, min_size=1, max_size=12, unique=True), st.lists(places, min_size=1, max_size=20))
def test_a_point_lies_in_the_cell_of_its_nearest_centre(centres: list, points: list) -> None:
    cells = voronoi_cells(centres, (-2.0, 2.0))
    assert sum(area(cell) for cell in cells if len(cell)) == pytest.approx(16.0, rel=1e-6)
    for point in np.clip(np.array(points), -2, 2):
        distances = np.hypot(*(np.array(centres, float) - point).T)
        nearest = int(distances.argmin())
        if np.sort(np.append(distances, np.inf))[1] - distances[nearest] > 1e-6:
            cell = cells[nearest]
            edges = np.roll(cell, -1, axis=0) - cell
            sides = edges[:, 0] * (point[1] - cell[:, 1]) - edges[:, 1] * (point[0] - cell[:, 0])
            assert (sides >= -1e-9).all()


def test_the_cells_of_a_grid_are_the_buckets_of_its_levels() -> None:
    levels = np.array([-2.0, -0.5, 0.25, 3.0])
    grid = np.stack(np.meshgrid(levels, levels), axis=-1).reshape(-1, 2)
    corners = np.unique(np.concatenate(voronoi_cells(grid, (-4.0, 4.0))))
    np.testing.assert_allclose(corners, [-4, -1.25, -0.125, 1.625, 4])


def test_a_plane_draws_every_codeword_and_keeps_both_scales_equal() -> None:
    points = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    words = np.array([[0.0, 0.0], [9.0, 1.0]])
    figure = plane_figure(Plane("t", "value", points, words, view_of(points, words)), CANVAS)
    np.testing.assert_array_equal(np.stack([figure.data[2].x, figure.data[2].y], axis=1), words)
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    assert figure.layout.xaxis.range[1] > 9


def test_many_points_are_a_picture_where_they_lie() -> None:
    points = np.random.default_rng(0).standard_normal((5000, 2)).astype(np.float32)
    words = np.array([[0.0, 0.0], [3.0, 1.0]])
    low, high = view = (-2.0, 4.0)
    figure = plane_figure(Plane("t", "value", points, words, view), CANVAS)
    (image,) = figure.layout.images
    assert (image.x, image.y, image.sizex, image.sizey) == (low, high, high - low, high - low)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.source.split(",")[1]))))
    edges = np.linspace(low, high, len(shown) + 1)
    there = np.histogram2d(points[:, 1], points[:, 0], (edges, edges))[0][::-1]  # y grows upwards, rows downwards
    np.testing.assert_array_equal(shown[..., 3] > 0, there > 0)
    assert shown[np.unravel_index(there.argmax(), there.shape)][3] == 255
    assert len(figure.data[0].x) == 0


# --- codebooks --------------------------------------------------------------------------------------------------------


def test_sixty_four_codewords_imply_65536() -> None:
    at = open_lesson()
    found = metrics(at)
    assert (found[WORDS["stored"]], found[WORDS["implied"]]) == ("64", "65,536")
    assert found[WORDS["index_bits"]] == "2"
    n = 64 * 288
    assert float(found[WORDS["all_bits"]]) == pytest.approx(2 + 64 * 2 * 32 / n, abs=5e-4)
    assert metrics(change(at, beat="Check"))[WORDS["implied"]] == "?"


@pytest.mark.parametrize("form", [(4, 16, 2, 1), (8, 256, 1, 1), (16, 4, 16, 3), (8, 64, 4, 2)])
def test_the_question_counts_free_choices(form: tuple[int, int, int, int]) -> None:
    dim, codewords, parts, stages = form
    asked = LESSONS["vectors"].question(scene_of(conv3(), ProductCodebook(dim, codewords, parts, stages)))
    choices = 1
    for _ in range(parts * stages):
        choices *= 64 if codewords == 256 else 4 * codewords  # another size than the one on display
    right = asked.option("right").label
    assert right == (f"{choices:,}" if choices < 10**9 else short(float(choices)))
    assert len({option.label for option in asked.options}) == len(asked.options) >= 3


def test_the_extremes_of_a_product_are_vectors_and_single_values() -> None:
    x = conv3().matrix
    plain = coded(conv3(), QuantizerSpec(ProductCodebook(4, 16, 1, remainder="pad")))
    assert plain.report.mse == pytest.approx(faiss_mse(x.reshape(-1, 4), 16), rel=0.01)
    single = coded(conv3(), QuantizerSpec(ProductCodebook(4, 16, 4, remainder="pad")))
    columns = x.reshape(-1, 4)
    assert single.report.mse == pytest.approx(np.mean([kmeans_mse(columns[:, i], 16) for i in range(4)]), rel=0.01)


def test_strips_are_the_learned_codewords() -> None:
    learned = coded(conv3(), QuantizerSpec(ProductCodebook(8, 16, 4, 2, remainder="pad"))).quantizer.learned
    cells = np.array(strips_figure(learned, 1.0, CANVAS).data[0].z)
    assert cells.shape == (2 * 16 + 1, 4 * 2 + 3)
    for stage in range(2):
        for part in range(4):
            block = cells[17 * stage : 17 * stage + 16, 3 * part : 3 * part + 2]
            assert (np.diff(block.sum(axis=1)) >= 0).all()
            np.testing.assert_array_equal(np.sort(block, axis=0), np.sort(learned[stage, part], axis=0))
    assert np.isnan(cells[16]).all()
    assert np.isnan(cells[:, 2::3]).all()


def test_parts_that_do_not_divide_are_refused_and_the_nearest_shown() -> None:
    at = open_lesson(dim="8", parts="16")
    assert any("16 parts do not divide vectors of 8" in warning.value for warning in at.warning)
    assert metrics(at)[WORDS["stored"]] == str(8 * 16)


def test_rows_of_nine_are_filled_up_and_counted() -> None:
    at = open_lesson("conv1")
    said = next(info.value for info in at.info if "9 values" in info.value)
    assert "7 × 0" in said
    assert "43.8 %" in said  # 7 of 16
    assert float(metrics(at)[WORDS["index_bits"]]) == pytest.approx(16 * 2 * 4 * 4 / 144, abs=5e-4)


def test_more_codewords_than_vectors_are_said() -> None:
    at = open_lesson("conv1", dim="16", parts="1", codewords="256")
    assert any(info.value.startswith("Only 16 of 256") for info in at.info)
    assert metrics(at)["MSE"] == "0"
    assert metrics(at)["SQNR"] == "∞ dB"


@pytest.fixture
def constant() -> Iterator[None]:
    kept, tensors.REAL["logits"] = (
        tensors.REAL["logits"],
        lambda model, layer: Subject(
            ResultKey("constant"), "a constant tensor", "value", np.full((6, 9), 0.25, np.float32)
        ),
    )
    compute.CACHE.clear()
    yield
    tensors.REAL["logits"] = kept
    compute.CACHE.clear()


@pytest.mark.usefixtures("constant")
def test_a_constant_tensor_is_stored_exactly_and_says_so() -> None:
    at = open_lesson(tensor="logits")
    assert metrics(at)["MSE"] == "0"
    for beat in ("Try", "See", "Formula", "Check"):
        change(at, beat=beat)
    assert LESSONS["vectors"].prediction(scene_of(tensors.subject("logits", CNN_KEY, "conv3"), FORM)) == "same"


# --- rate and distortion ----------------------------------------------------------------------------------------------

FORM = ProductCodebook(8, 16, 4, remainder="pad")


def test_single_values_of_a_gaussian_lie_at_lloyd_maxs() -> None:
    subject = pairs.synthetic_pairs(0.0)  # 40,000 values
    found = {name: spec for curve, name, spec in rates.codes(subject, FORM) if curve == "optimal single values"}
    for levels, expected in ((2, 0.3633802), (4, 0.1174818), (8, 0.0345478), (16, 0.0095010)):
        assert coded(subject, found[f"{levels} levels"]).report.mse == pytest.approx(expected, rel=0.03)


def test_codebooks_that_would_learn_the_tensor_by_heart_are_left_out() -> None:
    small = tensors.subject("weights", CNN_KEY, "conv1")  # 16 rows of 9: 80 pairs, 48 vectors of 4
    most: dict[str, int] = {}
    for curve, _, spec in rates.codes(small, FORM):
        most[curve] = max(most.get(curve, 0), getattr(spec.format, "codewords", 0))
    assert most["vectors of 2"] == 16
    assert most["vectors of 4"] == 4
    assert "residual: vectors of 4, stages of 16" not in most


def test_everything_stored_is_indices_and_codebooks() -> None:
    n = 64 * 288
    for curve, name, spec in rates.codes(conv3(), FORM):
        found = coded(conv3(), spec)
        everything, indices = (rates._point(name, found, counted).bits for counted in (rates.EVERYTHING, rates.INDICES))
        entries = 0 if found.quantizer.learned is None else found.quantizer.learned.size
        range_bits = 32 + spec.format.bits if curve.startswith("integers") else 0  # scale and zero point
        assert (everything - indices) * n == pytest.approx(32 * entries + range_bits)
        x_hat = found.quantizer.fake_quantize(conv3().matrix)
        assert found.report.mse == pytest.approx(np.mean((x_hat.astype(float) - conv3().matrix) ** 2), rel=1e-6)


def test_the_bound_falls_by_a_factor_of_four_a_bit() -> None:
    figure = rates_figure({"a": [Point(1.0, 0.5, "p"), Point(4.0, 0.1, "q")]}, 3.0, "bits", CANVAS)
    bound = figure.data[-1]
    assert "Gaussian" in bound.name
    np.testing.assert_allclose(bound.y, 3.0 / 4.0 ** np.array(bound.x))
    assert bound.y[0] == 3.0


def test_the_tracing_can_be_stopped_and_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    go, point = threading.Semaphore(0), rates._point
    monkeypatch.setattr(rates, "_point", lambda *about: point(*about) if go.acquire() else None)
    at = open_lesson(tensor="synthetic uniform")
    tracing = task_in(at, rates.PLACE)
    while not tracing.begun:
        time.sleep(0.01)
    at.button(key=f"{rates.PLACE}_stop").click().run()
    go.release(1000)
    assert not at.exception
    assert rates.PLACE not in at.session_state[SESSION_KEY].places
    at.button(key=f"{rates.PLACE}_start").click().run()
    assert task_in(at, rates.PLACE) is tracing
    await_answers(at)
    assert len(tracing.items) == tracing.total
    assert not any(button.key in (f"{rates.PLACE}_stop", f"{rates.PLACE}_start") for button in at.button)


# --- accuracy and the playground --------------------------------------------------------------------------------------


def test_accuracy_is_the_networks() -> None:
    at = await_answers(open_lesson())
    network = load("fashion-cnn")
    plan = LayerPlan(weight=QuantizerSpec(FORM))
    one = network.evaluate(QuantizationPlan({"conv3": plan}))
    every = network.evaluate(QuantizationPlan(dict.fromkeys(network.layers(), plan)))
    assert metrics(at)["This layer quantized"] == f"{100 * one.value:.1f} %"
    assert metrics(at)["All layers quantized"] == f"{100 * every.value:.1f} %"


@pytest.mark.parametrize("form", [(8, 64, 2, 3), (2, 4, 1, 1), (16, 256, 16, 1)])
def test_the_playground_link_means_the_same_codebook(form: tuple[int, int, int, int]) -> None:
    dim, codewords, parts, stages = form
    shown = scene_of(conv3(), ProductCodebook(dim, codewords, parts, stages, "pad"))
    found = PlaygroundState.read(playground_state(shown).link()).spec(-1.0, 1.0).format
    assert (found.dim, found.codewords, found.parts, found.stages, found.remainder) == (*form, "pad")


def test_large_numbers_are_written_in_powers_of_ten() -> None:
    assert product.large(256**16) == "3.40·10³⁸"
    assert product.large(99_999) == "99,999"
