"""A sentence encoder through transformers: words find their definitions among 492, under plans of all 40 layers."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import transformers

import quant_engine as qe
from quant_engine.methods import Setting, compensated
from quant_engine.network import Network, load
from quant_engine.tasks import Retrieval
from tests.packs.fetching import MINILM

PAIRS = json.loads(pathlib.Path(__file__).with_name("wordnet_pairs.json").read_text(encoding="utf-8"))["pairs"]
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
def encoder(tmp_path_factory):
    """Return the network, measured on all pairs, and another that is calibrated on some and measured on the others."""
    folder = MINILM.fetch(tmp_path_factory.mktemp("minilm"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = load(folder, Retrieval({"test": token_batches(tokenizer, PAIRS)}))
    halves = {"calibration": token_batches(tokenizer, PAIRS[:64]), "test": token_batches(tokenizer, PAIRS[64:])}
    return network, Network(network.model, Retrieval(halves))


def token_batches(tokenizer, pairs, size=125):
    """Return words and definitions as tokens, definitions of about the same length together."""
    ordered = sorted(pairs, key=lambda pair: len(pair[1]))
    parts = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [tuple(tokens_of(tokenizer, side) for side in zip(*part, strict=True)) for part in parts]


def tokens_of(tokenizer, texts):
    return dict(tokenizer(list(texts), padding=True, truncation=True, max_length=64, return_tensors="np"))


def every_layer(network, name):
    bits, _, shared = name.partition(" ")
    spec = qe.QuantizerSpec(qe.IntFormat(int(bits[1:])), SHARED[shared])
    return qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(spec)))


def test_its_40_layers_are_read_embeddings_among_them(encoder):
    layers = encoder[0].layers()
    assert len(layers) == 40
    assert [name for name, layer in layers.items() if layer.op == "embedding"] == [
        f"embeddings.{kind}_embeddings" for kind in ("word", "token_type", "position")
    ]
    weight = encoder[0].weight("encoder.layer.0.output.dense").astype(np.float64)
    assert weight.shape == (384, 1536)
    assert np.abs(weight - weight.mean()).max() / weight.std() == pytest.approx(175, rel=0.01)


@pytest.mark.choice(3)
@pytest.mark.parametrize("name", RECALL)
def test_recall_is_that_of_another_draw_within_its_resolution(encoder, name):
    """Of several ways to draw pairs, one was kept whose float recall is near the other draw's: no independent score."""
    network = encoder[0]
    score = network.evaluate(None if name == "float" else every_layer(network, name))
    assert (score.name, score.n) == ("recall@1", len(PAIRS))
    assert score.value == pytest.approx(RECALL[name], abs=2**0.5 * RESOLUTION)


def test_gptq_in_groups_of_32_finds_no_fewer_definitions_than_rounding(encoder):
    """Calibrated on the first 64 pairs, measured on the others."""
    network, scores = encoder[1], {}
    for method in ("nearest", "gptq"):
        plan = compensated(network, method, Setting(qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32))))
        scores[method] = network.scores(plan)
    assert scores["gptq"]["recall@1"].value > scores["nearest"]["recall@1"].value - RESOLUTION
    assert scores["gptq"]["same document"].value > scores["nearest"]["same document"].value
