"""The committed model card, measured again on the committed weights."""

import pathlib

import pytest

import quant_engine as qe
from quant_engine.methods import METHODS, Setting, compensate
from quant_engine.models import ARCHITECTURES
from quant_engine.network import Network, load
from quant_engine.studies import (
    LARGE,
    broken_order,
    effect,
    footprint,
    mixed_candidates,
    mixed_plan,
    model_card,
    plan_of_method,
    weight_plan,
)
from quant_engine.tasks import Classification

IMAGES = 6  # of 2,000 that other processors' arithmetic may decide otherwise
IMAGES_WITH_RANGES = 20  # … where it may also move the ranges found for activations
IMAGES_LEARNED = 40  # … where it may move every step of learning
QUICK = (
    "nearest",
    "clipped",
    "bias_correction",
    "smoothquant",
    "gaussian_data",
    "batch_norm_ranges",
    "bias_correction_analytic",
    "dfq",
)
TRIED_AGAIN = {"fashion-cnn": "W4A4", "fashion-depthwise": "W3A8"}  # bits at which quick methods differ most
SLOWER = {  # networks and bits at which methods that take longer are tried again
    "fashion-cnn": {"W2A8": ("cross_layer_equalization", "gptq", "adaround")},
    "fashion-depthwise": {},
}
FULLY = ("cross_layer_equalization", "gptq", "gptaq", "adaround", "zeroq")  # … and with --full, at all bits
FLOORS = {"fashion-cnn": 0.915, "fashion-depthwise": 0.910}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def network(request):
    return load(request.param)


def test_the_card_reaches_the_floor_on_all_test_images(network):
    full = model_card(network.name).full
    assert full.total == 10_000
    assert full.value >= FLOORS[network.name]


def test_floating_point_accuracy_is_the_cards(network):
    card = model_card(network.name)
    found = network.evaluate()
    assert found.total == card.plain.total == 2000
    assert abs(found.correct - card.plain.correct) <= IMAGES


def chosen(rows, request, step):
    """Return every row with --full, else one in `step`, which is prime to the number of columns: each has its turn."""
    items = list(rows.items())
    return items if request.config.getoption("--full") else items[::step]


def test_every_quantized_accuracy_is_the_cards(network, request):
    rows = model_card(network.name).weights_only
    assert {spec.format.bits for spec in rows} == set(range(2, 9))
    wrong = {}
    for spec, measured in chosen(rows, request, 5):
        found = network.evaluate(qe.QuantizationPlan({name: qe.LayerPlan(spec) for name in network.layers()}))
        if abs(found.correct - measured.correct) > IMAGES:
            wrong[spec.key] = (found.correct, measured.correct)
    assert not wrong


def test_every_accuracy_with_static_activations_is_the_cards(network, request):
    rows = model_card(network.name).static_activations
    widths = {(weight.format.bits, activation.format.bits) for weight, activation in rows}
    assert widths == {(8, 8), (4, 4), (8, 2)}
    wrong = {}
    for (weight, activation), measured in chosen(rows, request, 3):
        plan = qe.LayerPlan(weight, activation)
        found = network.evaluate(qe.QuantizationPlan(dict.fromkeys(network.layers(), plan)))
        if abs(found.correct - measured.correct) > IMAGES_WITH_RANGES:
            wrong[weight.format.bits, activation.key] = (found.correct, measured.correct)
    assert not wrong


def test_every_method_of_about_four_bits_costs_and_scores_what_the_card_says(network, request):
    rows = model_card(network.name).about_four_bits
    formats = {type(result.spec.format).__name__ for result in rows.values()}
    assert formats >= {"IntFormat", "FloatFormat", "Codebook", "KMeans", "VectorCodebook", "ProductCodebook"}
    wrong = {}
    for name, result in chosen(rows, request, 2):
        plan = plan_of_method(network.layers(), result.spec)
        fitted = network.freeze(plan)
        large = {layer: info for layer, info in network.layers().items() if info.parameters >= LARGE}
        bits = sum(fitted[layer].weight.storage(info.matrix_shape).bits for layer, info in large.items())
        assert result.bits_per_value == pytest.approx(bits / sum(info.parameters for info in large.values()))
        found = network.evaluate(fitted)
        if abs(found.correct - result.accuracy.correct) > IMAGES_WITH_RANGES:
            wrong[name] = (found.correct, result.accuracy.correct)
    assert not wrong


def test_every_granularity_costs_and_scores_what_the_card_says(network, request):
    card, layers = model_card(network.name), network.layers()
    assert bool(card.granularity) == (network.name == "fashion-depthwise")
    known, wrong = card.weights_only, {}
    for name, result in chosen(card.granularity, request, 2):
        plan = weight_plan(dict.fromkeys(layers, result.spec))
        stored = [
            fitted.weight.storage(layers[layer].matrix_shape) for layer, fitted in network.freeze(plan).layers.items()
        ]
        assert result.bits_per_value == pytest.approx(sum(s.bits for s in stored) / sum(s.values for s in stored))
        found = known[result.spec] if result.spec in known else network.evaluate(plan)
        if abs(found.correct - result.accuracy.correct) > IMAGES:
            wrong[name] = (found.correct, result.accuracy.correct)
    assert not wrong


def test_one_scale_a_layer_breaks_the_depthwise_model_and_one_a_channel_saves_it():
    card = model_card("fashion-depthwise")
    scores = {name: result.accuracy for name, result in card.granularity.items()}
    assert scores["layer, min–max"].interval[1] < 0.25
    assert scores["channel, least MSE"].interval[0] > 0.85
    finer, coarser = card.granularity["run of 16, min–max"], card.granularity["channel, least MSE"]
    assert finer.bits_per_value > coarser.bits_per_value + 1
    assert finer.accuracy.interval[1] < coarser.accuracy.interval[0]  # finer does not always beat clipping


def test_every_mixed_plan_fits_the_bytes_of_the_uniform_one_and_scores_what_the_card_says(network):
    rows = model_card(network.name).mixed
    assert {type(found.uniform.granularity).__name__ for found in rows} == {"PerTensor", "PerChannel"}
    for found in rows:
        uniform = weight_plan(dict.fromkeys(network.layers(), found.uniform))
        assert footprint(network, uniform).size_bytes == found.budget_bytes
        assert footprint(network, weight_plan(found.choices)).size_bytes == found.size_bytes <= found.budget_bytes
        for plan, measured in ((uniform, found.uniform_accuracy), (weight_plan(found.choices), found.accuracy)):
            assert abs(network.evaluate(plan).correct - measured.correct) <= IMAGES
        assert found.accuracy.value >= found.uniform_accuracy.value


def test_a_mixed_plan_of_the_card_is_searched_on_calibration_images_alone():
    whole = load("fashion-cnn")
    fresh = Network(whole.model, Classification({"calibration": whole.data("calibration")}))
    for found in model_card(fresh.name).mixed:
        searched = mixed_plan(fresh, mixed_candidates(found.uniform), found.budget_bytes, "divergence")
        again = effect(fresh, weight_plan(found.choices)).divergence
        assert searched.measured.divergence == pytest.approx(again, rel=0.05)  # ties may be decided otherwise


def test_the_card_has_every_compensating_method_at_all_bits(network):
    rows = model_card(network.name).compensation
    found = {method: {row.bits: len(row.accuracies) for row in rows if row.method == method} for method in METHODS}
    bits = ["W8A8", "W4A8", "W3A8", "W2A8", "W4A4"]
    for method, seeds in found.items():
        assert list(seeds) == bits[METHODS[method].family == "training" :]
        assert set(seeds.values()) in ({1}, {3})
    assert {"adaround", "qat", "zeroq", "dfq_zeroq"} <= {m for m in found if found[m]["W4A8"] == 3}


def test_compensation_scores_what_the_card_says(network, request):
    wrong, full = {}, request.config.getoption("--full")
    for row in model_card(network.name).compensation:
        quick = row.method in QUICK and (full or row.bits == TRIED_AGAIN[network.name])
        slower = row.method in (FULLY if full else SLOWER[network.name].get(row.bits, ()))
        if not quick and not slower:
            continue
        *_, last = compensate(network, row.method, Setting(row.weight, row.activation))
        found = network.evaluate(last.plan).correct
        near = IMAGES_LEARNED if row.method == "adaround" else IMAGES_WITH_RANGES
        if abs(found - row.accuracies[0].correct) > near:
            wrong[row.method, row.bits] = (found, row.accuracies[0].correct)
    assert not wrong


def test_images_from_nothing_calibrate_within_a_point_of_real_ones(network):
    rows = {(row.method, row.bits): row.mean for row in model_card(network.name).compensation}
    for bits in ("W8A8", "W4A8"):
        assert abs(rows["zeroq", bits] - rows["clipped", bits]) < 0.01


def test_what_disappoints_is_told(network):
    rows = model_card(network.name).compensation
    means = {(row.bits, row.method): row.mean for row in rows}
    told = {(better.bits, better.method, worse.method) for better, worse in broken_order(rows)}
    for bits, method in means:
        if method == "gptq":
            assert ((bits, "gptq", "clipped") in told) == (means[bits, "gptq"] < means[bits, "clipped"])
        if method == "qat":
            assert ((bits, "qat", "adaround") in told) == (means[bits, "qat"] < means[bits, "adaround"])


def test_eight_bits_lose_next_to_nothing_and_two_bit_activations_much(network):
    card = model_card(network.name)
    for (_, activation), measured in card.static_activations.items():
        if activation.format.bits == 8:
            assert measured.value >= card.plain.value - 0.01
        if activation.format.bits == 2:
            assert measured.value <= card.plain.value - 0.05


def test_the_page_says_what_the_numbers_say():
    text = (pathlib.Path(qe.__file__).parent / "network" / "builtin" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name in ARCHITECTURES:
        card = model_card(name)
        assert f"{card.full.correct:,} of {card.full.total:,}" in text
        methods = [result.accuracy for result in card.about_four_bits.values()]
        mixed = [accuracy for found in card.mixed for accuracy in (found.accuracy, found.uniform_accuracy)]
        grains = [result.accuracy for result in card.granularity.values()]
        measured = [*card.weights_only.values(), *card.static_activations.values(), *methods, *mixed, *grains]
        assert all(f"{accuracy.value:.4f}" in text for accuracy in measured)
        assert all(f"{row.mean:.4f}" in text for row in card.compensation)
