"""Codes and scales of already quantized files are what the files' own tools make of them, bit for bit."""

from __future__ import annotations

import json
import pathlib
import random

import gguf
import numpy as np
import onnx
import pytest
import torch
from gguf.quants import _type_traits
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.torch import save_file

from quant_engine import QuantError
from quant_engine.readers import ReaderError, StoredQuantization, TensorFile, open_file
from tests.engine.tensor_files import compressed, qdq_model
from tests.engine.test_reader_fuzz import mutated

SIMPLE = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4"}
WEIGHT = np.random.default_rng(2).standard_normal((6, 8)).astype(np.float32)


def stored_of(file: TensorFile, name: str) -> StoredQuantization:
    found = file.quantization(name)
    assert found is not None
    return found


def check(found: StoredQuantization, values: np.ndarray, has_codes: bool = True) -> None:
    """Hold codes, scales, levels and ends of blocks against a tensor's values."""
    assert found.shape == values.shape
    for block in range(min(found.blocks, 5)):
        levels, held = found.levels(block), values[found.slices(block)]
        assert levels.size == 1 or (np.diff(levels) > 0).all()
        assert np.isin(held[~np.isnan(held)], levels).all()
    if not has_codes:
        return
    np.testing.assert_array_equal(found.dequantize(), values)
    np.testing.assert_array_equal(found.transposed().dequantize(), values.T)
    if found.has_scale:
        assert found.scale.shape == found.grid
        assert np.isin(found.codes(), found.numbers).all()
        lo, hi = found.ends()
        place = np.unravel_index(found.blocks - 1, found.grid)
        np.testing.assert_array_equal(found.levels(found.blocks - 1)[[0, -1]], [lo[place], hi[place]])


def test_codes_and_scales_of_every_gguf_type_give_what_gguf_makes_of_them(tmp_path: pathlib.Path) -> None:
    draw, written = np.random.default_rng(1), {}
    writer = gguf.GGUFWriter(tmp_path / "x", "llama")
    for kind in _type_traits:
        if kind is not gguf.GGMLQuantizationType.BF16:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            blocks = draw.integers(0, 256, (3, 2 * size), dtype=np.uint8)
            with np.errstate(all="ignore"):  # some scales are NaN
                written[kind.name] = gguf.dequantize(blocks, kind), 8 * size / block
            writer.add_tensor(kind.name, blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_file(tmp_path / "x")
    for name, (values, bits) in written.items():
        found = stored_of(file, name)
        assert found.has_scale == (name in SIMPLE)
        assert (found.name, found.bits_per_value) == (name, bits)
        check(found, values)


QDQ = [
    (TensorProto.INT8, (4, 6), (), TensorProto.FLOAT, {}),
    (TensorProto.UINT8, (4, 6), (6,), TensorProto.FLOAT, {}),
    (TensorProto.INT8, (4, 6, 2, 2), (4,), TensorProto.FLOAT16, {"axis": 0}),
    (TensorProto.INT8, (4, 6), (6,), TensorProto.BFLOAT16, {"axis": -1}),
    (TensorProto.INT4, (5, 64), (5, 2), TensorProto.FLOAT, {"axis": 1, "block_size": 32}),
    (TensorProto.UINT4, (64, 5), (2, 5), TensorProto.FLOAT, {"axis": 0, "block_size": 32}),
    (TensorProto.INT2, (8, 16), (8,), TensorProto.FLOAT, {"axis": 0}),
    (TensorProto.INT32, (7,), (7,), TensorProto.FLOAT, {"axis": 0}),
    (TensorProto.FLOAT8E4M3FN, (4, 6), (4,), TensorProto.FLOAT, {"axis": 0}),
]


@pytest.mark.parametrize(("codes", "shape", "scales", "floats", "attributes"), QDQ)
def test_weights_behind_dequantize_linear_are_what_onnx_makes_of_them(
    codes: int, shape: tuple[int, ...], scales: tuple[int, ...], floats: int, attributes: dict, tmp_path: pathlib.Path
) -> None:
    model = qdq_model(codes, shape, scales, floats, **attributes)
    onnx.save(model, tmp_path / "x")
    values = np.asarray(ReferenceEvaluator(model).run(None, {})[0]).astype(np.float32)
    file = open_file(tmp_path / "x")
    assert file.names() == ("w",)  # its scales and zero points are parts of it
    assert file.info("w").kind == "quantized"
    np.testing.assert_array_equal(file.load("w"), values)
    check(stored_of(file, "w"), values)


def quantized_graph(path: pathlib.Path) -> None:
    """Write a graph whose weight and input are real values that QuantizeLinear takes."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
        helper.make_node("QuantizeLinear", ["w", "w_scale", "w_zero"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "w_scale", "w_zero"], ["wd"], axis=0),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
    ]
    arrays = {
        "x_scale": np.float32(0.5),
        "x_zero": np.uint8(3),
        "w": WEIGHT,
        "w_scale": np.full(6, 0.25, np.float32),
        "w_zero": np.zeros(6, np.int8),
    }
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def test_real_weights_that_a_graph_quantizes_keep_their_values_and_have_the_range_beside(
    tmp_path: pathlib.Path,
) -> None:
    quantized_graph(tmp_path / "x")
    file = open_file(tmp_path / "x")
    np.testing.assert_array_equal(file.load("w"), WEIGHT)
    found = stored_of(file, "w")
    assert (file.names(), file.info("w").codes, found.block) == (("w",), "INT8", (1, 8))
    assert found.levels(5)[[0, -1]].tolist() == [-32.0, 31.75]
    with pytest.raises(QuantError, match="no codes"):
        found.codes()
    assert {name: one.levels(0)[[0, -1]].tolist() for name, one in file.activations.items()} == {"x": [-1.5, 126.0]}


COMPRESSED = [
    ("pack-quantized", (6, 256), (6, 2), torch.bfloat16, (4, "int", True, "group", 128)),
    ("pack-quantized", (13, 128), (13, 2), torch.float16, (4, "int", False, "group", 64)),
    ("pack-quantized", (9, 100), (9, 1), torch.float32, (5, "int", False, "channel", None)),
    ("int-quantized", (6, 100), (6, 1), torch.float32, (8, "int", True, "channel", None)),
    ("naive-quantized", (6, 100), (1,), torch.float32, (8, "int", False, "tensor", None)),
    ("float-quantized", (6, 100), (6, 1), torch.bfloat16, (8, "float", True, "channel", None)),
]


@pytest.mark.parametrize(("form", "shape", "scales", "dtype", "told"), COMPRESSED)
def test_compressed_weights_are_what_compressed_tensors_makes_of_them(
    form: str, shape: tuple[int, int], scales: tuple[int, ...], dtype: torch.dtype, told: tuple, tmp_path: pathlib.Path
) -> None:
    weights = dict(zip(("num_bits", "type", "symmetric", "strategy", "group_size"), told, strict=True))
    stored, values = compressed(form, shape, scales, dtype, **weights)
    save_file({**stored, "norm.weight": torch.ones(3)}, tmp_path / "x")
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    file = open_file(tmp_path / "x")
    assert set(file.names()) == {"m.weight", "norm.weight"}
    np.testing.assert_array_equal(file.load("m.weight"), values)
    found = stored_of(file, "m.weight")
    assert found.bits == weights["num_bits"]
    check(found, values)


ENCODINGS = {
    "0.6.1": {
        "version": "0.6.1",
        "activation_encodings": {
            "out": [{"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "scale": 0.5, "offset": -4, "min": -2.0}],
            "half": [{"bitwidth": 16, "dtype": "float"}],
        },
        "param_encodings": {"w": [{"bitwidth": 4, "dtype": "int", "scale": 0.25, "offset": -8}] * 6},
    },
    "1.0.0": {
        "version": "1.0.0",
        "activation_encodings": [
            {"name": "out", "dtype": "INT", "bw": 8, "scale": [0.5], "offset": [-4], "enc_type": "PER_TENSOR"},
            {"name": "half", "dtype": "FLOAT", "bw": 16},
        ],
        "param_encodings": [
            {"name": "w", "dtype": "INT", "bw": 4, "scale": [0.25] * 6, "offset": [-8] * 6, "enc_type": "PER_CHANNEL"}
        ],
    },
    "2.0.0": {
        "version": "2.0.0",
        "encodings": [
            {"name": "out", "output_dtype": "uint8", "y_scale": 0.5, "y_zero_point": 4},
            {"name": "w", "output_dtype": "int4", "y_scale": [0.25] * 6, "axis": 0},
            {"name": "half", "output_dtype": "float16"},
        ],
    },
    "2.1.0": {
        "version": "2.1.0",
        "encodings": [
            {"name": "out", "output_dtype": "uint8", "y_scale": 0.5, "y_zero_point": 4},
            {
                "name": "w",
                "output_dtype": "int4",
                "y_scale": {"x": [[1, 2]] * 6, "x_scale": [[0.25]], "input_dtype": "uint4"},
                "axis": 1,
                "block_size": 4,
            },
        ],
    },
}


@pytest.mark.parametrize("version", ENCODINGS)
def test_encodings_beside_a_model_are_ranges_over_its_values(version: str, tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "model.npz", w=WEIGHT, other=WEIGHT)
    (tmp_path / "model.encodings").write_text(json.dumps(ENCODINGS[version]))
    file = open_file(tmp_path / "model.npz")
    np.testing.assert_array_equal(file.load("w"), WEIGHT)
    assert file.info("w").kind == "float"
    assert file.quantization("other") is None
    assert list(file.activations) == ["out"]
    assert file.activations["out"].levels(0)[[0, -1]].tolist() == [-2.0, 125.5]  # 0.5 · −4 and 0.5 · (255 − 4)
    found = stored_of(file, "w")
    assert found.block == ((1, 4) if version == "2.1.0" else (1, 8))
    assert found.levels(0)[[0, -1]].tolist() == [-2.0, 1.75]
    assert found.levels(1)[[0, -1]].tolist() == ([-4.0, 3.5] if version == "2.1.0" else [-2.0, 1.75])


def test_other_json_beside_a_model_is_left_alone(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "model.npz", w=WEIGHT)
    for text in ('{"hidden_size": 3}', "[1]", "no JSON"):
        (tmp_path / "model.json").write_text(text)
        assert open_file(tmp_path / "model.npz").quantization("w") is None


def entry(**changed: object) -> dict[str, object]:
    return {"name": "w", "dtype": "INT", "bw": 8, "scale": [0.1], "offset": [0], **changed}


ABSURD = {
    "no JSON": "{",
    "nothing of encodings": {"a": 1},
    "a list": [1],
    "names of nothing": {"param_encodings": [1, 2]},
    "scales without names": {"param_encodings": [{"bw": 8}]},
    "bits without end": {"param_encodings": [entry(bw=10**9)]},
    "no bits": {"param_encodings": [entry(bw=0)]},
    "a scale of NaN": {"param_encodings": [entry(scale=[float("nan")])]},
    "an endless scale": {"param_encodings": [entry(scale=[1e300])]},
    "a scale below 0": {"param_encodings": [entry(scale=[-0.1])]},
    "an offset without end": {"param_encodings": [entry(offset=[10**15])]},
    "an offset beyond all": {"param_encodings": [entry(offset=[10**40])]},
    "other numbers of scales": {"param_encodings": [entry(scale=[0.1] * 5, offset=[0] * 5)]},
    "fewer offsets than scales": {"param_encodings": [entry(scale=[0.1] * 6)]},
    "scales of text": {"param_encodings": [entry(scale="many")]},
    "two widths": {"param_encodings": {"w": [{"bitwidth": 4 + n, "scale": 1, "offset": 0} for n in range(6)]}},
    "a ragged scale": {"encodings": [{"name": "w", "output_dtype": "int8", "y_scale": [[1], [1, 2]]}]},
    "an axis that is none": {"encodings": [{"name": "w", "output_dtype": "int8", "y_scale": [1] * 6, "axis": "x"}]},
    "entries without end": {"param_encodings": {str(number): [] for number in range(200_000)}},
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("case", ABSURD)
def test_absurd_encodings_are_refused(case: str, tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "model.npz", w=WEIGHT)
    said = ABSURD[case]
    (tmp_path / "model.encodings").write_text(said if isinstance(said, str) else json.dumps(said))
    with pytest.raises(ReaderError):
        open_file(tmp_path / "model.npz")


@pytest.mark.choice(50)
@pytest.mark.parametrize(("version", "seed"), [(version, seed) for version in ENCODINGS for seed in range(50)])
def test_damaged_encodings_are_read_or_refused(version: str, seed: int, tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "model.npz", w=WEIGHT)
    draw, content = random.Random(f"{version} {seed}"), json.dumps(ENCODINGS[version]).encode()
    refused = 0
    for _ in range(40):
        (tmp_path / "model.encodings").write_bytes(mutated(content, draw))
        try:
            found = open_file(tmp_path / "model.npz").quantization("w")
            assert found is None or found.levels(0).size
        except QuantError:
            refused += 1
    assert refused >= 10


@pytest.mark.parametrize("scales", [(5,), (4, 2), (2, 2), (0,), (24,)])
def test_scales_that_lie_about_their_tensor_are_refused(scales: tuple[int, ...], tmp_path: pathlib.Path) -> None:
    onnx.save(qdq_model(TensorProto.INT8, (4, 6), scales, axis=0), tmp_path / "x.onnx")
    parts = {"m.weight": torch.zeros(4, 6, dtype=torch.int8), "m.weight_scale": torch.ones(scales)}
    save_file(parts, tmp_path / "x.safetensors")
    refused = [tmp_path / "x.onnx", *([tmp_path / "x.safetensors"] if scales not in [(4, 2), (2, 2)] else [])]
    for path in refused:
        with pytest.raises(ReaderError, match="go"):
            open_file(path)


@pytest.mark.parametrize("told", [(6, 10**12), (7, 128), (6, 0), (-6, 128), (6,), (6, 129), (2**62, 2)])
def test_a_packed_weight_that_lies_about_its_shape_is_refused(told: tuple[int, ...], tmp_path: pathlib.Path) -> None:
    stored, _ = compressed("pack-quantized", (6, 128), (6, 1), torch.float32, **packing(8))
    save_file({**stored, "m.weight_shape": torch.tensor(told)}, tmp_path / "x")
    with pytest.raises(ReaderError, match="does not hold a weight"):
        open_file(tmp_path / "x")


def packing(bits: int) -> dict[str, object]:
    return {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "channel"}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf"), -1.0])
def test_scales_that_are_none_give_the_values_that_follow(scale: float, tmp_path: pathlib.Path) -> None:
    stored, _ = compressed("pack-quantized", (6, 128), (6, 1), torch.float32, **packing(4))
    save_file({**stored, "m.weight_scale": torch.full((6, 1), scale)}, tmp_path / "x")
    file = open_file(tmp_path / "x")
    found = stored_of(file, "m.weight")
    np.testing.assert_array_equal(file.load("m.weight"), np.float32(scale) * found.codes().astype(np.float32))
    assert found.levels(0).size in (1, 2, 3, 16)
