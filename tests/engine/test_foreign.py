"""The suites of models and executors, over models that are unlike the built-in ones, in torch and in onnxruntime."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime
import pytest
import torch

import quant_engine as qe
from quant_engine.execution import executor_of
from quant_engine.models import OnnxGraph, OnnxModel, TorchModel
from quant_engine.network import Network, from_module, load
from tests.engine.foreign import exported, foreign_models
from tests.engine.suites import check_executor, check_model

TORCH, ONNX = ("sequential", "residual", "decoder", "encoder"), ("residual", "encoder")
W8 = qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(0))


@functools.cache
def subject(name):
    """Return a model and inputs for it; the encoder's ONNX graph holds its weights behind Transposes."""
    backend, _, key = name.partition(" ")
    if backend == "built-in":
        return load(key).model, torch.from_numpy(load(key).data("test")[0][:4])
    module, inputs = foreign_models()[key]
    if backend == "torch":
        return TorchModel(module, inputs), inputs
    return OnnxModel(OnnxGraph(exported(module.eval(), inputs, optimize=key == "residual")), key), inputs


SUBJECTS = ["built-in fashion-depthwise", *(f"torch {name}" for name in TORCH), *(f"onnx {name}" for name in ONNX)]


@pytest.mark.parametrize("name", SUBJECTS)
def test_models_hold_the_suite(name):
    check_model(*subject(name))


@pytest.mark.parametrize("name", SUBJECTS)
def test_executors_hold_the_suite(name):
    model, inputs = subject(name)
    check_executor(executor_of(model), model, inputs)


@pytest.mark.parametrize("name", ONNX)
def test_an_exported_graph_agrees_with_its_module_and_with_a_whole_session(name):
    model, inputs = subject(f"onnx {name}")
    found = executor_of(model).run(inputs)
    session = onnxruntime.InferenceSession(model.graph.proto.SerializeToString())
    np.testing.assert_allclose(found, session.run(None, {next(iter(model.graph.inputs)): inputs.numpy()})[0], atol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(found, foreign_models()[name][0](inputs), atol=1e-5)


def test_layers_of_an_exported_graph_are_those_of_its_module():
    for name in ONNX:
        model, _ = subject(f"onnx {name}")
        module = foreign_models()[name][0]
        for layer in model.layers.values():
            part = module.get_submodule(layer.tensor.removesuffix(".weight"))
            np.testing.assert_array_equal(model.parameters[layer.name][0], part.weight.detach())
            assert layer.has_bias == (getattr(part, "bias", None) is not None)
    assert next(iter(subject("onnx residual")[0].layers)) == "stem.weight"


def test_both_executors_quantize_a_network_alike():
    """W8A8 with static, dynamic and per-token inputs: the codes are the same, sums differ in the last bits."""
    module, inputs = foreign_models()["residual"]
    for granularity, dynamic in ((qe.PerTensor(), False), (qe.PerTensor(), True), (qe.PerToken(), True)):
        spec = qe.QuantizerSpec(qe.IntFormat(8, signed=False), granularity, symmetric=False)
        results = []
        for network in (from_module(module, example=inputs), Network(subject("onnx residual")[0])):
            names = [name for name in network.layers() if granularity == qe.PerTensor() or "head" not in name]
            plan = qe.QuantizationPlan({name: qe.LayerPlan(W8, spec, dynamic=dynamic) for name in names})
            results.append(network.run(inputs.numpy(), network.freeze(plan, inputs.numpy())))
        np.testing.assert_allclose(*results, atol=1e-5)
        assert np.abs(results[0] - module(inputs).detach().numpy()).max() > 1e-4
