"""Scales that are themselves rounded: the MX formats, NVFP4, and scales of 16 bits."""

import gguf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.network import load
from tests import reference
from tests.engine.strategies import arrays

MX = {
    "MXFP8 E4M3": (qe.E4M3, ml_dtypes.float8_e4m3fn, 8, 8.25),
    "MXFP8 E5M2": (qe.E5M2, ml_dtypes.float8_e5m2, 15, 8.25),
    "MXFP6 E2M3": (qe.E2M3, ml_dtypes.float6_e2m3fn, 2, 6.25),
    "MXFP6 E3M2": (qe.E3M2, ml_dtypes.float6_e3m2fn, 4, 6.25),
    "MXFP4": (qe.E2M1, ml_dtypes.float4_e2m1fn, 2, 4.25),
}
NVFP4 = qe.QuantizerSpec(qe.E2M1, qe.PerGroup(16), scale_format=qe.E4M3)

rng = np.random.default_rng(41)
X = (rng.standard_normal((16, 128)) * np.exp(3 * rng.standard_normal((16, 1)))).astype(np.float32)


def mx(form):
    return qe.QuantizerSpec(form, qe.PerGroup(32), scale_format=qe.E8M0)


@pytest.mark.parametrize("name", MX)
def test_mx_formats_follow_the_arithmetic_of_the_specification(name):
    form, peer, greatest_exponent, bits_per_value = MX[name]
    blocks = X.reshape(-1, 32).astype(np.float64)
    exponent = np.floor(np.log2(np.abs(blocks).max(axis=1, keepdims=True))) - greatest_exponent
    expected = np.float32(2.0) ** exponent.astype(np.float32)
    q = qe.quantize(X, mx(form))
    np.testing.assert_array_equal(q.scale.reshape(-1, 1), expected)
    largest = np.float32(ml_dtypes.finfo(peer).max)  # the cast overflows, where MX saturates
    elements = np.clip(blocks.astype(np.float32) / expected, -largest, largest).astype(peer)
    np.testing.assert_array_equal(q.dequantize().reshape(-1, 32), elements.astype(np.float32) * expected)
    assert q.bits_per_value == bits_per_value


@pytest.mark.parametrize("x", [X, np.round(4 * X) / 4], ids=["Gaussian", "with ties"])
def test_mxfp4_is_that_of_gguf_but_for_which_of_two_equally_near_values_a_tie_goes_to(x):
    q, packed = qe.quantize(x, mx(qe.E2M1)), gguf.quantize(x, gguf.GGMLQuantizationType.MXFP4)
    exponents = packed.reshape(-1, 17)[:, 0].astype(int) - 127
    some = np.abs(x.reshape(-1, 32)).max(axis=1) > 0  # blocks of zeros have any scale
    np.testing.assert_array_equal(q.scale.reshape(-1)[some], 2.0 ** exponents[some])
    ours, theirs = q.dequantize(), gguf.dequantize(packed, gguf.GGMLQuantizationType.MXFP4)
    u = np.abs(x) / np.repeat(q.scale, 32, axis=1)
    tie = np.isin(u, 0.5 * (qe.E2M1.values()[:-1] + qe.E2M1.values()[1:]))
    np.testing.assert_array_equal(ours[~tie], theirs[~tie])
    np.testing.assert_array_equal(np.abs(ours - x)[tie], np.abs(theirs - x)[tie])
    assert (ours != theirs).any() == tie.any()


def test_mxint8_has_six_bits_of_fraction_below_the_shared_exponent():
    blocks = X.reshape(-1, 32)
    shared = 2.0 ** np.floor(np.log2(np.abs(blocks).max(axis=1, keepdims=True)))
    elements = np.clip(np.rint(blocks / shared * 64), -128, 127) / 64
    q = qe.quantize(X, mx(qe.IntFormat(8)))
    np.testing.assert_array_equal(q.dequantize().reshape(-1, 32), (elements * shared).astype(np.float32))
    assert q.bits_per_value == 8.25


@pytest.mark.parametrize("clipping", [qe.Percentile(95), qe.MinMSE(), qe.FixedRange(-3, 5)], ids=str)
def test_powers_of_two_are_rounded_down_under_any_clipping(clipping):
    free = qe.fit(X, qe.QuantizerSpec(qe.E2M1, qe.PerGroup(32), clipping=clipping)).scale * np.float64(6)
    rounded = qe.fit(X, qe.QuantizerSpec(qe.E2M1, qe.PerGroup(32), clipping=clipping, scale_format=qe.E8M0)).scale
    near = np.exp2(np.floor(np.log2(free)) - 2)
    on_the_edge = np.abs(np.log2(free) - np.rint(np.log2(free))) < 1e-6  # where float32 scales cannot tell
    assert ((rounded == near) | on_the_edge).all()


def test_powers_of_two_keep_within_what_e8m0_holds():
    tiny = qe.fit(np.full(32, 1e-44, np.float32), mx(qe.E5M2))
    assert tiny.scale.tolist() == [2.0**-127]
    assert not tiny.fake_quantize(np.zeros(32)).any()


def test_nvfp4_is_e4m3_scales_under_one_of_the_tensor():
    q = qe.quantize(X, NVFP4)
    steps = np.abs(X.reshape(-1, 16)).max(axis=1).astype(np.float64) / 6
    tensor = np.float32(steps.max() / 448)
    scale = (steps / tensor).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * tensor
    np.testing.assert_array_equal(q.scale.reshape(-1), scale)
    assert q.storage.bits == X.size * 4 + X.size // 16 * 8 + 32


def test_a_scale_that_rounds_to_zero_gives_zeros():
    x = np.concatenate([np.full(16, 1000.0), np.full(16, 1e-4), np.zeros(16)]).astype(np.float32)
    for form in (qe.E2M1, qe.NF4, qe.IntFormat(4), qe.power_of_two(8)):
        spec = qe.QuantizerSpec(form, qe.PerGroup(16), scale_format=qe.E4M3)
        fitted = qe.fit(x, spec)
        x_hat, report = fitted.reconstruct(x)
        assert fitted.scale[1:].tolist() == [0.0, 0.0]
        assert not x_hat[16:].any()
        np.testing.assert_array_equal(fitted.encode(x).codes[16:], form.encode(np.zeros(32)))
        np.testing.assert_array_equal(fitted.encode(x).dequantize(), x_hat)
        assert report.mse == pytest.approx(np.square(x_hat.astype(np.float64) - x).mean())
        assert not fitted.levels(1).any()
        with np.errstate(all="raise"):
            assert fitted.thresholds(1).size == fitted.levels(1).size - 1
    with pytest.raises(qe.QuantError, match="positive"):
        qe.Quantizer(qe.QuantizerSpec(qe.E2M1, qe.PerGroup(16)), np.float32([1, 0, 1]), np.zeros(3, int))


def test_integers_with_a_zero_point_use_the_rounded_scale():
    spec = qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32), symmetric=False, scale_format=qe.FP16)
    fitted = qe.fit(X, spec)
    blocks = X.reshape(-1, 32).astype(np.float64)
    low, high = np.minimum(blocks.min(axis=1), 0), np.maximum(blocks.max(axis=1), 0)
    scale = ((high - low) / 15).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(fitted.scale.reshape(-1), scale)
    np.testing.assert_array_equal(fitted.zero_point.reshape(-1), np.clip(np.rint(-8 - low / scale), -8, 7))
    assert fitted.storage(X.shape).bits_per_value == 4 + (16 + 4) / 32


@given(arrays(), st.sampled_from([qe.E8M0, qe.E4M3, qe.FP16, qe.BF16, qe.E5M2]))
def test_codes_and_values_use_the_rounded_scale(x, scale_format):
    spec = qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(4, remainder="short"), scale_format=scale_format)
    fitted = qe.fit(x, spec)
    scale = reference.spread(fitted.scale, x.shape, spec.granularity.blocks(x.shape).block)
    divisor = np.where(scale > 0, scale, np.float32(np.inf))
    codes = reference.encode(x, divisor, np.zeros_like(scale), -8, 7)
    np.testing.assert_array_equal(fitted.encode(x).codes, codes)
    np.testing.assert_array_equal(fitted.fake_quantize(x), codes.astype(np.float32) * scale)


def test_dynamic_activations_have_a_tensor_scale_an_image():
    spec = qe.QuantizerSpec(qe.E2M1, qe.PerSample(qe.PerGroup(4)), scale_format=qe.E4M3)
    together = qe.fake_quantize(X, spec)
    np.testing.assert_array_equal(together, np.concatenate([qe.fake_quantize(row[None], spec) for row in X]))
    assert spec.storage(X.shape).scale_bits == X.size // 4 * 8 + len(X) * 32


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale_format": "E8M0"}, "give E8M0"),
        ({"scale_format": qe.IntFormat(8)}, "not a FloatFormat"),
        ({"scale_format": qe.E8M0, "symmetric": False}, "use symmetric=True"),
        ({"scale_format": qe.E4M3, "format": qe.FP16}, "use scale_format=None"),
    ],
    ids=str,
)
def test_scale_formats_that_do_not_go_together_are_refused(change, reason):
    with pytest.raises(qe.QuantError, match=reason):
        qe.QuantizerSpec(**{"format": qe.IntFormat(4), **change})


def test_specs_with_scale_formats_survive_json_and_plans(tmp_path):
    assert qe.QuantizerSpec.from_json(NVFP4.to_json()) == NVFP4
    network = load("fashion-cnn")
    short = qe.QuantizerSpec(qe.E2M1, qe.PerGroup(16, remainder="short"), scale_format=qe.E4M3)
    frozen = network.freeze(qe.QuantizationPlan({"fc2": qe.LayerPlan(short, short, dynamic=True)}))
    frozen.save(tmp_path / "plan.json")
    again = qe.QuantizationPlan.load(tmp_path / "plan.json")
    np.testing.assert_array_equal(again["fc2"].weight.scale, frozen["fc2"].weight.scale)
    assert network.evaluate(again).correct == network.evaluate(frozen).correct


def test_scales_beyond_float32_are_refused_without_a_warning():
    tiny = qe.FloatFormat(2, 2, bias=20)
    x = np.full((2, 16), 3e38, np.float32)
    with pytest.raises(qe.QuantError, match="scale the tensor down"):
        qe.fit(x, qe.QuantizerSpec(tiny, qe.PerGroup(16), scale_format=qe.E4M3))
