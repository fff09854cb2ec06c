"""What the engine takes, what it refuses, and that it never changes what it was given."""

import sys
import types

import ml_dtypes
import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.inputs import as_float32

SPEC = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
VERBS = {
    "fit": lambda x: qe.fit(x, SPEC),
    "quantize": lambda x: qe.quantize(x, SPEC),
    "fake_quantize": lambda x: qe.fake_quantize(x, SPEC),
    "measure": lambda x: qe.measure(x, np.zeros(np.shape(x), np.float32)),
    "encode": lambda x: qe.fit(np.ones(np.shape(x)), SPEC).encode(x),
    "distribution": qe.Distribution,
}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


@every_verb
def test_nan_and_infinity_are_refused_with_their_number_and_the_first_place(verb):
    x = np.ones((3, 4))
    x[1, 2], x[2, 0], x[2, 3] = np.nan, np.inf, -np.inf
    with pytest.raises(
        qe.QuantError, match=r"shape \(3, 4\) has 1 NaN and 2 infinite .* \(nan\) at \(1, 2\).*nan_to_num"
    ):
        verb(x)


@every_verb
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 7, 4095])
def test_one_bad_value_anywhere_is_found(verb, value, place):
    x = np.linspace(-1, 1, 4096, dtype=np.float32)[None]
    x[0, place] = value
    with pytest.raises(qe.QuantError, match=rf"at \(0, {place}\)"):
        verb(x)


@every_verb
@pytest.mark.parametrize(
    "x",
    [
        np.ones((2, 2), int),
        np.ones((2, 2), np.uint8),
        np.ones((2, 2), bool),
        np.ones((2, 2), complex),
        np.ones((2, 2), object),
        np.full((2, 2), "1.0"),
        [[1, 2], [3, 4]],
        torch.ones((2, 2), dtype=torch.int32),
        torch.ones((2, 2), dtype=torch.bool),
    ],
    ids=lambda x: getattr(x, "dtype", "list"),
)
def test_what_is_not_real_is_refused_with_type_shape_and_remedy(verb, x):
    with pytest.raises(qe.QuantError, match=r"dtype .* shape \(2, 2\).*astype"):
        verb(x)


@every_verb
def test_float64_beyond_float32_is_refused_as_overflow(verb):
    x = np.ones((2, 3))
    x[1, 1], x[1, 2] = 1e39, -4e38
    with pytest.raises(qe.QuantError, match=r"shape \(2, 3\) has 2 values beyond float32.* 1e\+39 at \(1, 1\); scale"):
        verb(x)


@every_verb
def test_ragged_lists_are_refused(verb):
    with pytest.raises(qe.QuantError, match="rectangular"):
        verb.__call__([[1.0, 2.0], [3.0]]) if verb not in (VERBS["measure"], VERBS["encode"]) else qe.fit(
            [[1.0, 2.0], [3.0]], SPEC
        )


def test_levels_beyond_float32_are_refused_with_the_remedy():
    with pytest.raises(qe.QuantError, match=r"beyond float32.*scale the tensor down"):
        qe.fit(np.float32([3e38]), qe.QuantizerSpec(qe.IntFormat(2)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ">f4", np.longdouble])
def test_every_float_type_is_taken(dtype):
    x = np.array([[0.5, -1.0]], dtype)
    np.testing.assert_array_equal(qe.fake_quantize(x, SPEC), qe.fake_quantize([[0.5, -1.0]], SPEC))


@pytest.mark.parametrize(
    "name", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]
)
def test_every_value_of_torch_float8_is_taken_as_it_is(name):
    codes = np.arange(256, dtype=np.uint8)
    expected = codes.view(getattr(ml_dtypes, name)).astype(np.float32)
    finite = np.isfinite(expected)
    given = torch.from_numpy(codes[finite]).view(getattr(torch, name))
    np.testing.assert_array_equal(as_float32(given), expected[finite])
    with pytest.raises(qe.QuantError, match=r"NaN and \d+ infinite"):
        qe.fit(torch.from_numpy(codes).view(getattr(torch, name)), qe.QuantizerSpec(qe.IntFormat(4)))


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, of layouts and types that it means to change
def test_torch_tensors_of_every_layout_are_taken_as_the_values_they_stand_for():
    x = torch.tensor([[0.5, -1.0, 0.0], [0.0, 2.0, 0.25]])
    steps = torch.tensor([0.25, 0.5])
    forms = {
        "sparse": x.to_sparse(),
        "compressed rows": x.to_sparse_csr(),
        "mkldnn": x.to_mkldnn(),
        "quantized": torch.quantize_per_tensor(x, 0.25, 8, torch.quint8),
        "quantized by channel": torch.quantize_per_channel(x, steps, torch.zeros(2, dtype=torch.int64), 0, torch.qint8),
        "with a gradient": x.clone().requires_grad_(),
        "a parameter": torch.nn.Parameter(x),
        "with the negative bit": torch.complex(x, -x).conj().imag,
        "bfloat16": x.bfloat16(),
        "transposed": x.t().contiguous().t(),
    }
    assert forms["with the negative bit"].is_neg()
    for name, form in forms.items():
        expected = x if name != "quantized by channel" else form.dequantize()
        np.testing.assert_array_equal(as_float32(form), expected.numpy(), err_msg=name)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_without_plain_values_are_refused_with_type_and_remedy():
    x = torch.ones(2, 2)
    forms = {
        r"device meta, without values; load them": torch.empty((2, 2), device="meta"),
        r"nested tensor of 2 shapes; give each of x.unbind\(\)": torch.nested.nested_tensor([x, x[:1]]),
        r"MaskedTensor of torch.float32 .*give a plain": torch.masked.masked_tensor(x, x > 0),
        r"torch.float4_e2m1fn_x2 .*give a plain": torch.ones(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        r"complex64 .*numpy.abs\(x\)": torch.ones(2, dtype=torch.complex64).conj(),
        r"torch.complex32 .*give a plain": torch.ones(2, dtype=torch.complex32),
        r"give one array of floats": [torch.nn.Parameter(x), x],
        r"masked values; give x.filled\(0\)": np.ma.masked_array([1.0, 2.0], [False, True]),
    }
    for message, form in forms.items():
        with pytest.raises(qe.QuantError, match=message):
            as_float32(form)


@every_verb
def test_inputs_are_never_changed(verb):
    x = np.random.default_rng(1).standard_normal((8, 33)).astype(np.float32)
    before = x.copy()
    x.flags.writeable = False
    verb(x)
    np.testing.assert_array_equal(x, before)


def test_a_result_shares_no_memory_with_its_input():
    x = np.float32([[1.0, -2.0, 0.0]])
    q = qe.quantize(x, SPEC)
    assert not np.shares_memory(qe.fake_quantize(x, SPEC), x)
    assert not np.shares_memory(q.dequantize(), q.codes)


def test_fitted_numbers_cannot_be_written():
    fitted = qe.fit([[1.0]], SPEC)
    for array in (fitted.scale, fitted.zero_point):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_arrays_given_to_a_quantizer_stay_writeable_and_apart():
    scale = np.float32([[2.0]])
    fitted = qe.Quantizer(SPEC, scale, [[0]])
    scale[...] = 5.0
    assert fitted.scale.item() == 2.0


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(qe.QuantError, match="1 values that are not positive"):
        qe.Quantizer(SPEC, [[scale]], [[0]])


def test_an_infinite_scale_is_refused():
    with pytest.raises(qe.QuantError, match="beyond float32"):
        qe.Quantizer(SPEC, [[np.inf]], [[0]])


def test_scales_and_zero_points_of_different_shapes_are_refused():
    with pytest.raises(qe.QuantError, match=r"\(1, 1\).*\(1,\)"):
        qe.Quantizer(SPEC, [[1.0]], [0])


@pytest.mark.parametrize("verb", ["encode", "fake_quantize", "measure", "decode"])
def test_a_tensor_of_another_grid_is_refused_with_both_grids(verb):
    fitted = qe.fit(np.ones((3, 4)), SPEC)
    other = np.ones((5, 4), np.int8 if verb == "decode" else np.float32)
    with pytest.raises(qe.QuantError, match=r"\(3, 1\) blocks.*\(5, 4\) has \(5, 1\).*fit it anew"):
        getattr(fitted, verb)(other)


@pytest.mark.parametrize("block", [-7, 3, (3, 0), (0, 1), (0, 0, 0)])
@pytest.mark.parametrize("ask", ["levels", "thresholds"])
def test_a_block_that_does_not_exist_is_refused(ask, block):
    fitted = qe.fit(np.ones((3, 4)), SPEC)
    with pytest.raises(qe.QuantError, match=r"does not exist in a grid of shape \(3, 1\)"):
        getattr(fitted, ask)(block)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("format", 4),
        ("granularity", "channel"),
        ("clipping", None),
        ("symmetric", 1),
        ("scale_format", "E8M0"),
        ("rounding", "up"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused_by_name(part, value):
    with pytest.raises(qe.QuantError, match=f"{part}={value!r}"):
        qe.QuantizerSpec(**{"format": qe.IntFormat(4), part: value})


def test_arrays_are_taken_while_another_thread_imports_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))  # as it is before its body has run
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    assert qe.quantize(x, SPEC).codes.shape == (3, 4)
    assert qe.fake_quantize(x.tolist(), SPEC).shape == (3, 4)
