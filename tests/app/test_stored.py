"""What a file stores as codes, on the playground: its own levels over the values, and as settings."""

from __future__ import annotations

import json
import pathlib

import gguf
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from streamlit.testing.v1 import AppTest

from explorer import compute
from explorer.sources import MODELS, Source, open_tensors
from explorer.stored import as_settings, numbers, stored_block, stored_of, type_name
from explorer.tensor_table import listed
from quant_engine import FixedRange, IntFormat, PerChannel, fake_quantize
from quant_engine.network import load
from quant_engine.readers import TensorInfo
from tests.app.test_open import page


def write_blocks(path: pathlib.Path) -> np.ndarray:
    """Write a built-in layer's weights as Q4_1, Q8_0 and Q6_K blocks, and return the first's values."""
    weights, kinds = load("fashion-cnn").weight("fc1"), gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(path, "cnn")
    for name in ("Q4_1", "Q8_0"):
        writer.add_tensor(name, gguf.quantize(weights, kinds[name]), raw_dtype=kinds[name])
    blocks = np.random.default_rng(0).integers(0, 60, (2, gguf.GGML_QUANT_SIZES[kinds.Q6_K][1]), dtype=np.uint8)
    for name in ("Q6_K", "IQ2_S"):
        size = gguf.GGML_QUANT_SIZES[kinds[name]][1]
        writer.add_tensor(name, np.tile(blocks[:, :size], (1, 2)), raw_dtype=kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    values: np.ndarray = gguf.dequantize(gguf.quantize(weights, kinds.Q4_1), kinds.Q4_1)
    return values


def offered(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    network = open_tensors(path)
    MODELS.add(path.name, Source(lambda: network))
    monkeypatch.setenv("QUANT_EXPLORER_MODEL", path.name)
    return path.name


def shown(at: AppTest) -> str:
    return " ".join(str(element.value) for element in (*at.markdown, *at.caption))


def test_a_stored_tensor_says_so_and_shows_the_levels_that_the_file_has(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, name = write_blocks(tmp_path / "blocks.gguf"), offered(tmp_path / "blocks.gguf", monkeypatch)
    try:
        model = MODELS.key(name)
        rows = {row.name: row.stored for row in listed(model)}
        assert rows == {"Q4_1": "Q4_1 · 32", "Q8_0": "Q8_0 · 32", "Q6_K": "Q6_K · 16", "IQ2_S": "IQ2_S · 256"}
        at = page("playground", model=name, tensor="Q4_1", play_bits="3")
        assert "Stored as Q4_1, 5 bits a value, 1,728 scales, one for each run of 32 values." in shown(at)
        assert "requantizes the stored values" in shown(at)
        at.selectbox(key="play_shows").set_value("as stored").run()
        at.number_input(key="play_block").set_value(700).run()
        assert not at.exception
        stored = stored_of(model, "Q4_1")
        assert stored is not None
        found = stored_block(model, "Q4_1", stored, 700).view
        block = values.reshape(-1, 32)[700]
        assert numbers(stored, 700, found) in shown(at)
        assert (found.levels.size, found.counts.sum(), found.error) == (16, 32, 0.0)
        assert np.isin(block, found.levels).all()
        assert np.unique(block).size == (found.counts > 0).sum()
        at.selectbox(key="play_shows").set_value("as set").run()
        assert at.slider(key="play_bits").value == 3  # what was set is still set
        at.selectbox(key="play_shows").set_value("as stored").run()
        at.button[0].click().run()  # set the controls like this
        assert (at.selectbox(key="play_format").value, at.selectbox(key="play_gguf").value) == ("GGUF", "Q4_1")
        for tensor in ("Q6_K", "IQ2_S"):
            at = page("playground", model=name, tensor=tensor, play_shows="as stored")
            assert ("have no single scale" in shown(at)) == (tensor == "IQ2_S")
    finally:
        MODELS.remove(name)


def test_a_range_beside_real_values_is_shown_over_them_and_can_be_set(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load("fashion-cnn").weight("conv3")
    np.savez(tmp_path / "m.npz", w=weights)
    said = {"name": "w", "dtype": "INT", "bw": 4, "scale": [0.05], "offset": [-8], "enc_type": "PER_TENSOR"}
    (tmp_path / "m.encodings").write_text(json.dumps({"param_encodings": [said]}))
    name = offered(tmp_path / "m.npz", monkeypatch)
    try:
        model = MODELS.key(name)
        assert [row.stored for row in listed(model)] == ["float32 → uint4 · layer"]
        at = page("playground", model=name, tensor="w", play_shows="as stored")
        assert "Stored as real values, with a range for uint4 beside them, one scale." in shown(at)
        stored = stored_of(model, "w")
        assert stored is not None
        view = stored_block(model, "w", stored, 0).view
        assert (view.lo, view.hi) == (np.float32(-0.4), np.float32(0.35))
        codes = np.clip(np.rint(weights / np.float32(0.05)), -8, 7)
        assert view.error == pytest.approx(np.square(codes * 0.05 - weights.astype(np.float64)).mean(), rel=1e-5)
        settings = as_settings(stored)
        assert settings is not None
        assert settings.spec(-1.0, 1.0).clipping == FixedRange(-view.hi, view.hi)
        np.testing.assert_allclose(fake_quantize(weights, settings.spec(-1.0, 1.0)), codes * 0.05, atol=1e-6)
    finally:
        MODELS.remove(name)


def test_a_graph_shows_how_its_weights_are_stored_the_way_round_that_layers_have_them(tmp_path: pathlib.Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {
        "w": draw.integers(-128, 128, (6, 6), dtype=np.int8),
        "scale": draw.uniform(0.01, 0.1, 6).astype(np.float32),
        "zero": np.zeros(6, np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", [*arrays], ["wd"], axis=1),
        helper.make_node("MatMul", ["x", "wd"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", 6]) for end in ("x", "y")]
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "g.onnx")
    MODELS.add("g.onnx", Source(lambda: load(tmp_path / "g.onnx")))
    try:
        model = MODELS.key("g.onnx")
        stored = stored_of(model, "w")
        assert stored is not None
        assert [row.stored for row in listed(model)] == ["INT8 · channel"]
        np.testing.assert_array_equal(stored.dequantize(), compute.network(model).weight("w"))
        settings = as_settings(stored)
        assert settings is not None
        assert (settings.spec(-1, 1).format, settings.spec(-1, 1).granularity) == (IntFormat(8), PerChannel())
    finally:
        MODELS.remove("g.onnx")


@pytest.mark.parametrize(
    ("codes", "shape", "block", "named"),
    [
        ("", (4, 6), (), "F32"),
        ("int8", (4, 6), (4, 6), "int8 · layer"),
        ("int8", (4, 6, 3, 3), (1, 6, 3, 3), "int8 · channel"),
        ("int4", (64, 256), (1, 128), "int4 · 128"),
        ("float8_e4m3fn", (256, 256), (128, 128), "float8_e4m3fn · 128 × 128"),
    ],
)
def test_the_table_names_codes_and_what_shares_a_scale(
    codes: str, shape: tuple[int, ...], block: tuple[int, ...], named: str
) -> None:
    assert type_name(TensorInfo("w", shape, "x", "F32", "quantized", codes, block)) == named


def test_a_built_in_network_stores_no_codes() -> None:
    assert stored_of(MODELS.key("fashion-cnn"), "conv1") is None
