"""The committed model card, measured again on the committed weights."""

import pathlib

import pytest

import quant_engine as qe
from quant_engine.network import ARCHITECTURES, load, model_card

IMAGES = 6  # of 2,000 that other processors' arithmetic may decide otherwise
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


def test_the_page_says_what_the_numbers_say():
    text = (pathlib.Path(qe.__file__).parent / "network" / "builtin" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name in ARCHITECTURES:
        card = model_card(name)
        assert f"{card.full.correct:,} of {card.full.total:,}" in text
        assert all(f"{measured.value:.4f}" in text for measured in card.weights_only.values())
