"""Encodings of a plan, worked out again from the file's own numbers: x = (code + offset) · scale."""

import json

import numpy as np
import onnx
import pytest

from quant_engine import (
    IntFormat,
    LayerPlan,
    PerChannel,
    PerGroup,
    QuantError,
    QuantizationPlan,
    QuantizerSpec,
)
from quant_engine.export import EXPORTERS, nearest, to_aimet
from quant_engine.formats import NF4
from quant_engine.network import load
from tests.engine.foreign import exported, foreign_models
from tests.engine.test_exporters import ACTIVATION, opened

SPECS = {
    "int8 per channel": QuantizerSpec(IntFormat(8), PerChannel()),
    "uint4 per tensor": QuantizerSpec(IntFormat(4, signed=False), symmetric=False),
    "int8 per tensor, asymmetric": QuantizerSpec(IntFormat(8), symmetric=False),
}


def written(network, plan, folder, version):
    export = to_aimet(network, plan, folder / "model.encodings", version)
    return export, json.loads((folder / "model.encodings").read_text())


def from_offsets(entry, x):
    """Quantize by 1.0.0: codes count from 0, and an offset is added to them."""
    scale, offset = (np.array(entry[key], np.float32).reshape(-1, *[1] * (x.ndim - 1)) for key in ("scale", "offset"))
    codes = np.clip(np.rint(x / scale) - offset, 0, 2 ** entry["bw"] - 1)
    return (codes + offset) * scale


def from_zero_points(entry, x):
    """Quantize by 2.x: as ONNX, in the type that is named."""
    places = [-1 if at == entry.get("axis", 0) else 1 for at in range(x.ndim)]
    scale, zero_point = (np.array(entry.get(key, 0), np.float32) for key in ("y_scale", "y_zero_point"))
    if scale.ndim:
        scale, zero_point = scale.reshape(places), np.broadcast_to(zero_point, scale.shape).reshape(places)
    bits = int(entry["output_dtype"].split("int")[1])
    low = 0 if entry["output_dtype"].startswith("u") else -(2 ** (bits - 1))
    codes = np.clip(np.rint(x / scale) + zero_point, low, low + 2**bits - 1)
    return (codes - zero_point) * scale


@pytest.mark.parametrize("version", ["1.0.0", "2.1.0"])
@pytest.mark.parametrize("case", SPECS)
def test_entries_quantize_as_the_plan_does(case, version, tmp_path):
    network, inputs = opened("fashion-cnn")
    plan = QuantizationPlan({name: LayerPlan(SPECS[case], ACTIVATION) for name in network.layers()})
    plan = network.freeze(plan, data=inputs)
    export, said = written(network, plan, tmp_path, version)
    assert (said["version"], export.coverage.share) == (version, 1)
    keys = ("encodings", "param_encodings", "activation_encodings")
    entries = {entry["name"]: entry for key in keys for entry in said.get(key, [])}
    quantize = {"1.0.0": from_offsets, "2.1.0": from_zero_points}[version]
    received = network.capture(inputs, network.layers())
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert {entry for entry in entries if "weight" in entry} <= {tensor.name for tensor in graph.initializer}
    known = {name for node in graph.node for name in node.input}
    assert set(entries) <= known
    for name, layer in network.layers().items():
        weight = network.weight(name)
        wanted = plan[name].weight.fake_quantize(weight.reshape(layer.matrix_shape)).reshape(weight.shape)
        np.testing.assert_array_equal(quantize(entries[layer.tensor], weight), wanted)
        node = next(node for node in graph.node if layer.tensor in node.input and node.op_type in ("Conv", "Gemm"))
        found = quantize(entries[node.input[0]], received[name].reshape(1, -1)).reshape(received[name].shape)
        np.testing.assert_array_equal(found, plan[name].activation.fake_quantize(received[name]))


def test_symmetric_int8_has_the_offset_minus_128(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan({"fc2": LayerPlan(SPECS["int8 per channel"])})
    export, said = written(network, plan, tmp_path, "1.0.0")
    (entry,) = said["param_encodings"]
    assert (set(entry["offset"]), entry["is_sym"], entry["enc_type"]) == ({-128}, True, "PER_CHANNEL")
    assert len(export.coverage.unplanned) == 9
    assert len(entry["scale"]) == 10


def test_what_encodings_cannot_say_is_refused_with_what_is_near(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan(
        {
            "conv1": LayerPlan(QuantizerSpec(NF4, PerChannel())),
            "conv2": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(16))),
            "fc1": LayerPlan(QuantizerSpec(IntFormat(3), PerChannel()), ACTIVATION, dynamic=True),
        }
    )
    findings = EXPORTERS["aimet"].check(network, plan)
    assert [(f.layer, f.role, f.severity) for f in findings] == [
        ("conv1", "weight", "refused"),
        ("conv2", "weight", "refused"),
        ("fc1", "weight", "warning"),
        ("fc1", "activation", "refused"),
    ]
    with pytest.raises(QuantError, match="as_float=True"):
        to_aimet(network, plan, tmp_path / "a.encodings")
    near = nearest(plan, findings)
    assert near["conv2"].weight == QuantizerSpec(IntFormat(4), PerChannel())
    assert to_aimet(network, near, tmp_path / "a.encodings").coverage.left_out == ()
    with pytest.raises(QuantError, match=r"1\.0\.0, 2\.1\.0"):
        to_aimet(network, near, tmp_path / "b.encodings", "3.0.0")


@pytest.mark.parametrize("version", ["1.0.0", "2.1.0"])
def test_blocks_of_a_matrix_have_scales_in_its_order(version, tmp_path):
    network, _ = opened("fashion-cnn")
    plan = network.freeze(QuantizationPlan({"fc1": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32)))}))
    _, said = written(network, plan, tmp_path, version)
    (entry,) = said.get("param_encodings") or said["encodings"]
    assert entry["block_size"] == 32
    scale = np.array(entry.get("scale") or entry["y_scale"], np.float32).reshape(96, 18).repeat(32, 1)
    weight = network.weight("fc1")
    expected = np.clip(np.rint(weight / scale), -8, 7) * scale
    np.testing.assert_array_equal(plan["fc1"].weight.fake_quantize(weight), expected)
    assert EXPORTERS["aimet"].verify(network, plan, tmp_path / "model.encodings").comparisons[0].exact


@pytest.mark.parametrize("version", ["1.0.0", "2.1.0"])
def test_products_of_an_onnx_file(version, tmp_path):
    module, inputs = foreign_models()["encoder"]
    onnx.save(exported(module.eval(), inputs, optimize=True), tmp_path / "model.onnx")
    network = load(tmp_path / "model.onnx")
    spec = QuantizerSpec(IntFormat(8), PerChannel())
    plan = network.freeze(QuantizationPlan({name: LayerPlan(spec) for name in network.layers()}))
    export, _ = written(network, plan, tmp_path, version)
    assert [path.name for path in export.paths] == ["model.encodings"]
    assert len(export.coverage.written) == len(network.layers())
    assert EXPORTERS["aimet"].verify(network, plan, tmp_path / "model.encodings").comparisons[0].exact
