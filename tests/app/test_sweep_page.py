"""The page Sweep draws what is in the file, leads from cells to the playground, and falls over no file (no browser)."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

import quant_engine as qe
from explorer.figures.sweep import SweepMap, sweep_map_figure
from explorer.figures.theme import Canvas
from explorer.panels.sweep import playground_at
from explorer.state import PlaygroundState
from explorer.sweep_results import chosen, results_of, summaries
from explorer.sweep_specs import FORMATS, specs_of
from quant_engine.network import load
from quant_engine.sweep import read_sweep, sweep

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
SPECS, _ = specs_of("3-4", "layer,channel", "minmax", "int")


def fashion():
    return load("fashion-cnn")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("results") / "results.parquet"
    list(sweep(fashion, SPECS, path))
    return path


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("QUANT_EXPLORER_NAMING", "anything")
    at = AppTest.from_file(ENTRY, default_timeout=60).switch_page(str(ROOT / "pages" / "sweep.py")).run()
    assert not at.exception
    return at


def opened(at: AppTest, path: pathlib.Path) -> AppTest:
    at.text_input(key="sweep_path").set_value(str(path))
    at.button[-1].click().run()
    assert not at.exception
    return at


def drawn(at: AppTest) -> dict:
    """Return the map of cells."""
    return json.loads(at.get("plotly_chart")[-1].proto.spec)["data"][0]


def test_the_empty_page_says_which_command_makes_the_file(page: AppTest) -> None:
    assert "quant-explorer sweep" in page.code[0].value
    assert "results.parquet" in page.code[0].value
    assert not page.get("plotly_chart")


def test_the_map_shows_the_cells_of_the_file_and_the_filters_leave_some(page: AppTest, results: pathlib.Path) -> None:
    at = opened(page, results)
    assert len(at.get("plotly_chart")) == 2
    assert "5 of 5 tensors, 4 formats" in at.markdown[-1].value
    at.text_input(key="sweep_search_box").set_value("conv?").run()
    assert "3 of 5 tensors" in at.markdown[-1].value
    at.text_input(key="sweep_search_box").set_value("nothing").run()
    assert len(at.get("plotly_chart")) == 0
    at.text_input(key="sweep_search_box").set_value("").run()
    at.multiselect(key="sweep_formats_box").set_value(["int3"]).run()
    assert "2 formats" in at.markdown[-1].value
    assert at.query_params["sweep_formats"] == "int3"
    at.button(key="sweep_close").click().run()
    assert at.code


def test_a_link_says_what_is_shown_of_the_file_that_is_opened_next(page: AppTest, results: pathlib.Path) -> None:
    link = {"sweep_search": "conv?", "sweep_formats": "int3|int9", "sweep_bits": "3-3.5", "sweep_column": "mse"}
    for key, value in link.items():
        page.query_params[key] = value
    at = opened(page.run(), results)
    assert "3 of 5 tensors, 2 formats" in at.markdown[-1].value
    assert at.selectbox(key="sweep_column").value == "mse"
    assert {key: at.query_params[key] for key in link} == link | {"sweep_formats": "int3"}
    at.button(key="sweep_close").click().run()
    assert not {*link} & {*at.query_params}
    assert "5 of 5 tensors, 4 formats" in opened(at, results).markdown[-1].value


def test_each_cell_of_the_map_is_one_of_the_table(results: pathlib.Path) -> None:
    shown, table = results_of(read_sweep(results)), read_sweep(results).rows()
    for row in table:
        place = shown.tensors.index(row["tensor"]), shown.specs.index(row["spec"])
        assert shown.measured["sqnr_db"][place] == row["sqnr_db"]
        assert shown.measured["mse"][place] == row["mse"]
    assert list(shown.bits) == sorted(shown.bits)
    part = chosen(shown, "FC", ["int4"], (0, 16))
    assert part.tensors == ("fc1", "fc2")
    assert set(part.formats) == {"int4"}
    assert [one.tensors for one in summaries(part)] == [2, 2]


def test_a_cell_opens_the_playground_at_its_tensor_and_spec() -> None:
    every, _ = specs_of("2-8", "layer,channel,32", "minmax,mse,percentile,kl,aciq", ",".join(FORMATS))
    for spec in every:
        found = playground_at("fashion-cnn", "conv2", spec.key)
        assert found is not None, spec
        assert PlaygroundState.of(found[0]).spec(-1.0, 1.0) == spec
    assert playground_at("fashion-cnn", "no layer", SPECS[0].key) is None
    assert playground_at("not open", "conv2", SPECS[0].key) is None
    assert playground_at("fashion-cnn", "conv2", "no spec") is None


def test_many_cells_are_drawn_without_a_point_for_each() -> None:
    values = np.random.default_rng(0).standard_normal((3000, 40))
    many = SweepMap([f"layer {n}" for n in range(3000)], [f"spec {n}" for n in range(40)], values, "SQNR", False, {})
    figure = sweep_map_figure(many, Canvas("test"))
    assert len(figure.data[1].x) == 0
    assert len(figure.to_json()) < 2_500_000
    heat = figure.data[0]
    assert (heat.y[2999], heat.x[39]) == ("layer 2999", "spec 39")
    assert heat.z[2999][39] == pytest.approx(values[2999, 39])
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("category", "category")
    powers = sweep_map_figure(SweepMap(many.tensors, many.specs, 10**values, "MSE", True, {}), Canvas("test")).data[0]
    assert powers.customdata[2999][39] == pytest.approx(10 ** values[2999, 39])
    few = SweepMap(["a", "b"], ["one"], np.array([[np.inf], [np.nan]]), "SQNR", False, {(1, 0): "it is damaged"})
    assert [told[4] for told in sweep_map_figure(few, Canvas("test")).data[1].customdata][1] == "it is damaged"
    nothing = SweepMap(["a"], ["one"], np.array([[np.nan]]), "MSE", True, {})
    sweep_map_figure(nothing, Canvas("test"))


def changed(results: pathlib.Path, path: pathlib.Path, **columns: pa.Array) -> pathlib.Path:
    """Write a table with other columns."""
    table = pq.read_table(results)
    for name, values in columns.items():
        table = table.set_column(table.schema.names.index(name), name, values)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("damage", ["text", "empty", "other table", "no numbers", "no name", "a cell twice", "no spec"])
def test_a_file_that_no_sweep_has_written_is_refused_in_words(
    damage: str, page: AppTest, results: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path, cells = tmp_path / "x.parquet", pq.read_table(results).num_rows
    if damage == "text":
        path.write_text("<script>alert(1)</script>")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other table":
        pq.write_table(pa.table({"a": [1, 2]}), path)
    else:
        columns = {
            "no numbers": {"mse": pa.array(["x"] * cells)},
            "no name": {"tensor": pa.array([None] * cells, pa.string())},
            "a cell twice": {"tensor": pa.array(["same"] * cells)},
            "no spec": {"spec": pa.array([f"<img src=x onerror=alert({n})>" for n in range(cells)])},
        }
        changed(results, path, **columns[damage])
    at = opened(page, path)
    if damage == "no spec":  # whose cells are shown under their own text
        assert not at.error
        return
    assert "x.parquet" in at.error[0].value
    assert not at.get("plotly_chart")
    opened(at, results)
    assert at.get("plotly_chart")


def test_a_table_of_too_many_cells_is_not_read(tmp_path: pathlib.Path, results: pathlib.Path) -> None:
    table = pq.read_table(results)
    many = pa.table({name: pa.nulls(2_000_001, table.schema.field(name).type) for name in table.schema.names})
    pq.write_table(many.replace_schema_metadata(table.schema.metadata), tmp_path / "many.parquet")
    with pytest.raises(qe.QuantError, match="at most"):
        read_sweep(tmp_path / "many.parquet")
