"""The command line: models by whatever names people have for them, with data; and packs."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner, Result

from explorer.cli import program
from explorer.given import offer_given, open_given
from explorer.sources import MODELS, open_tensors
from quant_engine import QuantError
from quant_engine.network import Network
from quant_engine.packs import PACKS
from tests.engine.tensor_files import write_npz


def said(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "400"}).invoke(program, arguments)


def opened(given: pathlib.Path | str, data: pathlib.Path | None = None) -> Network:
    return open_given(str(given), data).network


@pytest.fixture
def graph(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return an ONNX file: the means of pictures (n, 3, 4, 4) by channel, times a matrix for two classes."""
    stored = [numpy_helper.from_array(np.array([[1, 0], [0, 1], [0, 0]], np.float32), "w")]
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    made = helper.make_graph(nodes, "tiny", [x], [y], stored)
    onnx.save(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "tiny.onnx"
    )
    return tmp_path / "tiny.onnx"


def test_help_and_mistakes_name_what_there_is() -> None:
    assert all(option in said("open", "--help").output for option in ("--host", "--port", "--headless", "--data"))
    assert "models add ocr" in said("--help").output
    for arguments, word in (
        (("nowhere",), "organisation/model"),
        (("--port", "0"), "port"),
        (("fashion-cnn", "--data", "nowhere.npz"), "nowhere.npz"),
        (("--data", "x.npz"), "name the model"),
        (("ocr",), "quant-explorer models add ocr"),
        (("models", "add", "nothing"), "efficientnet-lite0"),
        (("models", "remove", "ocr"), "ocr is not installed"),
    ):
        result = said(*arguments)
        assert result.exit_code == 2, arguments
        assert word in result.output


def test_models_are_listed_with_licence_and_sizes() -> None:
    listed = said("models", "list").output
    rows = {name: next(line for line in listed.splitlines() if f" {name} " in line) for name in PACKS}
    assert all("Apache-2.0" in row and " MB " in row and " no " in row for row in rows.values())


def test_a_file_of_tensors_is_opened_and_one_without_a_graph_takes_no_data(tmp_path: pathlib.Path) -> None:
    write_npz(tmp_path / "given.npz")
    assert offer_given(str(tmp_path / "given.npz")) == ("given.npz", "")
    assert MODELS.network(MODELS.key("given.npz")).digest == open_tensors(tmp_path / "given.npz").digest
    MODELS.remove("given.npz")
    assert offer_given("fashion-cnn") == ("fashion-cnn", "")
    for bad in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(QuantError, match="give the path"):
            open_given(str(bad))
    with pytest.raises(QuantError, match="not the graph that runs them"):
        open_given(str(tmp_path / "given.npz"), tmp_path / "given.npz")


def test_an_onnx_file_runs_without_data_and_is_scored_with_them(graph: pathlib.Path, tmp_path: pathlib.Path) -> None:
    alone = opened(graph)
    x = np.random.default_rng(0).standard_normal((16, 3, 4, 4), np.float32)
    means = x.mean((2, 3))
    np.testing.assert_allclose(alone.run(x), means[:, :2], atol=1e-6)
    assert alone.task is None
    np.savez(tmp_path / "labelled.npz", x=x, y=means[:, :2].argmax(axis=1))
    np.savez(tmp_path / "inputs.npz", x=x)
    (tmp_path / "score.py").write_text(
        "import numpy as np\n"
        "def batches():\n    yield np.ones((3, 3, 4, 4), np.float32)\n"
        "def score(outputs, batch):\n    return outputs[:, 0]\n",
        encoding="utf-8",
    )
    expected = {"labelled.npz": ("accuracy", 1.0), "inputs.npz": ("top-1 agreement", 1.0), "score.py": ("score", 1.0)}
    for name, (called, value) in expected.items():
        score = opened(graph, tmp_path / name).evaluate()
        assert (score.name, score.value) == (called, pytest.approx(value)), name
    assert opened(graph, tmp_path / "labelled.npz").layers()["w"].shapes == ((3,), (2,))
    assert opened("fashion-cnn", None).evaluate().n == 2000


def test_pictures_in_folders_are_classes_of_the_size_that_the_model_takes(
    graph: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for name, colour in (("a", (255, 0, 0)), ("b", (0, 255, 0))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (9, 7), colour).save(tmp_path / "pictures" / name / f"{number}.png")
    network = opened(graph, tmp_path / "pictures")
    assert (network.task.unit, network.evaluate().correct, network.task.count("test")) == ("image", 4, 4)
    assert network.task.batches("test")[0].inputs[0, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("x.npz", b"PK no zip", "cannot be read"),
        ("x.csv", b"1, 2", "holds no data that is understood"),
        ("x.txt", b"words", "needs a tokenizer"),
        ("x.py", b"raise RuntimeError('bad')", "does not run"),
    ],
)
def test_data_that_cannot_be_used_are_refused(
    graph: pathlib.Path, tmp_path: pathlib.Path, name: str, content: bytes, word: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QuantError, match=word):
        open_given(str(graph), tmp_path / name)


def test_an_onnx_file_that_cannot_run_is_opened_as_tensors_with_the_reason(
    graph: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(graph)
    proto.graph.node[2].op_type = "Add"
    onnx.save(proto, graph)
    name, reason = offer_given(str(graph))
    assert (name, MODELS.network(MODELS.key(name)).model.layers.keys()) == ("tiny.onnx", {"w"})
    assert "no Conv, Gemm, MatMul or Gather" in reason
    MODELS.remove(name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(QuantError, match=r'pip install "quant-explorer\[onnx\]"'):
        open_given(str(graph))
