"""What the lessons say is what their own numbers say: each statement is worked out again, with numpy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import scipy.stats
import torch

from explorer import compute, tensors
from explorer.figures.ranges import ranges_figure
from explorer.figures.rug_plot import RugPlot, bands_of, even_figure, octave_figure
from explorer.figures.theme import Canvas
from explorer.formulas import ARTICLE, TOOLS
from explorer.lessons import LESSONS
from explorer.lessons.centroids.learning import OPENING
from explorer.lessons.clipping.trade import trade
from explorer.lessons.compensation.gradients import stepped
from explorer.lessons.compensation.method_progress import setting_of
from explorer.lessons.compensation.output_error import measured as lost_measured
from explorer.lessons.formats import format_comparison
from explorer.lessons.framework.model import overlap
from explorer.lessons.framework.prose import read_prose, words
from explorer.lessons.framework.scene import Mix, Scene
from explorer.lessons.granularity.granularity_tradeoff import distinct
from explorer.lessons.mixed import plans
from explorer.notation import beside, latex, share, short
from quant_engine import (
    FixedRange,
    IntFormat,
    KMeans,
    LayerPlan,
    MinMax,
    QuantizationPlan,
    QuantizerSpec,
    fake_quantize,
    quantize,
)
from quant_engine.network import Accuracy, load
from quant_engine.studies import effect
from quant_engine.studies.sensitivity import predict_sensitivity
from tests.engine.trained import folded, trained_module
from tests.models import CNN_KEY, DEPTHWISE_KEY

CNN, DEPTHWISE = (CNN_KEY, "conv3"), (DEPTHWISE_KEY, "dw1")
CANVAS = Canvas("test")


def weights(place: tuple[str, str]) -> tensors.Subject:
    return tensors.subject("weights", *place)


def affine(x: np.ndarray, bits: int, lo: float, hi: float) -> tuple[float, int, np.ndarray]:
    """Scale, zero point and what comes back, of unsigned codes over [lo, hi]."""
    scale = (hi - lo) / (2**bits - 1)
    zero = int(np.rint(-lo / scale))
    return scale, zero, scale * (np.clip(np.rint(x / scale) + zero, 0, 2**bits - 1) - zero)


def error_with(x: np.ndarray, beta: float, bits: int) -> tuple[float, float]:
    """Rounding and clipping error of a symmetric range."""
    scale = beta / (2 ** (bits - 1) - 1)
    back = scale * np.clip(np.rint(x / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    wrong, outside = (back - x) ** 2, (x < -(2 ** (bits - 1)) * scale) | (x > beta)
    return float(wrong[~outside].sum() / x.size), float(wrong[outside].sum() / x.size)


# --- 2: formats -------------------------------------------------------------------------------------------------------


def test_no_lines_of_a_format_are_so_close_that_even_values_look_uneven() -> None:
    subject = weights(CNN)
    levels = {
        candidate.name: format_comparison.levels(subject, candidate.spec("min–max"))
        for candidate in format_comparison.candidates(subject, 8)
    }
    shown = RugPlot(subject.values, subject.statistics, levels, subject.unit)
    for figure in (even_figure(shown, CANVAS), octave_figure(shown, CANVAS)):
        width = np.ptp(figure.layout.xaxis.range)
        for trace in figure.data:
            if trace.name in levels and trace.fill is None:
                assert np.diff(np.unique(np.array(trace.x)[0::3])).min(initial=np.inf) >= width / 200
    bands, alone = bands_of(levels["int8"], float(np.ptp(levels["int8"])) / 150)
    assert (len(bands), alone.size) == (1, 0)  # even everywhere
    for values in levels.values():
        bands, alone = bands_of(values, float(np.ptp(values)) / 150)
        inside = [(low <= values) & (values <= high) for low, high in bands.astype(np.float32)]
        assert np.all(np.logical_or.reduce([*inside, np.isin(values, alone.astype(np.float32))]))


def test_where_e4m3_is_coarser_than_int8_is_counted_on_the_values() -> None:
    x = weights(CNN).values.astype(np.float64)
    top = np.abs(x).max()
    unit, step = top / 448, top / 127
    octave = next(k for k in range(9) if unit * 2.0 ** (k - 3) > step)  # of [2ᵏ, 2ᵏ⁺¹] in units: eight steps
    place = unit * 2.0**octave
    errors = ((x / unit).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * unit - x) ** 2
    far = np.abs(x) >= place
    told = LESSONS["formats"].facts(Scene(weights(CNN), QuantizerSpec(IntFormat(8))))["coarser"]
    for number in (short(place), share(far.mean()), share(errors[far].sum() / errors.sum())):
        assert number in told


# --- 3: uniform -------------------------------------------------------------------------------------------------------


def test_the_zero_point_follows_from_the_values_and_moves_the_range() -> None:
    subject = weights(CNN)
    scene = Scene(subject, QuantizerSpec(IntFormat(4, signed=False), symmetric=False), 62)
    lo, hi = float(subject.values.min()), float(subject.values.max())
    scale, zero, _ = affine(subject.values, 4, lo, hi)
    said = LESSONS["uniform"].facts(scene)
    assert (said["alpha"], said["beta"]) == (short(lo, 4), short(hi, 4))
    assert (said["low"], said["high"]) == (short(-zero * scale, 4), short((15 - zero) * scale, 4))
    assert said["low"] != said["alpha"]
    assert all(said[name] in said["moved"] for name in ("alpha", "beta", "low", "high"))
    _, zero_point, *_ = LESSONS["uniform"].formulas(scene, TOOLS)
    assert rf"\frac{{{latex(lo)}}}{{{latex(scale)}}}\right) = {zero}" in zero_point


def test_what_is_predicted_is_the_range_that_is_named() -> None:
    for symmetric in (True, False):
        scene = Scene(weights(CNN), QuantizerSpec(IntFormat(3), symmetric=symmetric))
        words = read_prose("uniform").laboratory
        assert LESSONS["uniform"].facts(scene)["ends"] == words["mirrored" if symmetric else "whole"]


# --- 4: symmetric and asymmetric --------------------------------------------------------------------------------------


def test_every_idle_code_has_a_cross_within_the_axis() -> None:
    for source in ("layer inputs", "weights"):
        for bits in (2, 4, 8):
            subject = tensors.subject(source, *CNN)
            rows = {
                name: Scene(subject, QuantizerSpec(IntFormat(bits, signed), symmetric=symmetric)).view
                for name, signed, symmetric in (
                    ("signed", True, True),
                    ("unsigned", False, True),
                    ("free", False, False),
                )
            }
            figure = ranges_figure(rows, "signed", subject.unit, CANVAS)
            low, high = figure.layout.xaxis.range
            crosses = [np.array(trace.x) for trace in figure.data if trace.name == "idle"]
            assert [x.size for x in crosses] == [int((view.counts == 0).sum()) for view in rows.values()]
            assert all(np.all((low < x) & (x < high)) for x in crosses)


def test_unsigned_symmetric_is_the_asymmetric_range_where_no_value_is_negative() -> None:
    words = read_prose("symmetry").laboratory
    inputs, both = (
        Scene(tensors.subject(source, *CNN), QuantizerSpec(IntFormat(4))) for source in ("layer inputs", "weights")
    )
    half, free = (inputs.under(QuantizerSpec(IntFormat(4, signed=False), symmetric=s)) for s in (True, False))
    assert half.view.levels == pytest.approx(free.view.levels)
    assert LESSONS["symmetry"].facts(inputs)["unsigned"] == words["unsigned_same"]
    clipped = share(float((both.subject.values < -1e-6 * both.subject.values.max()).mean()))
    assert clipped in LESSONS["symmetry"].facts(both)["unsigned"]


# --- 5: clipping ------------------------------------------------------------------------------------------------------


def test_the_best_clip_is_not_where_both_errors_are_equal() -> None:
    x = weights(CNN).values.astype(np.float64)
    scene = Scene(weights(CNN), QuantizerSpec(IntFormat(4)))
    said = LESSONS["clipping"].facts(scene)["crossing"]
    cross = float(said.split("β = ")[1].split(",")[0])
    rounding, clipping = error_with(x, cross, 4)
    assert rounding == pytest.approx(clipping, rel=0.05)
    least = min(sum(error_with(x, beta, 4)) for beta in np.linspace(0.15, 0.35, 201))
    assert rounding + clipping > 1.04 * least
    assert float(said.split("×")[1].split(" ")[0]) == pytest.approx((rounding + clipping) / least, rel=0.01)


@pytest.mark.parametrize(("beta", "verdict"), [(0.234, "pays"), (0.68, "level"), (0.05, "costs")])
def test_why_clipping_pays_or_does_not_is_told_in_shares_of_the_error_without_it(beta: float, verdict: str) -> None:
    subject = weights(CNN)
    x = subject.values.astype(np.float64)
    plain, clipped = (
        Scene(subject, QuantizerSpec(IntFormat(4), clipping=clipping)).outcome
        for clipping in (MinMax(), FixedRange(-beta, beta))
    )
    told, widest = trade(plain, clipped, "weight"), float(np.abs(x).max())
    before, (inside, outside) = sum(error_with(x, widest, 4)), error_with(x, beta, 4)
    beyond = np.mean((x < -beta * 8 / 7) | (x > beta))
    numbers = [short(beta), short(widest), share(beta / widest), share(beyond)]
    parts = [share(part / before) for part in (inside, outside, inside + outside)]
    assert all(number in told for number in (*numbers, *parts)), (told, numbers, parts)
    said = words()[f"trade_{verdict}"].format(total=parts[-1], gain=short(before / (inside + outside)))
    assert told.endswith(said)
    assert not trade(clipped, plain, "weight")  # a wider range clips nothing


# --- 8: mixed precision -----------------------------------------------------------------------------------------------


@pytest.mark.choice(3)
@pytest.mark.parametrize(("key", "name"), [(CNN_KEY, "fashion-cnn"), (DEPTHWISE_KEY, "fashion-depthwise")])
@pytest.mark.parametrize("shared", ["channel", "layer"])
def test_the_predicted_loss_is_set_beside_the_measured_one_and_so_is_the_order_of_layers(
    key: str, name: str, shared: str
) -> None:
    network, words = load(name), read_prose("mixed").laboratory
    layers = list(network.layers())

    def rises(spec: QuantizerSpec) -> dict[str, float]:
        plain = effect(network).loss
        return {one: effect(network, QuantizationPlan({one: LayerPlan(spec)})).loss - plain for one in layers}

    def said_of(layer: str) -> dict[str, str]:
        mix = Mix(key, layer, shared, 3, (3,) * len(layers))
        return LESSONS["mixed"].facts(Scene(tensors.subject("network", key, layer), plans.spec_of(mix, 3), mix=mix))

    specs = {one: plans.spec_of(Mix(key, layers[0], one, 3, (3,) * len(layers)), 3) for one in ("channel", "layer")}
    rise, tried = rises(specs[shared]), rises(specs["channel"])
    expected = {one: predict_sensitivity(network, one, specs[shared]).loss_increase for one in layers}
    for layer in layers:
        ratio = rise[layer] / expected[layer]
        told = words["apart_odd"] if ratio <= 0 else f"{beside(rise[layer], expected[layer])} the prediction"
        assert (words["apart_near"] if 0.8 <= ratio <= 1.25 else told) in said_of(layer)["apart"], layer
    said = said_of(layers[0])
    for found in (rise, expected):
        assert ", ".join(sorted(found, key=lambda one: -found[one])) in said["orders"]
    matrices = {one: network.weight(one).reshape(len(network.weight(one)), -1) for one in layers}
    errors = {one: float(np.mean((fake_quantize(w, specs["channel"]) - w) ** 2)) for one, w in matrices.items()}
    order = sorted(tried, key=lambda one: -tried[one])
    biggest = max(matrices, key=lambda one: matrices[one].size)
    same = max(errors, key=lambda one: errors[one]) == order[0]
    assert (said["weight_error"] == words["weight_error_same"]) == same
    told = said["most"], said["most_rise"], said["biggest"], said["biggest_rise"], said["rank"]
    assert told == (order[0], short(tried[order[0]]), biggest, short(tried[biggest]), str(order.index(biggest) + 1))
    places = {layers[-1]: "last", layers[0]: "first", biggest: "biggest"}
    assert LESSONS["mixed"].prediction(scene_of(key, layers, shared)) == places.get(order[0], "other")
    correlation = scipy.stats.spearmanr(*([found[one] for one in rise] for found in (rise, expected))).statistic
    assert f"(rank correlation {short(correlation, 2)})" in said["orders"]


def scene_of(key: str, layers: list[str], shared: str) -> Scene:
    mix = Mix(key, layers[0], shared, 3, (3,) * len(layers))
    return Scene(tensors.subject("network", key, layers[0]), plans.spec_of(mix, 3), mix=mix)


# --- 9: granularity ---------------------------------------------------------------------------------------------------


def test_granularities_with_the_same_blocks_are_drawn_once() -> None:
    assert "runs of 16" not in distinct((24, 9))
    assert "runs of 16" in distinct((64, 288))
    assert "16 channels" not in distinct((16, 9))  # all channels: the layer


# --- 11: compensation -------------------------------------------------------------------------------------------------


def test_accuracies_whose_intervals_overlap_are_a_tie() -> None:
    assert overlap(Accuracy(1769, 2000), Accuracy(1759, 2000))
    assert not overlap(Accuracy(1839, 2000), Accuracy(1494, 2000))


@pytest.mark.parametrize(("key", "name"), [(CNN_KEY, "fashion-cnn"), (DEPTHWISE_KEY, "fashion-depthwise")])
@pytest.mark.parametrize("bits", [2, 4])
def test_the_step_that_lsq_starts_at_the_best_one_and_the_way_it_is_pulled(key: str, name: str, bits: int) -> None:
    network, top = load(name), 2 ** (bits - 1) - 1
    for layer in network.layers():
        w = network.weight(layer).astype(np.float64).ravel()
        found = stepped(key, layer, bits, 150)

        def mse(step: float, w: np.ndarray = w) -> float:
            return float(np.mean((np.clip(np.rint(w / step), -top - 1, top) * step - w) ** 2))

        assert found.start == pytest.approx(2 * np.abs(w).mean() / np.sqrt(top), rel=1e-6), layer
        grid = np.abs(w).max() / top * np.linspace(0.05, 1.2, 800)
        assert mse(found.best) <= 1.002 * min(mse(step) for step in grid), layer
        assert found.step == pytest.approx(1.5 * found.best), layer
        codes, inside = np.rint(w / found.step), (w / found.step >= -top - 1) & (w / found.step <= top)
        by_step = np.where(inside, codes - w / found.step, np.clip(codes, -top - 1, top))
        error = np.clip(codes, -top - 1, top) * found.step - w
        assert found.slope == pytest.approx(2 * (error * by_step).mean(), rel=1e-4), layer


@pytest.mark.choice(2)
@pytest.mark.parametrize(("key", "name"), [(CNN_KEY, "fashion-cnn"), (DEPTHWISE_KEY, "fashion-depthwise")])
def test_what_rounding_and_gptq_take_from_a_layers_outputs_is_so_on_every_layer(key: str, name: str) -> None:
    spec, inputs = setting_of(3, 8, "channel").weight, dict[str, torch.Tensor]()
    layers, whole = folded(trained_module(name))
    for layer, module in layers.items():
        module.register_forward_hook(lambda _, given, __, layer=layer: inputs.update({layer: given[0]}))
    with torch.inference_mode():
        whole(torch.from_numpy(load(name).data("calibration")[0]))
        for layer, module in layers.items():
            w = compute.matrix(key, layer).copy()
            powers = [power(module, inputs[layer], change) for change in (quantize(w, spec).dequantize() - w, w)]
            found = lost_measured(key, layer, spec)
            assert [found.nearest, found.power] == pytest.approx(powers, rel=1e-2), layer
            assert found.gptq < found.nearest, layer


def power(module: torch.nn.Module, x: torch.Tensor, weight: np.ndarray) -> float:
    """The mean square of what a layer makes of its inputs without a bias, summed over its channels."""
    module.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)).reshape(module.weight.shape))
    module.bias.zero_()
    return float(module.forward(x).double().square().movedim(1, -1).sum(-1).mean())


# --- all --------------------------------------------------------------------------------------------------------------


def test_a_convention_is_explained_only_where_a_formula_has_it() -> None:
    centroids = Scene(weights(CNN), QuantizerSpec(KMeans(16)), placed=OPENING)
    uniform = Scene(weights(CNN), QuantizerSpec(IntFormat(4), symmetric=False))
    differ = {
        slug: LESSONS[slug].formulas(scene, TOOLS) != LESSONS[slug].formulas(scene, ARTICLE)
        for slug, scene in (("centroids", centroids), ("uniform", uniform))
    }
    assert differ == {"centroids": False, "uniform": True}
