"""The registry of models: each is opened once, when it is asked for, and nobody else waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import nn

from explorer.sources import Models, Source
from quant_engine import QuantError
from quant_engine.network import Network, from_module, load

LIMIT = 10.0  # seconds


class Slow:
    """A source that opens when it is told to."""

    def __init__(self, value: float) -> None:
        self.value, self.times = value, 0
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self) -> Network:
        self.times += 1
        self.begun.set()
        assert self.go.wait(LIMIT)
        return network(self.value)


def network(value: float) -> Network:
    layer = nn.Linear(2, 2, bias=False)
    nn.init.constant_(layer.weight, value)
    return from_module(nn.Sequential(layer))


@pytest.mark.parametrize("own", [False, True])
def test_nobody_waits_for_a_model_that_another_session_opens(own: bool) -> None:
    shared, slow = Models(), Slow(1.0)
    shared.add("quick", Source(lambda: load("fashion-cnn")))
    offered = Models(shared) if own else shared
    offered.add("slow", Source(slow))
    with ThreadPoolExecutor(3) as pool:
        first, second = pool.submit(offered.key, "slow"), pool.submit(offered.key, "slow")
        assert slow.begun.wait(LIMIT)
        assert not offered.is_open("slow")
        other = pool.submit(Models(shared).key, "quick").result(LIMIT)
        slow.go.set()
        assert first.result(LIMIT) == second.result(LIMIT) == network(1.0).digest != other
    assert offered.is_open("slow")
    assert offered.is_open("quick")
    assert slow.times == 1


def test_a_model_whose_name_is_taken_while_it_opens_gives_way() -> None:
    models, before, after = Models(), Slow(1.0), Slow(2.0)
    after.go.set()
    models.add("m", Source(before))
    with ThreadPoolExecutor(1) as pool:
        key = pool.submit(models.key, "m")
        assert before.begun.wait(LIMIT)
        models.add("m", Source(after))
        before.go.set()
        assert key.result(LIMIT) == models.key("m") == network(2.0).digest
    with pytest.raises(QuantError, match="no longer open"):
        models.network(network(1.0).digest)


def test_a_model_that_is_removed_while_it_opens_is_not_kept() -> None:
    models, slow = Models(), Slow(1.0)
    models.add("m", Source(slow))
    with ThreadPoolExecutor(1) as pool:
        key = pool.submit(models.key, "m")
        assert slow.begun.wait(LIMIT)
        models.remove("m")
        slow.go.set()
        with pytest.raises(QuantError, match="there is no model 'm'"):
            key.result(LIMIT)
