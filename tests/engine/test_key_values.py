"""Keys and values of attention, quantized with one scale a tensor, a channel or a token: against plain torch hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import quant_engine as qe
from quant_engine.network import Network, from_module
from quant_engine.studies import (
    SHARES,
    attention_blocks,
    cache_errors,
    cache_scores,
    keys_and_values,
    quantize_cache,
    task_text,
    text_inputs,
)
from quant_engine.tasks import NextToken
from tests.engine.foreign import Decoder, sequential_cnn

BITS = 3
AXES = {"tensor": ((0, 1), (0, 1)), "channel": ((0,), (0,)), "token": ((1,), (1,)), "kivi": ((0,), (1,))}
IDS = np.random.default_rng(0).integers(0, 64, (4, 9))


@pytest.fixture
def module() -> Decoder:
    torch.manual_seed(0)
    return Decoder()


@pytest.fixture
def network(module: Decoder) -> Network:
    return from_module(module, NextToken({"test": IDS}), example=torch.arange(8)[None])


def cached(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Round keys or values (tokens, channels) as KIVI's equation 1 says, in double precision."""
    low, high = x.double().amin(axes, keepdim=True), x.double().amax(axes, keepdim=True)
    scale = (high - low) / (2**BITS - 1)
    return torch.round((x.double() - low) / scale) * scale + low


def decibels(x: torch.Tensor, changed: torch.Tensor) -> float:
    return float(10 * torch.log10(x.double().square().sum() / (changed.double() - x.double()).square().sum()))


def hooked(module: Decoder, share: str, blocks: tuple[int, ...]) -> torch.Tensor:
    """Run a module with hooks that round keys and values, text by text, and return its logits."""
    hooks = []
    for block in blocks:
        for name, axes in zip("kv", AXES[share], strict=True):

            def change(_: torch.nn.Module, __: object, given: torch.Tensor, axes: tuple[int, ...] = axes):
                return torch.stack([cached(text, axes) for text in given]).float()

            hooks.append(getattr(module.blocks[block], name).register_forward_hook(change))
    with torch.inference_mode():
        found = module(torch.from_numpy(IDS))
    for hook in hooks:
        hook.remove()
    return found


def test_the_blocks_of_a_decoder_are_found_by_the_names_of_their_layers(network: Network) -> None:
    blocks = attention_blocks(network)
    assert [(block.name, block.key.layer, block.value.layer, block.output) for block in blocks] == [
        (f"blocks.{i}", f"blocks.{i}.k", f"blocks.{i}.v", f"blocks.{i}.o") for i in range(3)
    ]


def test_keys_and_values_are_what_the_projections_give(module: Decoder, network: Network) -> None:
    seen = {}
    for name in "kv":
        part = getattr(module.blocks[1], name)
        part.register_forward_hook(lambda _, __, given, name=name: seen.__setitem__(name, given))
    with torch.inference_mode():
        module(torch.from_numpy(IDS))
    keys, values = keys_and_values(network, IDS, attention_blocks(network)[1])
    np.testing.assert_allclose(keys, seen["k"].numpy(), atol=1e-6)
    np.testing.assert_allclose(values, seen["v"].numpy(), atol=1e-6)


def test_errors_of_keys_values_and_attention_are_those_of_torch(module: Decoder, network: Network) -> None:
    text = torch.from_numpy(IDS[:1])
    parts: dict[str, torch.Tensor] = {}
    for name in "qkv":
        part = getattr(module.blocks[2], name)
        part.register_forward_hook(lambda _, __, given, name=name: parts.__setitem__(name, given[0]))
    with torch.inference_mode():
        module(text)
    found = cache_errors(network, IDS[:1], attention_blocks(network)[2], BITS)

    def attention(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(parts["q"].double(), k.double(), v.double(), is_causal=True)

    for share, axes in AXES.items():
        k, v = (cached(parts[name], axis) for name, axis in zip("kv", axes, strict=True))
        assert found[share].key_db == pytest.approx(decibels(parts["k"], k), abs=1e-3)
        assert found[share].value_db == pytest.approx(decibels(parts["v"], v), abs=1e-3)
        output = decibels(attention(parts["k"], parts["v"]), attention(k, v))
        assert found[share].output_db == pytest.approx(output, abs=1e-2)
    scales = {"tensor": 1 + 1, "channel": 16 + 16, "token": 9 + 9, "kivi": 16 + 9}
    assert {share: error.bits_per_value for share, error in found.items()} == pytest.approx(
        {share: BITS + 64 * n / (2 * 9 * 16) for share, n in scales.items()}
    )


def test_scores_are_those_of_the_model_with_all_keys_and_values_rounded(module: Decoder, network: Network) -> None:
    with torch.inference_mode():
        plain = module(torch.from_numpy(IDS)).double().log_softmax(-1)[:, :-1]
    found = dict(cache_scores(network, BITS))
    assert list(found) == list(SHARES)
    for share, scores in found.items():
        changed = hooked(module, share, (0, 1, 2)).double().log_softmax(-1)[:, :-1]
        divergence = (plain.exp() * (plain - changed)).sum(-1).mean()
        assert scores["mean KLD"].value == pytest.approx(float(divergence), rel=1e-3)


def test_one_layer_that_gives_queries_keys_and_values_is_cut_into_thirds() -> None:
    torch.manual_seed(0)

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_attn, self.c_proj = torch.nn.Linear(4, 12), torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c_proj(functional.scaled_dot_product_attention(*self.c_attn(x).chunk(3, -1)))

    module, x = Attention(), torch.randn(2, 5, 4)
    network = from_module(module, example=x)
    [block] = attention_blocks(network)
    with torch.inference_mode():
        wanted = module.c_attn(x).chunk(3, -1)[1:]
    for part, given in zip(keys_and_values(network, x.numpy(), block), wanted, strict=True):
        np.testing.assert_allclose(part, given.numpy(), atol=1e-6)
    assert cache_errors(network, x.numpy(), block, 8)["kivi"].output_db > 30


def test_constant_blocks_are_exact() -> None:
    x = np.repeat(np.arange(4, dtype=np.float32)[None, None], 3, axis=1)
    np.testing.assert_array_equal(quantize_cache(x, 2, SHARES["channel"][0]), x)


def test_what_has_no_keys_is_refused() -> None:
    with pytest.raises(qe.QuantError, match="no layers for keys and values"):
        attention_blocks(from_module(sequential_cnn()))


def test_texts_have_the_form_of_the_task(network: Network) -> None:
    assert task_text(network, "test", 5) == tuple(IDS[0, :5])
    np.testing.assert_array_equal(text_inputs(network, [3, 4]), [[3, 4]])
    masked = NextToken({"test": {"input_ids": IDS, "attention_mask": np.arange(9) < np.full((4, 1), 6)}})
    assert task_text(Network(network.model, masked), "test", 9) == tuple(IDS[0, :6])
    with pytest.raises(qe.QuantError, match="no tokens"):
        text_inputs(network, [])
