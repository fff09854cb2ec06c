"""A causal language model from a 4-bit GGUF file, written once in float32."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.network import Network
from quant_engine.packs import PACKS, folder_of
from quant_engine.packs.smollm2 import FILE, texts
from quant_engine.studies.pack_card import pack_card
from quant_engine.tasks import NextToken
from tests.packs.plans import check_row, every_layer


@pytest.fixture(scope="module")
def model_on_a_text(pack_network):
    """Return the network on the first half of one text of the test split."""
    network = pack_network("smollm2")
    tokens = texts(folder_of(PACKS["smollm2"]), "test")[:1, :256]
    return Network(network.model, NextToken({"test": tokens}))


def test_its_weights_are_those_that_gguf_dequantizes(model_on_a_text):
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(folder_of(PACKS["smollm2"]) / FILE).tensors}
    for name, key in (("model.layers.3.mlp.down_proj", "blk.3.ffn_down"), ("model.embed_tokens", "token_embd")):
        expected = gguf.dequantize(stored[f"{key}.weight"].data, stored[f"{key}.weight"].tensor_type)
        np.testing.assert_array_equal(model_on_a_text.weight(name), expected)
    assert model_on_a_text.layers()["lm_head"].tied_to == "model.embed_tokens"
    assert len(model_on_a_text.layers()) == 30 * 7 + 2


def test_groups_of_32_keep_it_and_one_scale_a_layer_destroys_it(model_on_a_text):
    tokens = torch.from_numpy(model_on_a_text.task.batches("test")[0].inputs)
    with torch.no_grad():
        loss = model_on_a_text.model.given(input_ids=tokens, labels=tokens).loss.item()
    plain = model_on_a_text.evaluate()
    assert (plain.name, plain.value) == ("perplexity", pytest.approx(np.exp(loss), rel=1e-4))
    grouped = model_on_a_text.evaluate(every_layer(model_on_a_text, 4, qe.PerGroup(32)))
    assert plain.value < grouped.value < 2 * plain.value
    assert model_on_a_text.evaluate(every_layer(model_on_a_text, 4, qe.PerTensor())).value > 1000


def test_its_perplexity_is_the_cards(pack_network):
    plain = pack_card("smollm2").plain["perplexity"]
    assert pack_network("smollm2").evaluate().value == pytest.approx(plain.value, rel=0.01)


@pytest.mark.full
def test_a_row_of_the_card_is_found_again(pack_network):
    plain = pack_card("smollm2").plain["perplexity"]
    assert check_row(pack_network("smollm2"), "smollm2", 4, "group of 32") > plain.value
