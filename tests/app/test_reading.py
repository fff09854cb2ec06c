"""A lesson about what a large model computes: it says how far the model has run, stops, and goes on from there."""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from explorer.compute import SESSION_KEY
from explorer.lessons.framework.reading import PLACE
from explorer.sources import MODELS, Source
from explorer.tensors import LARGE, is_awaited, subject
from quant_engine.network import from_module
from quant_engine.tasks import Agreement
from tests.app.waiting import await_answers, task_in

ROOT = pathlib.Path(__file__).parents[2]
SIDE = 1000


class Slow(torch.nn.Module):
    """As many weights as a large model, before the second half of which it waits to be let through."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList([torch.nn.Linear(1, SIDE), torch.nn.Linear(SIDE, SIDE)])
        self.asked, self.go = threading.Event(), threading.Event()
        self.parts[1].register_forward_pre_hook(self._wait)

    def _wait(self, part: torch.nn.Module, given: object) -> None:
        self.asked.set()
        assert self.go.wait(60)

    def __deepcopy__(self, memo: dict[int, object]) -> Slow:
        return self  # no two of them wait for one event

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = part(x)
        return x


@pytest.fixture
def slow() -> Iterator[Slow]:
    module, x = Slow(), np.ones((2, 1), np.float32)
    module.go.set()
    network = from_module(module, Agreement({"calibration": x}), torch.from_numpy(x))
    assert len(network.executor.trace.spans) == len(network.layers()) == 2  # which is found by running it
    module.go.clear()
    module.asked.clear()
    MODELS.add("slow", Source(lambda: network))
    yield module
    module.go.set()
    MODELS.remove("slow")


def test_a_lesson_says_how_far_a_large_model_has_run_for_its_tensor_and_stops_when_told(slow: Slow) -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=60)
    at.session_state["model"], at.session_state["symmetry_tensor"] = "slow", "logits"
    at.switch_page(str(ROOT / "pages" / "lesson_symmetry.py")).run()
    assert not at.exception
    assert slow.asked.wait(60)
    assert is_awaited("logits", MODELS.key("slow"), "parts.0")
    assert not at.get("plotly_chart")
    run = task_in(at, PLACE)
    at.button(key=f"{PLACE}_stop").click().run()
    assert PLACE not in at.session_state[SESSION_KEY].places
    assert run.stopping
    at.button(key=f"{PLACE}_start").click().run()
    assert task_in(at, PLACE) is run
    slow.go.set()
    await_answers(at)
    assert at.get("plotly_chart")
    with torch.no_grad():
        expected = slow(torch.ones(2, 1)).numpy()
    assert subject("logits", MODELS.key("slow"), "parts.0").matrix == pytest.approx(expected, abs=1e-5)


def test_a_small_model_runs_for_a_lesson_without_a_word() -> None:
    key = MODELS.key("fashion-cnn")
    assert sum(info.parameters for info in MODELS.network(key).layers().values()) < LARGE
    assert not is_awaited("logits", key, "conv3")
