"""What the blocks of a transformer receive, channel by channel: against plain torch hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.network import from_module
from quant_engine.studies import residual_stream
from tests.engine.foreign import Decoder, foreign_models

IDS = np.random.default_rng(0).integers(0, 64, (5, 7))


def test_the_largest_of_each_channel_and_its_token_are_those_that_hooks_see() -> None:
    torch.manual_seed(0)
    module, received = Decoder(), []
    with torch.no_grad():
        module.embed.weight[:, 5] *= 300
    for block in module.blocks:
        block.register_forward_pre_hook(lambda _, given: received.append(given[0].abs().numpy()))
    found = residual_stream(from_module(module, example=torch.arange(8)[None]), IDS)
    received.clear()
    with torch.inference_mode():
        module(torch.from_numpy(IDS))
    assert found.blocks == ("blocks.0", "blocks.1", "blocks.2")
    for block, x in enumerate(received):
        np.testing.assert_allclose(found.largest[block], x.max((0, 1)), rtol=1e-5)
        np.testing.assert_array_equal(found.tokens[block], x.max(0).argmax(0))
    ratios = np.stack([x.max((0, 1)) / np.median(x.max((0, 1))) for x in received])
    np.testing.assert_allclose(found.ratios, ratios, rtol=1e-5)
    assert found.leading(1).tolist() == [5]
    assert found.large_blocks(5) == 3
    assert found.large_blocks(int(ratios[0].argmin())) == 0


@pytest.mark.parametrize("name", ["sequential", "residual"])
def test_pictures_are_no_tokens(name: str) -> None:
    module, inputs = foreign_models()[name]
    with pytest.raises(qe.QuantError, match=r"blocks|receives shape"):
        residual_stream(from_module(module, example=inputs), inputs.numpy())
