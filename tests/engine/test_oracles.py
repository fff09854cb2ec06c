"""Codes and values against torch, the ONNX reference evaluator and ml_dtypes, bit for bit."""

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import quant_engine as qe

rng = np.random.default_rng(20)
WEIGHT = (rng.standard_t(3, (24, 64)) * 0.1).astype(np.float32)
MANY = rng.standard_normal(200_000).astype(np.float32)
ONNX_TYPES = {
    qe.IntFormat(8): TensorProto.INT8,
    qe.IntFormat(8, signed=False): TensorProto.UINT8,
    qe.IntFormat(4): TensorProto.INT4,
    qe.IntFormat(4, signed=False): TensorProto.UINT4,
    qe.IntFormat(16): TensorProto.INT16,
    qe.IntFormat(16, signed=False): TensorProto.UINT16,
}
LAYOUTS = {
    "per tensor": (qe.PerTensor(), {}),
    "per axis 0": (qe.PerChannel(0), {"axis": 0}),
    "per axis 1": (qe.PerChannel(1), {"axis": 1}),
    "blocked along axis 1": (qe.PerGroup(16), {"axis": 1, "block_size": 16}),
    "blocked along axis 0": (qe.PerGroup(8, axis=0), {"axis": 0, "block_size": 8}),
}
CLIPPINGS = [qe.MinMax(), qe.Percentile(97), qe.FixedRange(-0.1, 0.3)]


def run_onnx(x, scale, zero_point, number_type, attributes):
    """Return codes and values of QuantizeLinear and DequantizeLinear."""
    element = helper.tensor_dtype_to_np_dtype(number_type)
    feeds = {"x": x, "scale": scale, "zero_point": zero_point.astype(element)}
    types = {"x": TensorProto.FLOAT, "scale": TensorProto.FLOAT, "zero_point": number_type}
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["codes"], **attributes),
            helper.make_node("DequantizeLinear", ["codes", "scale", "zero_point"], ["values"], **attributes),
        ],
        "graph",
        [helper.make_tensor_value_info(name, types[name], feeds[name].shape) for name in feeds],
        [
            helper.make_tensor_value_info("codes", number_type, x.shape),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, x.shape),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    onnx.checker.check_model(model)
    codes, values = ReferenceEvaluator(model).run(None, feeds)
    return codes.astype(np.int64), values


def onnx_parameters(q):
    """Return scale and zero point in the shape QuantizeLinear wants: a scalar, one axis, or the block grid."""
    return [a.reshape(()) if a.size == 1 else a if min(a.shape) > 1 else a.reshape(-1) for a in (q.scale, q.zero_point)]


@pytest.mark.parametrize("clipping", CLIPPINGS, ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ONNX_TYPES, ids=str)
def test_codes_and_values_are_those_of_onnx(form, layout, symmetric, clipping):
    granularity, attributes = LAYOUTS[layout]
    q = qe.quantize(WEIGHT, qe.QuantizerSpec(form, granularity, symmetric, clipping))
    codes, values = run_onnx(WEIGHT, *onnx_parameters(q), ONNX_TYPES[form], attributes)
    np.testing.assert_array_equal(q.codes, codes)
    np.testing.assert_array_equal(q.dequantize().view(np.int32), values.view(np.int32))


def test_ties_round_to_even_as_in_onnx():
    ties = (np.arange(-140, 140, dtype=np.float32) + 0.5) * np.float32(0.3)
    quantizer = qe.Quantizer(qe.QuantizerSpec(qe.IntFormat(8), symmetric=False), [np.float32(0.3)], [5])
    codes, _ = run_onnx(ties, np.float32([0.3])[0], np.int8(5), TensorProto.INT8, {})
    np.testing.assert_array_equal(quantizer.encode(ties).codes, codes)


def test_the_vectors_of_the_onnx_specification():
    unsigned = qe.QuantizerSpec(qe.IntFormat(8, signed=False), symmetric=False)
    codes = qe.Quantizer(unsigned, [2.0], [128]).encode([0.0, 2, 3, 1000, -254, -1000]).codes
    assert codes.tolist() == [128, 129, 130, 255, 1, 0]
    by_row = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0), symmetric=False)
    x = [[0, 2.5, 4.8, 8.6], [-30, -20, 6, 9], [12, 15, 16, 40]]
    codes = qe.Quantizer(by_row, [[2.0], [3.0], [4.0]], [[1], [1], [1]]).encode(x).codes
    assert codes.reshape(-1).tolist() == [1, 2, 3, 5, -8, -6, 3, 4, 4, 5, 5, 7]


def ties_by_reciprocal(x, scale):
    """Say where x/scale is so near a tie that multiplying by the float32 reciprocal may round it elsewhere.

    The reciprocal and the product are each rounded once: 2^−24 relative, twice.
    """
    exact = x.astype(np.float64) / scale.astype(np.float64)
    return np.abs(np.abs(exact - np.floor(exact)) - 0.5) <= np.abs(exact) * 2.0**-23


def assert_equal_but_for_ties(ours, theirs, x, scale):
    scale = np.broadcast_to(scale, x.shape)
    differ = ours.view(np.int32) != theirs.view(np.int32)
    assert not (differ & ~ties_by_reciprocal(x, scale)).any()
    np.testing.assert_allclose(np.abs(ours - theirs)[differ], scale[differ], rtol=1e-4)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    "form", [qe.IntFormat(8), qe.IntFormat(4), qe.IntFormat(8, signed=False), qe.IntFormat(3, narrow=True)], ids=str
)
def test_values_are_those_of_torch_per_tensor_but_at_ties(form, symmetric):
    q = qe.fit(MANY, qe.QuantizerSpec(form, symmetric=symmetric, clipping=qe.Percentile(99.5)))
    theirs = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(MANY), float(q.scale[0]), int(q.zero_point[0]), form.qmin, form.qmax
    )
    assert_equal_but_for_ties(q.fake_quantize(MANY), theirs.numpy(), MANY, q.scale)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_values_are_those_of_torch_per_channel_but_at_ties(axis, symmetric):
    q = qe.fit(WEIGHT, qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(axis), symmetric))
    theirs = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(WEIGHT),
        torch.from_numpy(q.scale.reshape(-1).copy()),
        torch.from_numpy(q.zero_point.reshape(-1).copy()),
        axis,
        -128,
        127,
    )
    assert_equal_but_for_ties(q.fake_quantize(WEIGHT), theirs.numpy(), WEIGHT, q.scale)


def test_at_constructed_ties_torch_differs_and_only_there():
    scale = np.float32(0.0037)
    x = (np.arange(-120, 120, dtype=np.float32) + np.float32(0.5)) * scale
    x = np.concatenate([x, np.nextafter(x, np.float32(9)), np.nextafter(x, np.float32(-9))])
    ours = qe.Quantizer(qe.QuantizerSpec(qe.IntFormat(8)), [scale], [0]).fake_quantize(x)
    theirs = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), float(scale), 0, -128, 127).numpy()
    assert (ours != theirs).any()
    assert_equal_but_for_ties(ours, theirs, x, scale)


def test_where_torch_per_channel_sends_the_largest_values_to_the_least_code_ours_saturate():
    q = qe.Quantizer(qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(0)), [[0.1]], [[0]])
    assert q.encode(np.float32([[3e38, -3e38]])).codes.tolist() == [[127, -128]]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("narrow_type", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_input_is_quantized_as_its_float32_values(narrow_type, symmetric):
    x = WEIGHT.astype(narrow_type)
    spec = qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(0), symmetric)
    np.testing.assert_array_equal(qe.quantize(x, spec).codes, qe.quantize(x.astype(np.float32), spec).codes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_tensors_are_quantized_as_their_float32_values(dtype):
    x = torch.from_numpy(WEIGHT).to(dtype).requires_grad_()
    spec = qe.QuantizerSpec(qe.IntFormat(8), qe.PerGroup(16))
    np.testing.assert_array_equal(qe.fake_quantize(x, spec), qe.fake_quantize(x.detach().float().numpy(), spec))
