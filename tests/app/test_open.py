"""A file of one's own: opened by its session alone, seen whole, taken to the playground, deleted with the session."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re
import time

import numpy as np
import onnx
import pytest
import scipy.stats
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array
from streamlit.testing.v1 import AppTest

from explorer import access, compute
from explorer.given import open_dropped
from explorer.own_files import KEY, OwnFiles
from explorer.snippets import Origin, engine_code, numpy_code
from explorer.sources import MODELS, open_tensors
from explorer.tensor_table import LookedAt, listed, looked_at
from quant_engine import IntFormat, LayerPlan, PerChannel, QuantError, QuantizerSpec, fake_quantize
from quant_engine.network import Network
from quant_engine.studies import tensor_statistics
from tests.app.waiting import await_answers
from tests.engine.tensor_files import ARRAYS, write_gguf, write_npz, write_safetensors, write_sharded

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
SPEC = QuantizerSpec(IntFormat(4), PerChannel(0))


def written(name: str, tmp_path: pathlib.Path) -> bytes:
    {".npz": write_npz, ".gguf": write_gguf, ".safetensors": write_safetensors}[pathlib.Path(name).suffix](
        tmp_path / name
    )
    return (tmp_path / name).read_bytes()


def page(name: str, **link: str) -> AppTest:
    at = AppTest.from_file(ENTRY, default_timeout=60)
    for key, value in link.items():
        at.query_params[key] = value
    at.switch_page(str(ROOT / "pages" / f"{name}.py")).run()
    assert not at.exception
    return at


def playground(mine: OwnFiles, name: str, tensor: str) -> AppTest:
    """Return the playground of the session that has opened a file."""
    at = AppTest.from_file(ENTRY, default_timeout=60)
    at.session_state[KEY], at.session_state["model"], at.session_state["tensor"] = mine, name, tensor
    at.switch_page(str(ROOT / "pages" / "playground.py")).run()
    assert not at.exception
    return at


def test_a_file_is_seen_by_those_who_brought_it_and_goes_with_them(tmp_path: pathlib.Path) -> None:
    mine, other = OwnFiles(MODELS, grace=0.2), OwnFiles(MODELS)
    name = mine.add("a.npz", io.BytesIO(written("a.npz", tmp_path)))
    key = mine.models.key(name)
    network = compute.network(key)
    assert name in mine.models.names()
    assert name not in (*other.models.names(), *MODELS.names())
    for models in (other.models, MODELS):
        with pytest.raises(QuantError, match=r"there is no model 'a\.npz'"):
            models.key(name)
    folder = network.model.file.path.parents[1]
    session = compute.scheduler().session()
    session.on_release["files"] = mine.leave
    session.release()
    mine.enter()
    assert compute.network(key) is network
    session.release()
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not folder.exists()
    with pytest.raises(QuantError, match="no longer open"):
        compute.network(key)


def test_one_file_that_is_named_twice_and_by_two_sessions_is_open_until_the_last_of_them_closes_it(
    tmp_path: pathlib.Path,
) -> None:
    write_npz(path := tmp_path / "a.npz")
    first, second = OwnFiles(MODELS), OwnFiles(MODELS)
    names = [files.lend(open_tensors(path)) for files in (first, first, second)]
    keys = [files.models.key(name) for files, name in zip((first, first, second), names, strict=True)]
    assert keys[0] == keys[2] != keys[1]
    assert [MODELS.name(key) for key in keys] == names == ["a.npz", "a (2).npz", "a.npz"]
    first.close(names[0])
    assert MODELS.network(keys[0]).layers()
    first.close_all()
    assert MODELS.network(keys[2]).layers()
    with pytest.raises(QuantError, match="no longer open"):
        MODELS.network(keys[1])
    second.close_all()
    with pytest.raises(QuantError, match="no longer open"):
        MODELS.network(keys[2])


def test_a_file_that_another_session_has_too_is_called_by_its_own_name_alone(tmp_path: pathlib.Path) -> None:
    write_npz(path := tmp_path / "secret.npz")
    write_npz(other := tmp_path / "homework.npz")
    first, second = OwnFiles(MODELS), OwnFiles(MODELS)
    for files, place in ((first, path), (second, other)):
        files.lend(open_tensors(place))
    keys = first.models.key("secret.npz"), second.models.key("homework.npz")
    assert [MODELS.name(key) for key in keys] == ["secret.npz", "homework.npz"]
    assert [MODELS.network(key).name for key in keys] == ["secret.npz", "homework.npz"]
    first.close_all()
    second.close_all()


def test_a_file_that_is_refused_leaves_nothing_and_takes_nothing(tmp_path: pathlib.Path) -> None:
    mine, content = OwnFiles(MODELS, max_file=1 << 20), written("a.npz", tmp_path)
    assert mine.add("a.npz", io.BytesIO(content)) == "a.npz"
    folder = compute.network(mine.models.key("a.npz")).model.file.path.parents[1]
    before = sorted(folder.rglob("*"))
    for bad, said in (
        (content[:100], "damaged|can be read"),
        (b"text", "none of the formats"),
        (bytes(2 << 20), "1 MB"),
    ):
        with pytest.raises(QuantError, match=said):
            mine.add("b.npz", io.BytesIO(bad))
    assert (mine.names, sorted(folder.rglob("*"))) == (("a.npz",), before)
    mine.close("a.npz")
    assert (mine.names, [*folder.iterdir()]) == ((), [])
    assert "a.npz" not in mine.models.names()


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "..", "a\\..\\b", "\0", "x" * 500, "fashion-cnn"])
def test_the_name_of_a_file_leads_nowhere(name: str, tmp_path: pathlib.Path) -> None:
    mine = OwnFiles(MODELS)
    called = mine.add(name, io.BytesIO(written("a.npz", tmp_path)))
    path = compute.network(mine.models.key(called)).model.file.path
    assert path.name == called
    assert path.parents[2] == pathlib.Path(path.anchor, *path.parts[1:-3])
    assert called not in MODELS.names()
    assert mine.add(name, io.BytesIO((tmp_path / "a.npz").read_bytes())) not in (called, *MODELS.names())


def test_the_table_says_what_numpy_and_scipy_find(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(written("x.safetensors", tmp_path))
    mine = OwnFiles(MODELS)
    model = mine.models.key(mine.add("x.safetensors", io.BytesIO((tmp_path / "x.safetensors").read_bytes())))
    assert {row.name: row.is_real for row in listed(model)}["steps"] is False
    rows = {row.name: row for row in looked_at(model, SPEC)}
    assert set(rows) == {row.name for row in listed(model)} - {"steps"}
    for name in ("conv.weight", "half", "bias"):
        x, found = ARRAYS[name].astype(np.float64), rows[name].statistics
        assert (found.min, found.max) == (x.min(), x.max())
        assert found.sigma == pytest.approx(x.std())
        assert found.kurtosis == pytest.approx(scipy.stats.kurtosis(x, axis=None, fisher=False))
        assert found.max_sigmas == pytest.approx(np.abs(x).max() / x.std())
        matrix = ARRAYS[name].astype(np.float32).reshape(1 if x.ndim == 1 else len(x), -1)
        error = np.square(fake_quantize(matrix, SPEC) - matrix.astype(np.float64)).sum()
        assert rows[name].sqnr_db == pytest.approx(10 * np.log10(np.square(matrix.astype(np.float64)).sum() / error))
        assert rows[name].histogram == tuple(np.histogram(ARRAYS[name], 24)[0])
        codes = np.rint(matrix / (np.abs(matrix).max(axis=1, keepdims=True) / np.float32(7)))
        assert rows[name].codes_used == len(np.unique(codes)) / 16


def test_the_gain_is_that_of_the_best_of_a_thousand_ranges() -> None:
    x = np.random.default_rng(3).standard_t(3, (16, 64)).astype(np.float32)
    exact, top = x.astype(np.float64), np.abs(x).max()

    def error(beta: float) -> float:
        scale = beta / 7
        return float(np.square(np.clip(np.rint(exact / scale), -8, 7) * scale - exact).sum())

    best = min(error(top * part) for part in np.linspace(0.05, 1, 1000))
    found = LookedAt.of(x).outcome(SPEC)[1]
    assert found.range_db == pytest.approx(10 * np.log10(error(top) / best), abs=0.01)
    assert found.range_db > 1
    assert error(top * found.best_clip) == pytest.approx(best, rel=1e-3)
    rows = sum(np.square(fake_quantize(row[None], QuantizerSpec(IntFormat(4))) - row.astype(float)).sum() for row in x)
    assert found.channel_db == pytest.approx(10 * np.log10(error(top) / rows), abs=0.01)


def test_statistics_of_constants_and_of_many_blocks_are_right() -> None:
    constant = tensor_statistics(np.full(9, 0.1, np.float32))
    assert (constant.sigma, constant.kurtosis, constant.max_sigmas, constant.zeros) == (0, 0, 0, 0)
    x = np.random.default_rng(0).standard_normal((3, 1 << 20)).astype(np.float32)
    x[:, ::4] = 0
    found = tensor_statistics(x)
    assert found.zeros == 0.25
    assert found.kurtosis == pytest.approx(scipy.stats.kurtosis(x.astype(np.float64), axis=None, fisher=False))


def test_a_tensor_that_cannot_be_measured_says_why_and_the_others_are(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "x.npz", bad=np.array([[1, np.nan]], np.float32), good=np.ones((2, 2), np.float32))
    mine = OwnFiles(MODELS)
    model = mine.models.key(mine.add("x.npz", io.BytesIO((tmp_path / "x.npz").read_bytes())))
    rows = {row.name: row for row in looked_at(model, SPEC)}
    assert "1 NaN" in rows["bad"].refusal
    assert rows["good"].statistics is not None


def test_a_file_is_opened_on_its_page_and_shown_by_the_inspector_and_in_the_playground(tmp_path: pathlib.Path) -> None:
    at = page("open")
    at.file_uploader[0].set_value(("mine.gguf", written("mine.gguf", tmp_path), "application/octet-stream")).run()
    assert not at.exception
    assert at.selectbox(key="model").value == "mine.gguf"
    at = await_answers(at.switch_page(str(ROOT / "pages" / "inspector.py")))  # which AppTest leaves for each run
    table = at.dataframe[0].value
    assert sorted(table["Tensor"]) == ["bias", "conv.weight", "half", "k", "q"]
    assert dict(zip(table["Tensor"], table["Type"], strict=True))["q"] == "Q4_1 · 32"
    assert table["SQNR, dB"].notna().all()
    at = playground(at.session_state[KEY], "mine.gguf", "bias")
    assert any("mine.gguf has no task" in one.value for one in at.caption)
    assert any(one.value.startswith("bias: 7 tensor") for one in at.caption)


def test_a_file_that_is_refused_says_why_on_its_page() -> None:
    at = page("open")
    at.file_uploader[0].set_value(("broken.gguf", b"GGUF" + bytes(40), "application/octet-stream")).run()
    assert "broken.gguf was not opened" in at.error[0].value


def test_a_link_to_a_file_says_in_another_session_that_it_is_not_there() -> None:
    at = page("playground", model="mine.gguf", tensor="q")
    [notice] = [box.value for box in at.warning]
    assert "“mine.gguf”" in notice
    assert "only in the session that opened it" in notice
    assert at.selectbox(key="model").value == "fashion-cnn"


def test_a_tensor_that_is_not_finite_leaves_the_playground_usable(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "x.npz", bad=np.full((4, 4), np.nan, np.float32), good=np.eye(3, dtype=np.float32))
    mine = OwnFiles(MODELS)
    at = playground(mine, mine.add("x.npz", io.BytesIO((tmp_path / "x.npz").read_bytes())), "bad")
    assert "16 NaN" in at.error[0].value
    at.selectbox(key="tensor").set_value("good").run()
    assert not at.exception
    assert not at.error


def test_the_code_for_a_tensor_of_a_file_runs_and_gives_the_error_on_screen(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("mine.gguf", tmp_path)
    monkeypatch.chdir(tmp_path)
    mine = OwnFiles(MODELS)
    model = mine.models.key(mine.add("mine.gguf", io.BytesIO((tmp_path / "mine.gguf").read_bytes())))
    for layer, is_row in (("half", False), ("bias", True)):
        view = compute.block_view(model, layer, SPEC, 0)
        slices = SPEC.granularity.blocks(compute.matrix(model, layer).shape).slices(0)
        origin = Origin("mine.gguf", layer, is_file=True, is_row=is_row)
        for code, pattern, expected in (
            (engine_code(origin, LayerPlan(SPEC), None), r"MSE (\S+),", compute.outcome(model, layer, SPEC).report.mse),
            (numpy_code(origin, SPEC, view, slices), r"MSE (\S+) with", view.error),
        ):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, "snippet", "exec"), {})
            assert float(re.search(pattern, printed.getvalue())[1]) == pytest.approx(expected, rel=1e-3)


def dropped(mine: OwnFiles, *paths: pathlib.Path) -> Network:
    name = mine.add_together([(path.name, path.open("rb")) for path in paths], lambda own: open_dropped(own).network)
    return compute.network(mine.models.key(name))


def test_files_that_belong_together_are_one_model(tmp_path: pathlib.Path) -> None:
    write_sharded(tmp_path / "model.safetensors.index.json")
    mine = OwnFiles(MODELS)
    assert set(dropped(mine, *sorted(tmp_path.iterdir())).layers()) == {"conv.weight", "half", "bias"}
    for name in ("one.npz", "two.npz"):
        write_npz(tmp_path / name)
    with pytest.raises(QuantError, match="one model at a time"):
        dropped(mine, tmp_path / "one.npz", tmp_path / "two.npz")
    assert len(mine.names) == 1


@pytest.mark.parametrize("naming", [access.ANYTHING, access.CLASS])
def test_a_graph_with_data_is_measured_on_ones_own_machine_and_only_looked_at_on_a_server(
    naming: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(access.NAMING, naming)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, 4), (4, 3)))
    labels = rng.integers(0, 3, 16)
    np.savez(tmp_path / "data.npz", x=x, y=labels)
    values = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n]) for name, n in (("x", 4), ("out", 3)))
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["out"])], "g", [next(values)], [next(values)], [from_array(w, "w")]
    )
    onnx.save(helper.make_model(made, ir_version=8), tmp_path / "net.onnx")
    network = dropped(OwnFiles(MODELS), tmp_path / "net.onnx", tmp_path / "data.npz")
    if naming == access.CLASS:
        assert network.task is None
        assert list(network.layers()) == ["w"]
        return
    inputs, wanted = network.data("test")
    rows = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in inputs]
    assert list(wanted) == list(labels[rows])
    assert network.evaluate().value == np.mean((inputs @ w).argmax(axis=1) == wanted)
