"""What a language model writes: the likeliest token each time, by torch, and the place where a plan parts from it."""

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.network import from_module
from quant_engine.studies import write
from quant_engine.tasks import Agreement, NextToken
from tests.engine.foreign import Decoder

PROMPT, TOKENS = [5, 9, 2], 12
PLAN = qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(4)))


def written(module: torch.nn.Module) -> tuple[list[int], list[torch.Tensor]]:
    """Return the likeliest tokens and the probabilities at each place, by torch alone."""
    tokens, odds = list(PROMPT), []
    with torch.inference_mode():
        for _ in range(TOKENS):
            odds.append(module(torch.tensor([tokens]))[0, -1].double().softmax(-1))
            tokens.append(int(odds[-1].argmax()))
    return tokens[len(PROMPT) :], odds


def test_both_texts_are_those_of_torch_and_they_part_where_they_first_differ() -> None:
    torch.manual_seed(0)
    module = Decoder()
    module.head = torch.nn.Linear(16, 64, bias=False)  # tied to the embedding it would repeat one token
    network = from_module(module, NextToken(np.arange(32).reshape(2, 16)), example=torch.arange(8)[None])
    plan = qe.QuantizationPlan.of(network.layers(), {"*": PLAN})
    *steps, last = write(network, plan, PROMPT, TOKENS)
    plain, before = written(module)
    with network.patched(plan) as changed:
        planned, after = written(changed)
    assert (list(last.plain), list(last.planned)) == (plain, planned)
    assert len(steps) + 1 == TOKENS
    place = next(at for at in range(TOKENS) if plain[at] != planned[at])
    assert last.parts == place > 0
    for found, wanted in zip(last.odds, (before[place], after[place]), strict=True):
        assert found == pytest.approx(wanted.numpy(), abs=1e-6)
    assert all(step.parts is None for step in steps[:place])


def test_what_cannot_write_is_refused() -> None:
    network = from_module(Decoder(), NextToken(np.arange(32).reshape(2, 16)), example=torch.arange(8)[None])
    plan = qe.QuantizationPlan({})
    with pytest.raises(qe.QuantError, match="has no tokens"):
        next(write(network, plan, [], 2))
    other = from_module(Decoder(), Agreement(np.arange(32).reshape(2, 16)), example=torch.arange(8)[None])
    with pytest.raises(qe.QuantError, match="predicts no next token"):
        next(write(other, plan, PROMPT, 2))


def test_two_plans_of_two_networks_write_what_each_writes_by_itself() -> None:
    torch.manual_seed(0)
    modules = Decoder(), Decoder()
    for module in modules:
        module.head = torch.nn.Linear(16, 64, bias=False)
    task, example = NextToken(np.arange(32).reshape(2, 16)), torch.arange(8)[None]
    one, two = (from_module(module, task, example=example) for module in modules)
    plan = qe.QuantizationPlan.of(one.layers(), {"*": PLAN})
    *_, both = write(one, None, PROMPT, TOKENS, plan, two)
    with one.patched(plan) as changed:
        assert list(both.plain) == written(changed)[0]
    assert list(both.planned) == written(modules[1])[0]
