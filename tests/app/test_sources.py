"""The registry of models: each is opened once, when it is asked for, and nobody else waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from torch import nn

from explorer.sources import Models, Source
from quant_engine import QuantError
from quant_engine.network import Network, from_module, load
from quant_engine.tasks import Classification

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


def network(value: float, labels: list[int] | None = None) -> Network:
    layer = nn.Linear(2, 2, bias=False)
    nn.init.constant_(layer.weight, value)
    inputs = np.arange(20, dtype=np.float32).reshape(10, 2)
    return from_module(nn.Sequential(layer), None if labels is None else Classification((inputs, np.array(labels))))


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


def test_a_key_stands_for_one_name_and_one_task_whatever_was_open_and_closed_before() -> None:
    shared = Models()
    tasks = [0, 1] * 5, [1, 0] * 5
    opened: dict[tuple[str, int], Models] = {}
    for name, task in [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 0), ("b", 1), ("b", 0)]:
        if ("a", 0) in opened and name == "a":
            opened.pop(("a", 0)).remove("a")  # whose key was the digest alone
        mine = opened[name, task] = Models(shared)
        mine.add(name, Source(partial(network, 1.0, tasks[task])))
        for (called, number), models in opened.items():
            key = models.key(called)
            assert models.name(key) == called
            assert models.network(key).task.key == network(1.0, tasks[number]).task.key
