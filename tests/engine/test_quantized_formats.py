"""Floats, fixed point and codebooks in quantizers, plans and networks: scales, clipping, thresholds, accuracy."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.network import load
from quant_engine.observers import BlockObservers
from quant_engine.studies.calibration import outermost_levels
from tests import reference
from tests.engine.strategies import arrays

SCALED = [qe.NF4, qe.E2M1, qe.E2M3, qe.E3M2, qe.E4M3, qe.E5M2, qe.power_of_two(4), qe.Codebook((-1.0, 0.0, 0.3))]
UNSCALED = [qe.FP32, qe.TF32, qe.FP16, qe.BF16, qe.FixedPointFormat(2, 5), qe.FixedPointFormat(3, 4, signed=False)]
GAUSSIAN_ERROR = {"NF4": (qe.NF4, 0.00989932), "E2M1": (qe.E2M1, 0.0126849)}  # closed form, at the best scale

rng = np.random.default_rng(23)
X = rng.standard_normal((8, 96)).astype(np.float32)
scaled = pytest.mark.parametrize("form", SCALED, ids=str)
unscaled = pytest.mark.parametrize("form", UNSCALED, ids=str)


@scaled
def test_the_clipping_value_is_given_the_greatest_magnitude(form):
    fitted = qe.fit(X, qe.QuantizerSpec(form, qe.PerChannel(0)))
    reach = np.abs(X).max(axis=1, keepdims=True).astype(np.float64) / np.abs(form.values()).max()
    np.testing.assert_array_equal(fitted.scale, reach.astype(np.float32))
    assert not fitted.zero_point.any()


@pytest.mark.parametrize(("form", "peer"), [(qe.BF16, ml_dtypes.bfloat16), (qe.FP16, np.float16)], ids=str)
def test_wide_floats_are_casts(form, peer):
    fitted = qe.fit(X, qe.QuantizerSpec(form))
    np.testing.assert_array_equal(fitted.fake_quantize(X), X.astype(peer).astype(np.float32))
    np.testing.assert_array_equal(fitted.encode(X).codes, X.astype(peer).view(np.uint16))


def test_e4m3_codes_are_the_casts_of_the_scaled_values():
    q = qe.quantize(X, qe.QuantizerSpec(qe.E4M3))
    np.testing.assert_array_equal(q.codes, (X / q.scale).astype(ml_dtypes.float8_e4m3fn).view(np.uint8))


@unscaled
def test_values_that_stand_for_themselves_have_scale_one_and_store_none(form):
    fitted = qe.fit(X, qe.QuantizerSpec(form, qe.PerGroup(32)))
    assert (fitted.scale == 1).all()
    assert fitted.storage(X.shape).bits_per_value == form.bits
    large = X * np.float32(1e9)
    assert fitted.measure(large).clipped == np.count_nonzero(np.clip(large, form.lowest, form.highest) != large)


def test_beyond_their_range_quantizers_saturate_where_a_cast_would_overflow():
    x = np.float32([1e5, -1e5, 2.0])
    report = qe.fit(x, qe.QuantizerSpec(qe.FP16)).reconstruct(x)
    assert report[0].tolist() == [65504.0, -65504.0, 2.0]
    assert report[1].clipped == 2


@pytest.mark.parametrize(
    ("form", "size", "bits"), [(qe.NF4, 64, 4.5), (qe.E4M3, 32, 9.0), (qe.Codebook((-1.0, 0.0, 1.0)), 16, 4.0)], ids=str
)
def test_a_fixed_table_costs_nothing_and_a_scale_32_bits(form, size, bits):
    x = np.ones((4, 64), np.float32)
    assert qe.quantize(x, qe.QuantizerSpec(form, qe.PerGroup(size))).bits_per_value == bits


@scaled
@given(x=arrays((3, 5), 1e6), log=st.integers(-6, 6))
def test_a_power_of_two_times_the_values_gives_as_much_times_the_result(form, x, log):
    x[np.abs(x) < 1e-3] = 0.0  # away from where float32 loses bits
    spec, factor = qe.QuantizerSpec(form, qe.PerChannel(0)), np.float32(2.0**log)
    np.testing.assert_array_equal(qe.fake_quantize(x * factor, spec), qe.fake_quantize(x, spec) * factor)


@pytest.mark.parametrize("form", [*SCALED, *UNSCALED[2:]], ids=str)
def test_thresholds_are_the_least_values_that_are_given_each_level(form):
    fitted = qe.fit(X.reshape(-1), qe.QuantizerSpec(form))
    levels, edges = fitted.levels(), fitted.thresholds()
    assert edges.shape == (levels.size - 1,)
    some = rng.integers(0, edges.size, 200)
    np.testing.assert_array_equal(fitted.fake_quantize(edges[some]), levels[1:][some])
    np.testing.assert_array_equal(fitted.fake_quantize(np.nextafter(edges[some], np.float32(-np.inf))), levels[some])


@pytest.mark.parametrize("form", [qe.FP32, qe.TF32, qe.FixedPointFormat(9, 10)], ids=str)
def test_long_lists_of_levels_and_thresholds_are_refused(form):
    fitted = qe.fit(X, qe.QuantizerSpec(form))
    for ask in (fitted.levels, fitted.thresholds):
        with pytest.raises(qe.QuantError, match="16 bits list theirs"):
            ask()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": qe.E8M0}, "neither sign nor 0"),
        ({"rounding": "floor"}, "rounds to nearest"),
        ({"symmetric": False}, "zero point is an integer code"),
        ({"clipping": qe.ACIQ()}, "equal steps"),
        ({"format": qe.BF16, "clipping": qe.MinMSE()}, "stand for themselves"),
        ({"format": qe.FixedPointFormat(2, 5), "symmetric": False}, "symmetric=True"),
        ({"format": "NF4"}, "FloatFormat"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(change, reason):
    with pytest.raises(qe.QuantError, match=reason):
        qe.QuantizerSpec(**{"format": qe.NF4, **change})


def test_fixed_point_rounds_in_every_way():
    spec = qe.QuantizerSpec(qe.FixedPointFormat(2, 1), rounding="floor")
    assert qe.fake_quantize([0.9, -0.1, 9.0], spec).tolist() == [0.5, -0.5, 3.5]


@scaled
def test_codes_that_are_none_are_refused_where_they_would_be_looked_up(form):
    fitted = qe.fit(X, qe.QuantizerSpec(form))
    with pytest.raises(qe.QuantError, match="not all codes"):
        fitted.decode(np.full(X.shape, 256))


@pytest.mark.parametrize("count", [2, 7, 8, 9, 16, 17, 40, 256, 5000])
@pytest.mark.parametrize("law", ["even", "normal", "heavy", "powers", "beside each other"])
def test_codes_of_any_table_are_the_numbers_of_the_nearest_values(law, count):
    draw = np.random.default_rng(count)
    laws = {
        "even": lambda: np.linspace(-1, 1, count),
        "normal": lambda: draw.standard_normal(count),
        "heavy": lambda: draw.standard_cauchy(count) ** 3,
        "powers": lambda: np.ldexp(1.0, draw.integers(-120, 120, count)) * draw.choice([-1, 1], count),
        "beside each other": lambda: (np.arange(count) + 0x3F800000).astype(np.int32).view(np.float32),
    }
    form = qe.Codebook(np.unique(laws[law]().astype(np.float32)))
    values = form.values()
    middle = (0.5 * (values[1:] + values[:-1])).astype(np.float32)
    ends = np.float32([-np.inf, np.inf])
    x = np.concatenate([values, middle, *(np.nextafter(middle, end) for end in ends), [0.0, -0.0, 3e38, -3e38]])
    x = x.astype(np.float32)
    fitted = qe.Quantizer(qe.QuantizerSpec(form), np.ones((1,), np.float32), np.zeros((1,), np.int32))
    places = np.searchsorted(0.5 * (values[1:] + values[:-1]), x.astype(np.float64))
    np.testing.assert_array_equal(fitted.encode(x).codes, places)
    np.testing.assert_array_equal(fitted.fake_quantize(x), values.astype(np.float32)[places])


@pytest.mark.choice(5)
@scaled
@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannel(0), qe.PerGroup(16)], ids=str)
def test_least_mse_is_as_good_as_a_grid_of_a_thousand_scales(form, granularity):
    spec = qe.QuantizerSpec(form, granularity, clipping=qe.MinMSE())
    fitted, total = qe.fit(X, spec), 0.0
    for _, block in reference.blocks(X, granularity.blocks(X.shape).block):
        peak = np.abs(block).max() / np.abs(form.values()).max()
        grid = np.linspace(0, peak, 1001)[1:]
        total += block.size * reference.best_scale_mse(block, form.values(), grid)
    assert fitted.measure(X).mse * X.size <= total * (1.001 if isinstance(granularity, qe.PerTensor) else 1.02)


@pytest.mark.parametrize("name", GAUSSIAN_ERROR)
@pytest.mark.parametrize("rows", [1, 64])  # one large block goes by its histogram, small ones by their sorted values
def test_on_a_gaussian_least_mse_has_the_known_error(name, rows):
    form, mse = GAUSSIAN_ERROR[name]
    x = np.random.default_rng(4).permutation(reference.gaussian_sample(1 << 20)).reshape(rows, -1).astype(np.float32)
    found = qe.fit(x, qe.QuantizerSpec(form, qe.PerChannel(0), clipping=qe.MinMSE())).measure(x).mse
    assert found == pytest.approx(mse, rel=2e-4 if rows == 1 else 1e-2)


@scaled
def test_ranges_of_a_distribution_are_ranges_of_a_spec(form):
    ranges = [[-1.0, 2.0], [-3.0, 0.5]]
    errors = qe.Distribution(X, exact=True).range_errors(form, ranges)
    for error, (lo, hi) in zip(errors, ranges, strict=True):
        fitted = qe.fit(X, qe.QuantizerSpec(form, clipping=qe.FixedRange(lo, hi)))
        assert fitted.measure(X).mse == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("clipping", [qe.MinMSE(), qe.Percentile(99.0), qe.MinMax()], ids=str)
def test_observers_give_formats_about_the_ranges_of_all_values_at_once(clipping):
    spec = qe.QuantizerSpec(qe.E4M3, clipping=clipping)
    seen = BlockObservers(spec, (96,))
    for batch in np.split(X, 4):
        seen.update(batch)
    whole = qe.fit(X, spec)
    assert seen.quantizer().measure(X).mse == pytest.approx(whole.measure(X).mse, rel=0.1)


@pytest.mark.parametrize("form", [*SCALED, *UNSCALED], ids=str)
def test_specs_come_back_from_their_text(form):
    spec = qe.QuantizerSpec(form, qe.PerGroup(32, remainder="short"))
    back = qe.QuantizerSpec.from_json(spec.to_json())
    assert (back, back.key, hash(back)) == (spec, spec.key, hash(spec))


def test_a_plan_of_formats_is_saved_frozen_and_evaluated(tmp_path):
    network = load("fashion-cnn")
    weight = qe.QuantizerSpec(qe.NF4, qe.PerChannel(0))
    plans = qe.LayerPlan(weight, qe.QuantizerSpec(qe.E4M3)), qe.LayerPlan(qe.QuantizerSpec(qe.BF16))
    first, *others = network.layers()
    plan = network.freeze(qe.QuantizationPlan({first: plans[0], **dict.fromkeys(others, plans[1])}))
    plan.save(tmp_path / "plan.json")
    back = qe.QuantizationPlan.load(tmp_path / "plan.json")
    assert back.frozen
    assert network.evaluate(back) == network.evaluate(plan)
    assert back[first].weight.spec == weight
    assert outermost_levels(back[first].activation)[1] == back[first].activation.levels()[-1]


def test_nf4_weights_cost_a_network_less_accuracy_than_int4():
    network = load("fashion-cnn")

    def accuracy(form):
        spec = qe.QuantizerSpec(form, qe.PerChannel(0))
        return network.evaluate(qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(spec)))).value

    plain = network.evaluate().value
    assert accuracy(qe.FP32) == plain
    assert accuracy(qe.E4M3) == pytest.approx(plain, abs=0.01)
    assert plain > accuracy(qe.NF4) > accuracy(qe.IntFormat(3))


def test_dynamic_activations_take_formats():
    network = load("fashion-cnn")
    spec = qe.QuantizerSpec(qe.E4M3)
    plan = qe.QuantizationPlan({"fc2": qe.LayerPlan(activation=spec, dynamic=True)})
    assert network.evaluate(plan).value == pytest.approx(network.evaluate().value, abs=0.01)
    assert dataclasses.replace(spec, granularity=qe.PerSample()).key != spec.key
