"""Stored activation ranges in the inspector: with the values where the model runs, alone where it does not."""

from __future__ import annotations

import pathlib

import pytest
from streamlit.testing.v1 import AppTest

from explorer.language import read_file
from explorer.sources import MODELS, Source, open_tensors
from quant_engine.network import Network
from quant_engine.studies import range_use, stored_ranges
from tests.app.waiting import await_answers
from tests.engine.test_stored_ranges import ranged

ROOT = pathlib.Path(__file__).parents[2]
SAID = read_file("en", "inspector")["ranges"]


def inspector(name: str, network: Network) -> AppTest:
    MODELS.add(name, Source(lambda: network))
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["model"] = name
    at.session_state["inspector_ranges"] = True
    at.switch_page(str(ROOT / "pages" / "inspector.py")).run()
    assert not at.exception
    return await_answers(await_answers(at))


def test_ranges_stand_over_the_values_of_a_model_that_runs(tmp_path: pathlib.Path) -> None:
    network, received = ranged(tmp_path)
    at = inspector("ranged", network)
    table = at.dataframe[-1].value
    uses = [range_use(network, one, "test", 64) for one in stored_ranges(network.model) if one.layer]
    assert list(table[SAID["outside"]][: len(received)]) == pytest.approx([100 * use.outside_share for use in uses])
    assert table[SAID["outside"]].isna().tolist() == [False] * len(received) + [True]
    assert at.selectbox(key="inspector_ranges_tensor").options == received


def test_ranges_stand_alone_where_nothing_runs(tmp_path: pathlib.Path) -> None:
    ranged(tmp_path)
    at = inspector("ranges alone", open_tensors(tmp_path / "tiny.onnx"))
    assert list(at.dataframe[-1].value) == [SAID[name] for name in ("tensor", "codes", "low", "high")]
    assert SAID["no_graph"] in [caption.value for caption in at.caption]
