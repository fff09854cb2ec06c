"""Exported ONNX, read by onnx and run by onnxruntime alone, does what the plan does here."""

import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from quant_engine import (
    IntFormat,
    LayerPlan,
    PerBlock,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    QuantError,
    QuantizationPlan,
    QuantizerSpec,
)
from quant_engine.export import EXPORTERS, import_plan, nearest, to_onnx_qdq
from quant_engine.formats import E2M1, E4M3, E5M2, NF4, FixedPointFormat
from quant_engine.network import from_module, load
from tests.engine.foreign import exported, foreign_models
from tests.engine.test_exporters import ACTIVATION, opened

ONNX = EXPORTERS["onnx"]
SHORT = {"remainder": "short"}
WEIGHTS = {
    "int4 per channel": QuantizerSpec(IntFormat(4), PerChannel()),
    "int8 per tensor": QuantizerSpec(IntFormat(8)),
    "uint4 in blocks of 32": QuantizerSpec(IntFormat(4), PerGroup(32, **SHORT), symmetric=False),
    "int16 per input": QuantizerSpec(IntFormat(16), PerChannel(1)),
    "int2 per channel": QuantizerSpec(IntFormat(2), PerChannel()),
    "int3 in groups of channels": QuantizerSpec(IntFormat(3), PerChannelGroup(4, **SHORT)),
    "int8 in rectangles": QuantizerSpec(IntFormat(8), PerBlock(3, 16, **SHORT)),
    "fixed point": QuantizerSpec(FixedPointFormat(2, 5)),
    "e4m3": QuantizerSpec(E4M3, PerChannel()),
    "e5m2": QuantizerSpec(E5M2, PerChannel()),
}
ACTIVATIONS = {
    "uint8": ACTIVATION,
    "int4": QuantizerSpec(IntFormat(4), symmetric=False),
    "uint6, cut off": QuantizerSpec(IntFormat(6, signed=False), symmetric=False),
    "int8, narrow": QuantizerSpec(IntFormat(8, narrow=True)),
    "int16": QuantizerSpec(IntFormat(16), symmetric=False),
    "int8 per channel": QuantizerSpec(IntFormat(8), PerChannel(1)),
}


def run_alone(path, inputs, optimize=False):
    """Return what onnxruntime makes of a file, without anything of the engine."""
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def plan_of(network, weight, activation=None):
    return QuantizationPlan({name: LayerPlan(weight, activation) for name in network.layers()})


def read_affine(graph, name):
    """Return scale·(code − zero point) of a stored weight, from the file's own integers."""
    stored = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    node = next(node for node in graph.node if node.output[0] == f"{name}/weight")
    codes, scale, zero_point = (stored[given] for given in node.input)
    said = {attribute.name: attribute.i for attribute in node.attribute}
    if scale.ndim:
        axis, block = said["axis"], said.get("block_size", 0)
        if block:
            index = np.arange(codes.shape[axis]) // block
            scale, zero_point = scale.take(index, axis), zero_point.take(index, axis)
        else:
            shape = [-1 if at == axis else 1 for at in range(codes.ndim)]
            scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return (codes - zero_point) * scale


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.choice(2)
def test_the_integers_in_the_file_stand_for_the_planned_weights_and_run(case, tmp_path):
    network, inputs = opened("fashion-cnn")
    plan = network.freeze(plan_of(network, WEIGHTS[case]))
    to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx").graph
    for name, layer in network.layers().items():
        wanted = plan[name].weight.fake_quantize(network.weight(name).reshape(layer.matrix_shape))
        np.testing.assert_array_equal(read_affine(graph, name).reshape(wanted.shape), wanted)
    for optimize in (False, True):
        found = run_alone(tmp_path / "a.onnx", inputs, optimize)
        np.testing.assert_allclose(found, network.run(inputs, plan), rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ACTIVATIONS)
@pytest.mark.choice(2)
def test_a_single_layer_quantizes_its_input_to_the_bit(case, tmp_path):
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False, groups=4)), torch.randn(8, 4, 5, 5)
    module[0].weight.data.fill_(1.0)
    network = from_module(module, example=x)
    outliers = 2 * x.numpy()
    plan = network.freeze(QuantizationPlan({"0": LayerPlan(None, ACTIVATIONS[case])}), data=x.numpy())
    to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    np.testing.assert_array_equal(run_alone(tmp_path / "a.onnx", outliers), network.run(outliers, plan))


def test_files_have_operators_that_runtimes_know(tmp_path):
    network, _ = opened("fashion-cnn")
    versions = {}
    for bits in (4, 2):
        to_onnx_qdq(network, plan_of(network, QuantizerSpec(IntFormat(bits), PerChannel())), tmp_path / f"{bits}.onnx")
        proto = onnx.load(tmp_path / f"{bits}.onnx")
        onnx.checker.check_model(proto)
        assert b".py" not in proto.SerializeToString()  # whence torch traced a node is nobody's business
        versions[bits] = proto.opset_import[0].version, proto.ir_version
        kinds = {tensor.data_type for tensor in proto.graph.initializer if tensor.name.endswith("_quantized")}
        assert kinds == {{4: TensorProto.INT4, 2: TensorProto.INT2}[bits]}
    assert versions == {4: (21, 10), 2: (25, 13)}


def test_beyond_a_limit_tensors_are_in_a_file_beside_the_graph_that_runtimes_read_alike(tmp_path):
    network, inputs = opened("fashion-cnn")
    plan = network.freeze(plan_of(network, WEIGHTS["int4 per channel"]))
    whole = to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    (tmp_path / "apart").mkdir()
    apart = to_onnx_qdq(network, plan, tmp_path / "apart" / "a.onnx", max_bytes=1000)
    assert [path.name for path in apart.paths] == ["a.onnx.data", "a.onnx"]
    assert apart.coverage == whole.coverage
    data, graph = (path.stat().st_size for path in apart.paths)
    assert graph < whole.size_bytes / 2 < data
    one, other = (run_alone(folder / "a.onnx", inputs) for folder in (tmp_path, tmp_path / "apart"))
    np.testing.assert_array_equal(one, other)
    weights, _, off = ONNX.verify(network, plan, tmp_path / "apart" / "a.onnx", data=inputs).comparisons
    assert (weights.exact, off.same) == (True, 1.0)
    again = import_plan(network, tmp_path / "apart" / "a.onnx").plan
    np.testing.assert_array_equal(again["fc1"].weight.scale, plan["fc1"].weight.scale)
    with pytest.raises(QuantError, match="overwrite=True"):
        to_onnx_qdq(network, plan, tmp_path / "apart" / "a.onnx", max_bytes=1000)


def test_codebooks_blocks_of_floats_and_dynamic_inputs_are_refused_with_what_is_near(tmp_path):
    network, inputs = opened("fashion-cnn")
    plan = QuantizationPlan(
        {
            "conv1": LayerPlan(QuantizerSpec(NF4, PerChannel())),
            "conv2": LayerPlan(QuantizerSpec(E2M1, PerGroup(16, **SHORT))),
            "fc1": LayerPlan(activation=ACTIVATION, dynamic=True),
            "fc2": LayerPlan(activation=QuantizerSpec(E4M3)),
        }
    )
    findings = ONNX.check(network, plan)
    assert [(finding.layer, finding.severity) for finding in findings] == [
        (layer, "refused") for layer in ("conv1", "conv2", "fc1", "fc2")
    ]
    with pytest.raises(QuantError, match="as_float=True"):
        to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    near = nearest(plan, findings)
    assert near["conv1"].weight == QuantizerSpec(IntFormat(4), PerChannel())
    assert (near["fc1"].activation, near["fc1"].dynamic) == (ACTIVATION, False)
    assert not [finding for finding in ONNX.check(network, near) if finding.severity == "refused"]
    export = to_onnx_qdq(network, plan, tmp_path / "a.onnx", as_float=True)
    assert not export.coverage.written
    weights_alone = QuantizationPlan({name: plan[name] for name in ("conv1", "conv2")})
    expected = network.run(inputs, network.freeze(weights_alone))
    np.testing.assert_allclose(run_alone(tmp_path / "a.onnx", inputs), expected, atol=1e-4)


def test_where_products_may_saturate_seven_bits_are_offered():
    network, _ = opened("fashion-cnn")
    plan = plan_of(network, QuantizerSpec(IntFormat(8), PerChannel()), ACTIVATION)
    findings = ONNX.check(network, plan)
    assert {finding.layer for finding in findings} == {*network.layers()}
    assert {(f.severity, f.nearest.format) for f in findings} == {("warning", IntFormat(7))}
    assert nearest(plan, findings)["fc1"].weight.format == IntFormat(8)
    assert nearest(plan, findings, ("warning",))["fc1"].weight.format == IntFormat(7)
    signed = plan_of(network, QuantizerSpec(IntFormat(8), PerChannel()), QuantizerSpec(IntFormat(8)))
    assert not ONNX.check(network, signed)


class Tied(nn.Module):
    """Tokens in, odds of tokens out, by one matrix; the mean of their vectors between."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 8), nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        return self.head(x + x.mean(1, keepdim=True))


def test_a_weight_that_layers_share_is_stored_once(tmp_path):
    torch.manual_seed(0)
    ids = torch.randint(0, 12, (6, 7))
    network = from_module(Tied(), example=ids)
    spec = QuantizerSpec(IntFormat(4), PerGroup(4))
    plan = QuantizationPlan({"embed": LayerPlan(spec), "head": LayerPlan(spec, QuantizerSpec(IntFormat(8)))})
    plan = network.freeze(plan, data=ids.numpy())
    export = to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    assert len(export.coverage.written) == 3
    graph = onnx.load(tmp_path / "a.onnx").graph
    stored = [tensor.name for tensor in graph.initializer if np.prod(tensor.dims) == 12 * 8]
    assert stored == ["embed/weight_quantized"]
    np.testing.assert_allclose(run_alone(tmp_path / "a.onnx", ids.numpy()), network.run(ids.numpy(), plan), atol=1e-5)


def test_another_bias_and_divided_inputs_are_written(tmp_path):
    network, inputs = opened("fashion-cnn")
    rng = np.random.default_rng(0)
    plans = {
        name: LayerPlan(
            QuantizerSpec(IntFormat(8), PerChannel()),
            bias=rng.normal(size=layer.shape[0]),
            input_scale=rng.uniform(0.5, 2, layer.input_channels),
        )
        for name, layer in network.layers().items()
    }
    plan = network.freeze(QuantizationPlan(plans))
    to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    np.testing.assert_allclose(run_alone(tmp_path / "a.onnx", inputs), network.run(inputs, plan), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["residual", "encoder"])
def test_an_onnx_file_is_quantized_and_read_again(name, tmp_path):
    module, inputs = foreign_models()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = exported(module.eval(), inputs, optimize=name == "residual")
    onnx.helper.set_model_props(proto, {"character": "a\nb"})
    onnx.save(proto, tmp_path / "float.onnx")
    network, x = load(tmp_path / "float.onnx"), inputs.numpy()
    plan = network.freeze(plan_of(network, QuantizerSpec(IntFormat(8), PerChannel())))
    to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    np.testing.assert_allclose(run_alone(tmp_path / "a.onnx", x), network.run(x, plan), atol=1e-4)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"character": "a\nb"}
    again = load(tmp_path / "a.onnx")
    for before, after in zip(network.layers(), again.layers(), strict=True):
        wanted = plan[before].weight.fake_quantize(network.weight(before).reshape(again.layers()[after].matrix_shape))
        np.testing.assert_array_equal(again.weight(after).reshape(wanted.shape), wanted)


def test_what_torch_cannot_export_is_refused_in_its_words(tmp_path):
    module, inputs = foreign_models()["decoder"]
    network = from_module(module, example=inputs)
    plan = QuantizationPlan({"blocks.0.q": LayerPlan(QuantizerSpec(IntFormat(8), PerTensor()))})
    with pytest.raises(QuantError, match="only 4D query, key, and value are supported"):
        to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    with pytest.raises(QuantError, match="give from_module"):
        to_onnx_qdq(from_module(module), plan, tmp_path / "a.onnx")


def test_a_graph_is_made_without_a_word_of_torch_about_itself(caplog, tmp_path):
    """What a server logs is read by whoever runs it."""
    network = from_module(nn.Sequential(nn.Linear(8, 4)), example=torch.zeros(2, 8))
    with warnings.catch_warnings(record=True) as warned:
        to_onnx_qdq(network, plan_of(network, QuantizerSpec(IntFormat(8))), tmp_path / "a.onnx")
    assert not [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert not warned
    logging.getLogger("torch.onnx._internal.exporter._registration").warning("another matter")
    assert caplog.records[-1].message == "another matter"


def test_verify_compares_scores_weights_and_labels_both_ways(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = network.freeze(plan_of(network, QuantizerSpec(IntFormat(8), PerChannel()), ACTIVATION))
    to_onnx_qdq(network, plan, tmp_path / "a.onnx")
    found = ONNX.verify(network, plan, tmp_path / "a.onnx")
    weights, on, off = found.comparisons
    assert (weights.exact, weights.max_difference) == (True, 0.0)
    assert on.own_score == off.own_score == network.evaluate(plan)
    assert off.score.value == pytest.approx(off.own_score.value, abs=0.002)
    other = network.freeze(plan_of(network, WEIGHTS["int4 per channel"], ACTIVATION))
    assert not ONNX.verify(network, other, tmp_path / "a.onnx").comparisons[0].exact
