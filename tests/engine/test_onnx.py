"""Weights are found wherever an ONNX graph keeps them; the oracle is onnxruntime on the graph with others stored."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import quant_engine as qe
from quant_engine.execution import Override, executor_of
from quant_engine.models import OnnxGraph, OnnxModel

RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((6, 4)).astype(np.float32), RNG.standard_normal(4).astype(np.float32)
X = RNG.standard_normal((5, 6)).astype(np.float32)


def node(kind, inputs, outputs, name="", **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), name=name, **attributes)


def held(name, array):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))


def model_of(nodes, stored=(), inputs=None, outputs="y", opset=17):
    """Return the model of a graph; `inputs` are example arrays by name."""
    given = {"x": X} if inputs is None else inputs
    ends = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), ["n", *array.shape[1:]])
        for name, array in given.items()
    ]
    results = [onnx.ValueInfoProto(name=name) for name in outputs.split()]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(stored).items()]
    graph = helper.make_graph(nodes, "made by hand", ends, results, initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return OnnxModel(OnnxGraph(proto), "made by hand", given)


def whole(model, given):
    """Return what one session gives of the whole graph."""
    session = onnxruntime.InferenceSession(model.graph.proto.SerializeToString())
    return session.run(None, dict(given))


def linear(weight=W, bias=B):
    return X @ weight + (0 if bias is None else bias)


KEPT = {
    "MatMul": ([node("MatMul", "x w", "y")], {"w": W}, None),
    "Constant": ([held("w", W), node("MatMul", "x w", "y")], {}, None),
    "Transpose": ([node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t", "y")], {"w": W.T.copy()}, None),
    "Reshape": ([node("Reshape", "w s", "t"), node("MatMul", "x t", "y")], {"w": W.reshape(-1), "s": [6, 4]}, None),
    "Cast": ([node("Cast", "w", "t", to=1), node("MatMul", "x t", "y")], {"w": W.astype(np.float64)}, None),
    "Identity": ([held("w", W), node("Identity", "w", "t"), node("MatMul", "x t", "y")], {}, None),
    "Add": ([node("MatMul", "x w", "m"), node("Add", "m b", "y")], {"w": W, "b": B}, B),
    "Add first": ([node("MatMul", "x w", "m"), node("Add", "b m", "y")], {"w": W, "b": B[None]}, B),
    "Gemm": ([node("Gemm", "x w b", "y")], {"w": W, "b": B}, B),
    "Gemm turned": ([node("Gemm", "x w b", "y", transB=1)], {"w": W.T.copy(), "b": B}, B),
    "Gemm scaled": ([node("Gemm", "x w b", "y", alpha=0.5, beta=2.0)], {"w": 2 * W, "b": B / 2}, B),
}


@pytest.mark.parametrize("case", KEPT)
def test_a_linear_layer_is_found_and_changed_wherever_its_weight_is_kept(case):
    nodes, stored, bias = KEPT[case]
    model = model_of(nodes, stored)
    executor, x = executor_of(model), torch.from_numpy(X)
    (layer,) = model.layers.values()
    assert (layer.name, layer.tensor, layer.op, layer.has_bias) == ("w", "w", "linear", bias is not None)
    np.testing.assert_array_equal(model.parameters["w"][0], W.T)
    np.testing.assert_allclose(executor.run(x), linear(bias=bias), atol=1e-5)
    np.testing.assert_allclose(executor.run(x), whole(model, {"x": X})[0], atol=1e-5)
    other = Override(torch.from_numpy(2 * W.T), torch.from_numpy(B + 1))
    np.testing.assert_allclose(executor.run(x, {"w": other}), linear(2 * W, B + 1), atol=1e-5)


def test_a_weight_that_is_stored_in_8_bits_is_the_real_one_it_stands_for():
    codes = RNG.integers(-127, 128, (6, 4)).astype(np.int8)
    nodes = [node("DequantizeLinear", "q s", "t"), node("MatMul", "x t", "y")]
    model = model_of(nodes, {"q": codes, "s": np.float32(0.25)})
    np.testing.assert_array_equal(model.parameters["q"][0], 0.25 * codes.T.astype(np.float32))


def test_float16_graphs_run_in_float16_with_float32_parameters():
    half = X.astype(np.float16)
    model = model_of([node("MatMul", "x w", "y")], {"w": W.astype(np.float16)}, {"x": half})
    assert model.parameters["w"][0].dtype == np.float32
    found = executor_of(model).run(torch.from_numpy(half)).numpy()
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, whole(model, {"x": half})[0], rtol=2e-3, atol=2e-3)


def test_a_head_tied_to_an_embedding_is_one_weight():
    table, ids = RNG.standard_normal((9, 6)).astype(np.float32), np.array([[1, 2], [0, 8]])
    nodes = [
        node("Gather", "table ids", "e", "embed"),
        node("Transpose", "table", "t", perm=[1, 0]),
        node("MatMul", "e t", "y", "head"),
    ]
    model = model_of(nodes, {"table": table}, {"ids": ids})
    layers = model.layers
    assert list(layers) == ["embed", "head"]
    assert (layers["head"].tied_to, layers["head"].tensor, layers["embed"].tensor) == ("embed", "table", "table")
    np.testing.assert_allclose(executor_of(model).run(torch.from_numpy(ids)), table[ids] @ table.T, atol=1e-5)
    changed = model.with_parameters({"embed": (2 * table, None)})
    np.testing.assert_allclose(executor_of(changed).run(torch.from_numpy(ids)), 4 * table[ids] @ table.T, atol=1e-4)


def test_layers_of_one_weight_without_names_are_called_as_their_outputs():
    square = RNG.standard_normal((6, 6)).astype(np.float32)
    model = model_of([node("MatMul", "x w", "m"), node("MatMul", "m w", "y")], {"w": square})
    assert list(model.layers) == ["m", "y"]
    assert model.layers["y"].tied_to == "m"


def test_a_constant_that_is_no_bias_stays_what_it_is():
    """One differs from sample to sample, one is added to a product that others need, one is a single number."""
    nodes = [
        node("MatMul", "x w", "m"),
        node("Add", "m rows", "a"),
        node("MatMul", "x v", "n"),
        node("Add", "n b", "c"),
        node("Mul", "n c", "d"),
        node("Add", "a d", "y"),
    ]
    model = model_of(nodes, {"w": W, "v": W + 1, "rows": X[:, :4].copy(), "b": B})
    assert not any(layer.has_bias for layer in model.layers.values())
    found = executor_of(model).run(torch.from_numpy(X))
    np.testing.assert_allclose(found, whole(model, {"x": X})[0], rtol=1e-5, atol=1e-4)


def test_products_of_two_activations_are_no_layers():
    with pytest.raises(qe.QuantError, match="no Conv, Gemm, MatMul or Gather with a constant weight, only MatMul"):
        model_of([node("MatMul", "x x", "y")], inputs={"x": np.ones((3, 3), np.float32)})


@pytest.mark.parametrize("side", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
def test_convolutions_are_known_to_their_padding(side):
    kernel = RNG.standard_normal((4, 2, 3, 2)).astype(np.float32)
    pads = {"pads": [1, 0, 2, 1]} if side == "NOTSET" else {"auto_pad": side}
    x = RNG.standard_normal((2, 4, 8, 9)).astype(np.float32)
    model = model_of([node("Conv", "x w", "y", group=2, strides=[2, 3], **pads)], {"w": kernel}, {"x": x})
    (layer,) = model.layers.values()
    wide = torch.nn.functional.pad(torch.from_numpy(x), [end for axis in reversed(layer.padding) for end in axis])
    weight = torch.from_numpy(kernel)
    expected = torch.nn.functional.conv2d(wide, weight, None, layer.stride, 0, layer.dilation, layer.groups)
    np.testing.assert_allclose(executor_of(model).run(torch.from_numpy(x)), expected, atol=1e-5)
    assert layer.output_shape == tuple(expected.shape[1:])


def test_several_inputs_and_outputs_go_by_name():
    nodes = [node("MatMul", "x w", "m"), node("Add", "m z", "y"), node("ArgMax", "y", "best", axis=1)]
    given = {"x": X, "z": np.ones((5, 4), np.float32)}
    model = model_of(nodes, {"w": W}, given, "y best x")
    assert not model.layers["w"].has_bias
    found = executor_of(model).run({name: torch.from_numpy(array) for name, array in given.items()})
    for (name, array), expected in zip(found.items(), whole(model, given), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-5, err_msg=name)
    assert found["best"].dtype == torch.int64
    for wrong in ({"x": X}, X, {"x": X, "z": given["z"][:, :3]}, {**given, "x": X.astype(np.int64)[:, :5]}):
        with pytest.raises(qe.QuantError):
            model.as_inputs(wrong)


def test_branches_see_what_lies_outside_of_them():
    """A graph inside a node reads a tensor of the graph around it, over a layer in between."""
    branches = {
        f"{name}_branch": helper.make_graph([node(kind, "m m", name)], name, [], [onnx.ValueInfoProto(name=name)])
        for name, kind in (("then", "Add"), ("else", "Mul"))
    }
    nodes = [
        node("MatMul", "x w", "m"),
        node("ReduceSum", "m", "s", keepdims=0),
        node("Greater", "s zero", "positive"),
        node("MatMul", "m v", "n"),
        helper.make_node("If", ["positive"], ["i"], **branches),
        node("Add", "n i", "y"),
    ]
    model = model_of(nodes, {"w": W, "v": np.eye(4, dtype=np.float32), "zero": np.float32(0)})
    np.testing.assert_allclose(executor_of(model).run(torch.from_numpy(X)), whole(model, {"x": X})[0], atol=1e-4)


def test_initializers_that_are_also_inputs_are_constants():
    model = model_of([node("MatMul", "x w", "y")], {"w": W})
    proto = onnx.ModelProto.FromString(model.graph.proto.SerializeToString())
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, W.shape))
    assert list(OnnxGraph(proto).inputs) == ["x"]
