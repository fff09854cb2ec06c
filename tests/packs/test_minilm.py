"""A sentence encoder through transformers: words find their definitions among 492, under plans of all 40 layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.methods import Setting, compensated
from quant_engine.network import from_module
from quant_engine.packs.minilm import word_pairs
from quant_engine.studies.pack_card import SHARED, pack_card
from quant_engine.tasks import Agreement
from tests.packs.plans import check_row

PAIRS = word_pairs("test")
RESOLUTION = 0.042  # 1.96 standard errors of a share of .36 among 492
GROUPS_OF_32 = Setting(qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32)))
RECALL = {  # of another draw of 500 nouns
    (4, "tensor"): 0.106,
    (4, "channel"): 0.334,
    (4, "group of 32"): 0.338,
    (3, "tensor"): 0.004,
    (3, "channel"): 0.214,
    (3, "group of 32"): 0.296,
}


@pytest.fixture(scope="module")
def encoder(pack_network):
    return pack_network("minilm")


def test_its_40_layers_are_read_embeddings_among_them(encoder):
    layers = encoder.layers()
    assert len(layers) == 40
    assert [name for name, layer in layers.items() if layer.op == "embedding"] == [
        f"embeddings.{kind}_embeddings" for kind in ("word", "token_type", "position")
    ]
    weight = encoder.weight("encoder.layer.0.output.dense").astype(np.float64)
    assert weight.shape == (384, 1536)
    assert np.abs(weight - weight.mean()).max() / weight.std() == pytest.approx(175, rel=0.01)


def test_recall_is_that_of_another_draw_within_its_resolution():
    """Of several ways to draw pairs, one was kept whose float recall is near the other draw's: no independent score."""
    card = pack_card("minilm")
    assert card.plain["recall@1"].value == pytest.approx(0.356, abs=2**0.5 * RESOLUTION)
    for (bits, shared), expected in RECALL.items():
        found = card.rows[qe.QuantizerSpec(qe.IntFormat(bits), SHARED[shared])]["recall@1"]
        assert (found.n, found.value) == (len(PAIRS), pytest.approx(expected, abs=2**0.5 * RESOLUTION))


@pytest.mark.parametrize("shared", ["tensor", "group of 32"])
def test_a_row_of_the_card_is_found_again(encoder, shared):
    check_row(encoder, "minilm", 4, shared)


def documents(network, split):
    return [batch.inputs for batch in network.task.batches(split) if batch.targets == "document"]


def test_gptq_in_groups_of_32_changes_what_the_first_block_gives_less_than_rounding(encoder):
    module, fresh = copy.deepcopy(encoder.model.given), documents(encoder, "calibration")[0]
    module.encoder.layer = module.encoder.layer[:1]
    task = Agreement({"calibration": documents(encoder, "search")}, output="last_hidden_state")
    first = from_module(module, task, fresh)
    plans = [None, *(compensated(first, method, GROUPS_OF_32) for method in ("nearest", "gptq"))]
    plain, rounded, improved = (
        first.run(fresh, plan)["last_hidden_state"][fresh["attention_mask"] == 1] for plan in plans
    )
    assert np.linalg.norm(improved - plain) < 0.98 * np.linalg.norm(rounded - plain)


@pytest.mark.full
def test_gptq_in_groups_of_32_finds_no_fewer_definitions_than_rounding(encoder):
    scores = {}
    for method in ("nearest", "gptq"):
        plan = compensated(encoder, method, GROUPS_OF_32)
        scores[method] = encoder.scores(plan)
    assert scores["gptq"]["recall@1"].value > scores["nearest"]["recall@1"].value - RESOLUTION
    assert scores["gptq"]["same document"].value > scores["nearest"]["same document"].value
