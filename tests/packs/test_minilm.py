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
from quant_engine.tasks import Agreement
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
    folder = MINILM.fetch(tmp_path_factory.mktemp("minilm"))
    return load(folder), transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def token_batches(tokenizer, texts, size=125):
    """Yield (places, tokens) of texts of about the same length."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    for places in np.array_split(order, len(order) // size):
        chosen = [texts[i] for i in places]
        yield places, dict(tokenizer(chosen, padding=True, truncation=True, max_length=64, return_tensors="np"))


def embedded(network, batches, plan):
    """Return the mean over each text's tokens (n, 384), of length 1."""
    found = np.zeros((len(PAIRS), 384))
    for places, tokens in batches:
        hidden, mask = network.run(tokens, plan)["last_hidden_state"], tokens["attention_mask"][..., None]
        found[places] = (hidden * mask).sum(1) / mask.sum(1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recall_at_1(encoder, name):
    network, tokenizer = encoder
    layers = {}
    if name != "float":
        bits, _, shared = name.partition(" ")
        spec = qe.QuantizerSpec(qe.IntFormat(int(bits[1:])), SHARED[shared])
        layers = dict.fromkeys(network.layers(), qe.LayerPlan(spec))
    plan = network.freeze(qe.QuantizationPlan(layers))
    words, glosses = (
        embedded(network, token_batches(tokenizer, list(side)), plan) for side in zip(*PAIRS, strict=True)
    )
    return ((words @ glosses.T).argmax(1) == np.arange(len(PAIRS))).mean()


def test_its_40_layers_are_read_embeddings_among_them(encoder):
    layers = encoder[0].layers()
    assert len(layers) == 40
    assert [name for name, layer in layers.items() if layer.op == "embedding"] == [
        f"embeddings.{kind}_embeddings" for kind in ("word", "token_type", "position")
    ]
    weight = encoder[0].weight("encoder.layer.0.output.dense").astype(np.float64)
    assert weight.shape == (384, 1536)
    assert np.abs(weight - weight.mean()).max() / weight.std() == pytest.approx(175, rel=0.01)


@pytest.mark.parametrize("name", RECALL)
def test_recall_is_that_of_another_draw_within_its_resolution(encoder, name):
    assert recall_at_1(encoder, name) == pytest.approx(RECALL[name], abs=2**0.5 * RESOLUTION)


def test_gptq_in_groups_of_32_moves_embeddings_less_than_rounding(encoder):
    """Calibrated on the first 64 pairs, measured on the others."""
    network, tokenizer = encoder
    texts = [text for pair in PAIRS[:64] for text in pair]
    tokens = dict(tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="np"))
    calibrated = Network(network.model, Agreement({"calibration": tokens}))
    sides = [list(side) for side in zip(*PAIRS, strict=True)]
    plain = [embedded(network, token_batches(tokenizer, side), None) for side in sides]
    moved, recall = {}, {}
    for method in ("nearest", "gptq"):
        plan = compensated(calibrated, method, Setting(qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32))))
        found = [embedded(network, token_batches(tokenizer, side), plan) for side in sides]
        changes = [np.square(one - other)[64:].sum(1) for one, other in zip(found, plain, strict=True)]
        moved[method] = np.mean(changes)
        recall[method] = ((found[0] @ found[1].T).argmax(1) == np.arange(len(PAIRS)))[64:].mean()
    print(moved, recall)
    assert moved["gptq"] < moved["nearest"]
    assert recall["gptq"] > recall["nearest"] - RESOLUTION
