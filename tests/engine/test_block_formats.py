"""The simple GGUF blocks against the gguf package, byte for byte and bit for bit."""

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine import BlockFormat
from quant_engine.network import load
from quant_engine.observers import BlockObservers
from quant_engine.studies import activation_costs
from tests import reference
from tests.engine.strategies import arrays

BITS_PER_VALUE = {"Q4_0": 4.5, "Q4_1": 5.0, "Q5_0": 5.5, "Q5_1": 6.0, "Q8_0": 8.5}
FORMATS = [BlockFormat(name) for name in BITS_PER_VALUE]
every = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)

rng = np.random.default_rng(40)
X = rng.standard_normal((40, 96)).astype(np.float32)
TENSORS = {
    "Gaussian": X,
    "of rank 4": X.reshape(5, 2, 3, 128),
    "a vector": X.reshape(-1),
    "large enough for threads": rng.standard_normal((1100, 1024)).astype(np.float32),
    "heavy-tailed": rng.standard_t(1.5, (200, 64)).astype(np.float32),
    "with an offset": X + np.float32(300),
    "constant": np.full((2, 32), 0.3, np.float32),
    "constant and negative": np.full((2, 32), -0.3, np.float32),
    "all zero": np.zeros((2, 32), np.float32),
    "negative zero": np.full((2, 32), -0.0, np.float32),
    "whole numbers, with ties": rng.integers(-8, 9, (300, 32)).astype(np.float32),
    "halves, with ties": rng.integers(-254, 255, (300, 32)).astype(np.float32) / 2,
    "two peaks": np.tile(np.float32([1, -1, 0.4, -0.4]), (2, 16)),
    "of float16's subnormal numbers": X * np.float32(1e-6),
    "of nothing in float16": X * np.float32(1e-30),
    "at the limit of float16": np.clip(X, -1, 1) * np.float32(65504),
}


def peer(form):
    return gguf.GGMLQuantizationType[form.name]


def bits(x):
    return np.ascontiguousarray(x).view(np.int32)


def quantized(x, form):
    """Return the bytes of a tensor, and its values with and without the way over the codes."""
    fitted = qe.fit(x, qe.QuantizerSpec(form))
    q = fitted.encode(x)
    m = fitted.learned[..., 1] if form.has_minimum else None
    return form.to_bytes(q.codes, fitted.scale, m), q.dequantize(), fitted.fake_quantize(x)


@every
@pytest.mark.parametrize("name", TENSORS)
def test_bytes_and_values_are_those_of_gguf(form, name):
    written, *ways = quantized(TENSORS[name], form)
    expected = gguf.quantize(TENSORS[name], peer(form))
    np.testing.assert_array_equal(written, expected)
    for x_hat in ways:
        np.testing.assert_array_equal(bits(x_hat), bits(gguf.dequantize(expected, peer(form))))


@every
@given(x=arrays((2, 64), 6e4))
def test_bytes_of_any_values_are_those_of_gguf(form, x):
    x = np.where(np.abs(x) < 1e-30, np.float32(0), x)  # no ±0 side by side, of which numpy takes either as the minimum
    np.testing.assert_array_equal(quantized(x, form)[0], gguf.quantize(x, peer(form)))


@every
def test_where_the_inverse_of_d_is_beyond_float32_all_values_are_zero(form):
    x = X * np.float32(1e-40)
    with np.errstate(all="ignore"):  # gguf casts infinity to integers there, which may give any code
        expected = gguf.dequantize(gguf.quantize(x, peer(form)), peer(form))
    for x_hat in quantized(x, form)[1:]:
        np.testing.assert_array_equal(x_hat, expected)
        assert not x_hat.any()


def test_q4_0_of_a_line_is_the_known_vector():
    written, *_ = quantized(np.linspace(-1, 1, 32, dtype=np.float32), BlockFormat("Q4_0"))
    assert written.tobytes().hex() == "0030809191a2a2b3b3c4c4d5d5e6e6f7f7f8"


@pytest.mark.parametrize(("name", "least"), [("Q4_0", 8 * 65520), ("Q5_0", 16 * 65520), ("Q8_0", 127 * 65520)])
def test_scales_beyond_float16_are_refused_with_the_remedy(name, least):
    x = np.full(32, -least, np.float32)
    with pytest.raises(qe.QuantError, match=f"{name} store it: up to 65504; scale the tensor down"):
        qe.fit(x, qe.QuantizerSpec(BlockFormat(name)))
    qe.fit(np.nextafter(x, np.float32(0)), qe.QuantizerSpec(BlockFormat(name)))


@pytest.mark.parametrize("name", ["Q4_1", "Q5_1"])
@pytest.mark.parametrize("ends", [(-65520, 0), (65520, 65520), (-6e4, 3e6), (-3e38, 3e38)])
def test_minima_beyond_float16_are_refused_with_the_remedy(name, ends):
    with pytest.raises(qe.QuantError, match="scale the tensor down"):
        qe.fit(np.linspace(*ends, 32, dtype=np.float32), qe.QuantizerSpec(BlockFormat(name)))


@every
def test_a_block_has_the_size_that_gguf_gives_it(form):
    values, size_bytes = gguf.GGML_QUANT_SIZES[peer(form)]
    assert (form.block, form.bits_per_block) == (values, 8 * size_bytes)


@every
def test_the_bytes_of_any_codes_are_read_by_gguf_as_their_values(form):
    codes = rng.integers(form.qmin, form.qmax + 1, (3, 5, 64)).astype(form.dtype)
    d, m = rng.standard_normal((2, 3, 5, 2)).astype(np.float16)
    written = form.to_bytes(codes, d, m if form.has_minimum else None)
    assert (written.dtype, written.shape) == (np.uint8, (3, 5, form.bits_per_block // 4))
    levels = np.repeat(d.astype(np.float32), 32, axis=-1) * form.decode(codes)
    x_hat = levels + np.repeat(m.astype(np.float32), 32, axis=-1) if form.has_minimum else levels
    np.testing.assert_array_equal(bits(gguf.dequantize(written, peer(form))), bits(x_hat))


@every
def test_values_are_those_of_all_codes_in_order(form):
    codes = np.arange(form.qmin, form.qmax + 1)
    assert codes.size == 2**form.bits
    np.testing.assert_array_equal(form.decode(codes), form.values())
    np.testing.assert_array_equal(form.encode(form.values()), codes)
    np.testing.assert_array_equal(form.encode([-1e9, 1e9]), codes[[0, -1]])
    for code in (form.qmin - 1, form.qmax + 1):
        with pytest.raises(qe.QuantError, match="not all codes"):
            form.decode(code)


def test_halves_go_up_and_in_q8_0_away_from_zero():
    halves = [-2.5, -1.5, -0.5, 0.5, 1.5, np.nextafter(np.float32(0.5), np.float32(0))]
    assert (BlockFormat("Q4_0").encode(halves[:5]) - 8.0).tolist() == [-2, -1, 0, 1, 2]
    assert BlockFormat("Q8_0").encode(halves).tolist() == [-3, -2, -1, 1, 2, 0]


@pytest.mark.parametrize("name", ["Q4_K", "q4_0", 4, None, ["Q4_0"]])
def test_other_names_are_refused_with_those_there_are(name):
    with pytest.raises(qe.QuantError, match="Q4_0, Q4_1, Q5_0, Q5_1, Q8_0"):
        BlockFormat(name)


@pytest.mark.parametrize(
    ("name", "codes", "d", "m", "reason"),
    [
        ("Q4_0", np.zeros(31, int), [1], None, "pad the last axis"),
        ("Q4_0", np.int64(3), [1], None, "pad the last axis"),
        ("Q4_0", np.full(32, 16), [1], None, "not all codes"),
        ("Q4_0", np.zeros(32, int), [1, 1], None, "d has shape"),
        ("Q4_1", np.zeros(32, int), [1], [[1]], "m has shape"),
        ("Q4_0", np.zeros(32, int), [1], [1], "no minimum"),
        ("Q5_1", np.zeros(32, int), [1], None, "have a minimum"),
        ("Q8_0", np.zeros(32, int), [65520], None, "d has values that float16.*scale the tensor down"),
    ],
)
def test_what_makes_no_blocks_is_refused(name, codes, d, m, reason):
    with pytest.raises(qe.QuantError, match=reason):
        BlockFormat(name).to_bytes(codes, d, m)


# --- specs ------------------------------------------------------------------------------------------------------------


@every
def test_the_format_brings_its_blocks(form):
    alone, with_blocks = qe.QuantizerSpec(form), qe.QuantizerSpec(form, qe.PerGroup(32))
    assert alone == with_blocks
    assert (alone.key, hash(alone)) == (with_blocks.key, hash(with_blocks))
    assert qe.QuantizerSpec(form, qe.PerSample()).granularity == qe.PerSample(qe.PerGroup(32))


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"granularity": qe.PerChannel(0)}, r"runs of 32 along the last axis; use PerGroup\(size=32"),
        ({"granularity": qe.PerGroup(16)}, "use PerGroup.*remainder="),
        ({"granularity": qe.PerGroup(32, axis=0)}, "use PerGroup"),
        ({"granularity": qe.PerSample(qe.PerToken())}, "use PerGroup"),
        ({"symmetric": False}, "use symmetric=True"),
        ({"clipping": qe.MinMSE()}, r"use clipping=MinMax\(\)"),
        ({"clipping": qe.FixedRange(-1, 1)}, r"use clipping=MinMax\(\)"),
        ({"scale_format": qe.E8M0}, "use scale_format=None"),
        ({"rounding": "floor"}, "use rounding='nearest'"),
    ],
    ids=str,
)
def test_what_the_format_decides_itself_is_refused_with_the_remedy(change, remedy):
    with pytest.raises(qe.QuantError, match=remedy):
        qe.QuantizerSpec(BlockFormat("Q5_1"), **change)


def test_importance_is_refused():
    with pytest.raises(qe.QuantError, match="importance=None"):
        qe.fit(X, qe.QuantizerSpec(BlockFormat("Q4_0")), importance=np.ones(96, np.float32))


@pytest.mark.parametrize(("name", "bits_per_value"), BITS_PER_VALUE.items())
def test_storage_is_that_of_the_file(name, bits_per_value):
    storage = qe.QuantizerSpec(BlockFormat(name)).storage((6, 128))
    assert storage.bits_per_value == bits_per_value
    assert storage.size_bytes == gguf.quantize(np.ones((6, 128), np.float32), gguf.GGMLQuantizationType[name]).nbytes


# --- fitted -----------------------------------------------------------------------------------------------------------


@every
def test_scales_and_minima_are_what_the_file_says(form):
    fitted = qe.fit(X, qe.QuantizerSpec(form))
    blocks = gguf.quantize(X, peer(form)).reshape(40, 3, -1)
    halves = np.ascontiguousarray(blocks[..., : 4 if form.has_minimum else 2]).view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(fitted.scale, halves[..., 0])
    np.testing.assert_array_equal(fitted.learned.astype(np.float16), halves)
    assert not fitted.zero_point.any()
    assert (fitted.scale < 0).any() == (form.offset > 0)


@every
def test_a_shorter_last_block_is_fitted_to_its_own_values_and_stored_whole(form):
    spec, x = qe.QuantizerSpec(form, qe.PerGroup(32, remainder="short")), X[:, :40]
    q = qe.quantize(x, spec)
    assert q.scale.shape == (40, 2)
    for part in (slice(0, 32), slice(32, 40)):
        np.testing.assert_array_equal(q.dequantize()[:, part], qe.fake_quantize(x[:, part], spec))
    assert q.storage.bits == 80 * form.bits_per_block
    with pytest.raises(qe.QuantError, match="group size 32 does not divide axis 1"):
        qe.quantize(x, qe.QuantizerSpec(form))


@every
def test_other_values_are_given_the_codes_of_the_fitted_blocks_and_saturate(form):
    fitted, other = qe.fit(X, qe.QuantizerSpec(form)), np.float32(3) * X[::-1]
    d, *m = (np.repeat(part, 32, axis=-1) for part in np.moveaxis(fitted.learned, -1, 0))
    codes = reference.ggml_encode(other, 1 / d, m[0] if m else 0, (form.offset, form.qmin, form.qmax, form.bits == 8))
    assert {codes.min(), codes.max()} == {form.qmin, form.qmax}
    np.testing.assert_array_equal(fitted.encode(other).codes, codes)
    huge = np.where(X > 0, np.float32(3e38), np.float32(-3e38))
    assert set(fitted.encode(huge).codes.reshape(-1)) == {form.qmin, form.qmax}


def one_block(form, x):
    """Return a quantizer of as many equal blocks as hold the tests' values, fitted to 32 values."""
    return qe.fit(np.tile(x, (128, 1)), qe.QuantizerSpec(form))


@every
@pytest.mark.parametrize("name", TENSORS)
def test_thresholds_are_the_least_values_that_are_given_each_level(form, name):
    fitted = one_block(form, TENSORS[name].reshape(-1)[:32])
    levels, edges = fitted.levels(), fitted.thresholds()
    assert (np.diff(levels) > 0).all()
    assert edges.shape == (levels.size - 1,)
    reach = 2 * np.abs(levels).max() + np.float32(1e-6)
    drawn = rng.uniform(-reach, reach, 128 * 32 - 2 * edges.size).astype(np.float32)
    x = np.concatenate([drawn, edges, np.nextafter(edges, np.float32(-np.inf))]).reshape(128, 32)
    chosen = levels[np.searchsorted(edges, x, side="right")]
    np.testing.assert_array_equal(fitted.fake_quantize(x), chosen)


@every
def test_levels_are_the_values_of_all_codes(form):
    fitted = qe.fit(X, qe.QuantizerSpec(form))
    codes = np.resize(np.arange(form.qmin, form.qmax + 1, dtype=form.dtype), (40, 8, 96))
    values = np.stack([fitted.decode(codes[:, i]) for i in range(8)], axis=1)  # every code in every block
    for row, block in ((0, 0), (7, 2)):
        np.testing.assert_array_equal(
            fitted.levels((row, block)), np.unique(values[row, :, 32 * block : 32 * block + 32])
        )


@every
def test_clipped_is_what_lies_outside_the_outermost_levels_before_and_after_float16_rounds_them(form):
    fitted, x = one_block(form, X[0, :32]), np.resize(X, (128, 32)) * np.float32(1.5)
    d, *m = fitted.learned[0, 0]
    report, levels = fitted.measure(x), np.append(fitted.levels(), form.values().astype(np.float32) * d + sum(m))
    expected = reference.metrics(x, fitted.fake_quantize(x), levels.min(), levels.max())
    assert report.clipped == expected["clipped"] > 0
    assert report.clipping_mse == pytest.approx(expected["clipping_mse"], rel=1e-12)
    assert report.mse == pytest.approx(expected["mse"], rel=1e-12)


@every
@given(x=arrays((2, 64), 100.0), log=st.integers(-4, 4))
def test_a_power_of_two_times_the_values_gives_as_much_times_the_result(form, x, log):
    x[np.abs(x) < 1e-2] = 0.0
    x[:, ::32] = 50.0  # scales and minima of float16's normal numbers
    x[:, 1::32] = -60.0
    spec, factor = qe.QuantizerSpec(form), np.float32(2.0**log)
    np.testing.assert_array_equal(qe.fake_quantize(x * factor, spec), qe.fake_quantize(x, spec) * factor)


@every
@given(x=arrays((1, 32), 1e4), other=arrays((1, 32), 1e4))
def test_a_greater_value_is_given_no_smaller_level(form, x, other):
    fitted = qe.fit(x, qe.QuantizerSpec(form))
    assert (np.diff(fitted.fake_quantize(np.sort(other))) >= 0).all()


@every
def test_parameters_that_are_none_of_such_blocks_are_refused(form):
    spec, shape = qe.QuantizerSpec(form), (40, 3, 1 + form.has_minimum)
    for learned, reason in (
        (None, "learned is nothing"),
        (np.ones((40, 3)), r"learned is of shape \(40, 3\); give shape \(40, 3, "),
        (np.full(shape, 2.0), "scale is not learned"),
        (np.full(shape, np.inf), "beyond float16"),
    ):
        with pytest.raises(qe.QuantError, match=reason):
            qe.Quantizer(spec, np.ones((40, 3)), np.zeros((40, 3), int), learned)


@every
def test_codes_that_are_none_are_refused_by_decode(form):
    with pytest.raises(qe.QuantError, match="not all codes"):
        qe.fit(X, qe.QuantizerSpec(form)).decode(np.full(X.shape, form.qmax + 1))


# --- networks ---------------------------------------------------------------------------------------------------------


def test_plans_with_blocks_are_saved_frozen_and_evaluated(tmp_path):
    network = load("fashion-cnn")
    layers = list(network.layers())
    blocks = qe.PerGroup(32, remainder="short")
    chosen = dict(zip(layers, FORMATS * 2, strict=False))
    plan = qe.QuantizationPlan({layer: qe.LayerPlan(qe.QuantizerSpec(form, blocks)) for layer, form in chosen.items()})
    frozen = network.freeze(plan)
    frozen.save(tmp_path / "plan.json")
    back = qe.QuantizationPlan.load(tmp_path / "plan.json")
    for layer, form in chosen.items():
        np.testing.assert_array_equal(back[layer].weight.learned, frozen[layer].weight.learned)
        assert back[layer].weight.spec.format == form
    assert network.evaluate(back) == network.evaluate(plan)
    assert network.evaluate(plan).value == pytest.approx(network.evaluate().value, abs=0.02)


def test_more_bits_cost_a_network_less_accuracy():
    network = load("fashion-cnn")
    plain = network.predict()

    def changed(name):
        spec = qe.QuantizerSpec(BlockFormat(name), qe.PerGroup(32, remainder="short"))
        plan = qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(spec)))
        return np.count_nonzero(network.predict(plan) != plain)

    assert changed("Q8_0") < changed("Q5_0") < changed("Q4_0")


def test_activations_take_blocks_if_dynamic():
    network = load("fashion-cnn")
    spec = qe.QuantizerSpec(BlockFormat("Q8_0"))
    plan = qe.QuantizationPlan({"fc2": qe.LayerPlan(activation=spec, dynamic=True)})
    assert network.evaluate(plan).value == pytest.approx(network.evaluate().value, abs=0.005)


def test_what_dynamic_blocks_cost_is_measured():
    spec = qe.QuantizerSpec(BlockFormat("Q8_0"), qe.PerGroup(32, remainder="short"))
    layer = qe.LayerPlan(activation=spec, dynamic=True)
    costs = activation_costs(load("fashion-cnn"), qe.QuantizationPlan({"conv1": layer, "fc2": layer}))
    assert costs["conv1"].values == 28 * 28
    assert all(cost.dynamic_seconds > 0 for cost in costs.values())


def test_static_activations_with_blocks_are_refused_with_the_remedy():
    spec = qe.QuantizerSpec(BlockFormat("Q8_0"))
    with pytest.raises(qe.QuantError, match="dynamic=True"):
        BlockObservers(spec, (64,))
    with pytest.raises(qe.QuantError, match=r"layer 'fc2'.*dynamic=True"):
        load("fashion-cnn").freeze(qe.QuantizationPlan({"fc2": qe.LayerPlan(activation=spec)}))
