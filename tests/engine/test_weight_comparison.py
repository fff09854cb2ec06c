"""Two files, or a plan and its model, weight by weight: differences by numpy on values that other libraries read."""

import math
import pathlib

import gguf
import numpy as np
import pytest

import quant_engine as qe
from quant_engine.export import EXPORTERS
from quant_engine.models import TensorModel
from quant_engine.network import Network, load
from quant_engine.readers import open_file
from quant_engine.studies import compare_weights, weights_of

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(8, 64)).astype(np.float32)


def gguf_file(path: pathlib.Path, kind: gguf.GGMLQuantizationType, extra: str = "") -> Network:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("a", gguf.quants.quantize(WEIGHT, kind), raw_dtype=kind)
    writer.add_tensor("b", WEIGHT)
    if extra:
        writer.add_tensor(extra, WEIGHT[:2])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Network(TensorModel(open_file(path)))


def test_two_gguf_files_differ_by_what_the_gguf_package_reads(tmp_path: pathlib.Path) -> None:
    kinds = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0
    files = [gguf_file(tmp_path / f"{kind.name}.gguf", kind) for kind in kinds]
    first, second = (gguf.quants.dequantize(gguf.quants.quantize(WEIGHT, kind), kind).astype(float) for kind in kinds)
    found = {one.name: one for one in compare_weights(*map(weights_of, files))}
    assert found["a"].sqnr_db == pytest.approx(10 * np.log10((first**2).sum() / ((first - second) ** 2).sum()))
    assert found["a"].max_abs == np.abs(first - second).max()
    assert found["a"].changed == (first != second).mean()
    assert found["a"].bits == (8.5, 4.5)
    assert (found["b"].sqnr_db, found["b"].changed, found["b"].bits) == (math.inf, 0, (32, 32))


def test_weights_of_other_names_are_paired_by_a_shape_of_their_own(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "one.npz", first=WEIGHT, same=WEIGHT[0], two=WEIGHT[:2], three=WEIGHT[2:4])
    np.savez(tmp_path / "other.npz", turned=WEIGHT.T, same=WEIGHT[0], five=WEIGHT[:2], six=WEIGHT[2:4])
    files = [weights_of(Network(TensorModel(open_file(tmp_path / name)))) for name in ("one.npz", "other.npz")]
    found = [(one.name, one.other, one.sqnr_db) for one in compare_weights(*files)]
    assert found[:2] == [("first", "turned", math.inf), ("same", "same", math.inf)]
    assert [(name, other) for name, other, _ in found[2:]] == [
        ("two", None),
        ("three", None),
        (None, "five"),
        (None, "six"),
    ]


def test_a_square_matrix_may_be_stored_transposed(tmp_path: pathlib.Path) -> None:
    square = WEIGHT[:, :8]
    np.savez(tmp_path / "one.npz", a=square)
    np.savez(tmp_path / "other.npz", a=square.T + np.float32(1e-3))
    files = [weights_of(Network(TensorModel(open_file(tmp_path / name)))) for name in ("one.npz", "other.npz")]
    (found,) = compare_weights(*files)
    assert found.max_abs == pytest.approx(1e-3, rel=1e-3)


def test_an_exported_onnx_holds_the_plans_weights_under_names_of_its_own(tmp_path: pathlib.Path) -> None:
    network = load("fashion-cnn")
    plan = qe.QuantizationPlan.of(network.layers(), {"*": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(8)))})
    EXPORTERS["onnx"].write(network, plan, tmp_path / "out.onnx")
    file = Network(TensorModel(open_file(tmp_path / "out.onnx")))
    found = [one for one in compare_weights(weights_of(network, network.freeze(plan)), weights_of(file)) if one.name]
    assert len(found) == 5
    assert all(one.changed == 0 and one.bits[1] < 9 for one in found)


def test_another_shape_under_one_name_is_said(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "one.npz", a=WEIGHT)
    np.savez(tmp_path / "other.npz", a=WEIGHT[:4])
    files = [weights_of(Network(TensorModel(open_file(tmp_path / name)))) for name in ("one.npz", "other.npz")]
    (found,) = compare_weights(*files)
    assert "(8, 64) in one.npz and (4, 64) in other.npz" in found.refusal
    assert math.isnan(found.sqnr_db)


def test_values_that_are_not_finite_are_said_and_the_rest_goes_on(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "one.npz", a=np.array([[np.nan, 1]], np.float32), b=WEIGHT)
    side = weights_of(Network(TensorModel(open_file(tmp_path / "one.npz"))))
    first, second = compare_weights(side, side)
    assert "NaN" in first.refusal
    assert second.sqnr_db == math.inf


def test_a_plan_is_compared_with_its_model_by_the_error_of_its_quantizers() -> None:
    network = load("fashion-cnn")
    spec = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel())
    plan = qe.QuantizationPlan({"conv3": qe.LayerPlan(spec)})
    found = {one.name: one for one in compare_weights(weights_of(network), weights_of(network, network.freeze(plan)))}
    matrix = network.weight("conv3").reshape(64, -1)
    assert found["conv3"].sqnr_db == pytest.approx(qe.fit(matrix, spec).measure(matrix).sqnr_db)
    assert found["conv3"].bits == (32.0, spec.storage(matrix.shape).bits_per_value)
    assert found["fc1"].sqnr_db == math.inf
    with pytest.raises(qe.QuantError, match="freeze"):
        weights_of(network, plan)
