"""A tensor of many millions of values on the playground: read once, waited for in the background, refused in words."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import compute
from explorer.panels.large import AWAITED_FROM, ORDER, PLACE
from explorer.sources import MODELS, Source, open_tensors
from quant_engine import IntFormat, MinMSE, PerChannel, QuantizerSpec
from tests.app.waiting import LIMIT, task_in

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def large(tmp_path: pathlib.Path) -> Iterator[str]:
    """A mapped file of few distinct values, which pages read in no time."""
    np.save(tmp_path / "large.npy", np.resize(np.linspace(-1, 1, 4097, dtype=np.float32), (4096, AWAITED_FROM >> 12)))
    MODELS.add("large", Source(lambda: open_tensors(tmp_path / "large.npy")))
    yield "large"
    MODELS.remove("large")


def test_a_large_tensor_is_waited_for_and_its_values_are_read_once_for_all_bits(large: str) -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["model"] = large
    at.switch_page(str(ROOT / "pages" / "playground.py")).run()
    key = MODELS.key(large)
    assert not at.exception
    assert compute.value_range(key, large) == (-1.0, 1.0)
    spent = [task for session in compute.scheduler().sessions for task in session.places.values() if task.ended]
    assert [task.key.question for task in spent if str(task.key.question) == PLACE] == [PLACE]
    known = compute.matrix(key, large)
    task_in(at, ORDER).result(LIMIT)
    assert compute.is_sorted(key, large)
    at.slider(key="play_bits").set_value(6).run()
    assert not at.exception
    assert compute.matrix(key, large) is known
    [shown] = [metric.value for metric in at.metric if metric.label == "Bits per value"]
    assert float(shown) == 6.0


@pytest.mark.parametrize("spec", [QuantizerSpec(IntFormat(5)), QuantizerSpec(IntFormat(9), clipping=MinMSE())])
def test_values_in_order_answer_as_a_pass_does(large: str, spec: QuantizerSpec) -> None:
    key = MODELS.key(large)
    compute.CACHE.clear()
    passed = compute.outcome(key, large, spec)
    compute.CACHE.clear()
    compute.in_order(key, large)
    found = compute.outcome(key, large, spec)
    assert found.code_counts is not None
    assert passed.code_counts is not None
    assert found.code_counts.tolist() == passed.code_counts.tolist()
    assert found.report.mse == pytest.approx(passed.report.mse, rel=1e-9)
    assert not compute.answers_in_order(key, large, QuantizerSpec(IntFormat(5), PerChannel()))
