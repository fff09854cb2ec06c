"""onnxruntime's own tool quantizes with the scales of the overrides."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from quant_engine import IntFormat, LayerPlan, PerChannel, PerGroup, QuantizationPlan, QuantizerSpec
from quant_engine.export import EXPORTERS
from tests.engine.test_exporters import ACTIVATION, opened

quantization = pytest.importorskip("onnxruntime.quantization")


class Images(quantization.CalibrationDataReader):
    def __init__(self, name, images):
        self.batches = iter([{name: images}])

    def get_next(self):
        return next(self.batches, None)


def test_quantize_static_takes_the_scales_of_the_file(tmp_path):
    network, inputs = opened("fashion-cnn")
    spec = QuantizerSpec(IntFormat(8), PerChannel())
    plan = network.freeze(
        QuantizationPlan({name: LayerPlan(spec, ACTIVATION) for name in network.layers()}), data=inputs
    )
    export = EXPORTERS["ort"].write(network, plan, tmp_path / "a.json")
    assert export.coverage.share == 1
    overrides = json.loads((tmp_path / "a.json").read_text())
    types = {"QInt8": (quantization.QuantType.QInt8, np.int8), "QUInt8": (quantization.QuantType.QUInt8, np.uint8)}
    for entry in (entry for entries in overrides.values() for entry in entries):
        kind, dtype = types[entry["quant_type"]]
        entry |= {
            "quant_type": kind,
            "scale": np.array(entry["scale"], np.float32),
            "zero_point": np.array(entry["zero_point"], dtype),
        }
    model = onnx.load(tmp_path / "a.onnx")
    quantization.quantize_static(
        tmp_path / "a.onnx",
        tmp_path / "q.onnx",
        Images(model.graph.input[0].name, inputs[:8]),
        per_channel=True,
        extra_options={"TensorQuantOverrides": overrides},
    )
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "q.onnx").graph.initializer}
    for name, layer in network.layers().items():
        codes = plan[name].weight.encode(network.weight(name).reshape(layer.matrix_shape)).codes
        found = stored[f"{layer.tensor}_quantized"].reshape(codes.shape)
        np.testing.assert_array_equal(stored[f"{layer.tensor}_scale"], plan[name].weight.scale.reshape(-1))
        assert np.abs(found.astype(int) - codes).max() <= 1  # the tool multiplies with 1/scale
        assert np.mean(found == codes) > 0.999
        node = next(node for node in model.graph.node if layer.tensor in node.input)
        assert stored[f"{node.input[0]}_scale"] == plan[name].activation.scale


def test_blocks_and_odd_widths_are_refused_with_what_is_near(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan(
        {
            "conv2": LayerPlan(QuantizerSpec(IntFormat(3), PerChannel())),
            "fc1": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32))),
        }
    )
    findings = EXPORTERS["ort"].check(network, plan)
    assert [(f.layer, f.severity, f.nearest) for f in findings] == [
        ("conv2", "refused", QuantizerSpec(IntFormat(4), PerChannel())),
        ("fc1", "refused", QuantizerSpec(IntFormat(4), PerChannel())),
    ]
    export = EXPORTERS["ort"].write(network, plan, tmp_path / "a.json", as_float=True)
    assert json.loads((tmp_path / "a.json").read_text()) == {}
    assert len(export.coverage.left_out) == 2
