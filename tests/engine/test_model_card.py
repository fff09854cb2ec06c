"""The committed model card, measured again on the committed weights."""

import pathlib

import pytest

import quant_engine as qe
from quant_engine.network import ARCHITECTURES, load, model_card

IMAGES = 6  # of 2,000 that other processors' arithmetic may decide otherwise
IMAGES_WITH_RANGES = 20  # … where it may also move the ranges found for activations
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


def test_every_quantized_accuracy_is_the_cards(network):
    rows = model_card(network.name).weights_only
    assert {spec.format.bits for spec in rows} == set(range(2, 9))
    wrong = {}
    for spec, measured in rows.items():
        found = network.evaluate(qe.QuantizationPlan({name: qe.LayerPlan(spec) for name in network.layers()}))
        if abs(found.correct - measured.correct) > IMAGES:
            wrong[spec.key] = (found.correct, measured.correct)
    assert not wrong


def test_every_accuracy_with_static_activations_is_the_cards(network):
    rows = model_card(network.name).static_activations
    widths = {(weight.format.bits, activation.format.bits) for weight, activation in rows}
    assert widths == {(8, 8), (4, 4), (8, 2)}
    wrong = {}
    for (weight, activation), measured in rows.items():
        plan = qe.LayerPlan(weight, activation)
        found = network.evaluate(qe.QuantizationPlan(dict.fromkeys(network.layers(), plan)))
        if abs(found.correct - measured.correct) > IMAGES_WITH_RANGES:
            wrong[weight.format.bits, activation.key] = (found.correct, measured.correct)
    assert not wrong


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
        measured = [*card.weights_only.values(), *card.static_activations.values()]
        assert all(f"{accuracy.value:.4f}" in text for accuracy in measured)
