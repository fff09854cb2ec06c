"""Roundings of the spec: numpy's functions, what they cost, and chance that is right on average."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from tests import reference
from tests.engine.strategies import arrays, integer_formats, specs

WHOLE = {"nearest": np.rint, "floor": np.floor, "ceil": np.ceil, "zero": np.trunc}
every_mode = pytest.mark.parametrize("mode", [*WHOLE, "stochastic"])
modes = st.sampled_from([*WHOLE, "stochastic"])
STEP = 0.125


def ruler(mode, **parts):
    """Return a quantizer of 4 bits with a step of 1/8, levels −1 to 0.875."""
    clipping = qe.FixedRange(-0.875, 0.875)
    return qe.fit(np.float32([0]), qe.QuantizerSpec(qe.IntFormat(4), clipping=clipping, rounding=mode, **parts))


@given(arrays(), specs(rounding=st.sampled_from(sorted(WHOLE))))
def test_codes_and_values_are_those_of_numpys_function(x, spec):
    fitted = qe.fit(x, spec)
    block = spec.granularity.blocks(x.shape).block
    scale, zero_point = (reference.spread(a, x.shape, block) for a in (fitted.scale, fitted.zero_point))
    ends = spec.format.qmin, spec.format.qmax
    codes = reference.encode(x, scale, zero_point, *ends, WHOLE[spec.rounding])
    np.testing.assert_array_equal(fitted.encode(x).codes, codes)
    x_hat = reference.decode(codes, scale, zero_point)
    np.testing.assert_array_equal(fitted.fake_quantize(x), x_hat)
    assert fitted.measure(x).mse == pytest.approx(np.square(x_hat.astype(np.float64) - x).mean(), rel=1e-9, abs=1e-300)


@given(arrays(), specs(rounding=modes))
def test_every_way_to_a_value_agrees_and_the_same_seed_gives_the_same_codes(x, spec):
    fitted = qe.fit(x, spec)
    x_hat, report = fitted.reconstruct(x)
    for other in (
        fitted.encode(x).dequantize(),
        fitted.fake_quantize(x, np.random.default_rng(0)),
        qe.fake_quantize(x, spec),
        qe.quantize(x, spec, np.random.default_rng(0)).dequantize(),
    ):
        np.testing.assert_array_equal(other.view(np.int32), x_hat.view(np.int32))
    assert report == fitted.measure(x)


@every_mode
@pytest.mark.parametrize("size", [1, 16, 27, 60, 68, 5000])
def test_the_report_is_the_same_to_the_bit_with_values_and_without(size, mode):
    x = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    fitted = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(4), clipping=qe.Percentile(90), rounding=mode))
    assert fitted.reconstruct(x)[1] == fitted.measure(x)


@every_mode
def test_clipped_is_what_lies_outside_the_outermost_levels(mode):
    report = ruler(mode).measure(np.float32([-1.01, -1, -0.93, 0, 0.875, 0.876, 2]))
    assert report.clipped == 3
    assert report.clipping_mse == pytest.approx((0.01**2 + 0.001**2 + 1.125**2) / 7, rel=1e-4)


def test_rounding_down_costs_four_times_the_error_and_half_a_step_of_bias():
    x = ((np.arange(1 << 16) + 0.5) / (1 << 16) * 14 * STEP - 7 * STEP).astype(np.float32)
    error = {mode: ruler(mode).fake_quantize(x).astype(np.float64) - x for mode in WHOLE}
    assert np.square(error["nearest"]).mean() == pytest.approx(STEP**2 / 12, rel=1e-3)
    assert np.square(error["floor"]).mean() == pytest.approx(4 * STEP**2 / 12, rel=1e-3)
    assert np.square(error["ceil"]).mean() == pytest.approx(4 * STEP**2 / 12, rel=1e-3)
    assert error["floor"].mean() == pytest.approx(-STEP / 2, rel=1e-3)
    assert error["ceil"].mean() == pytest.approx(STEP / 2, rel=1e-3)
    assert (error["zero"] * x <= 0).all()


@pytest.mark.parametrize("value", [-0.9, -0.1, 0.03, 0.5, 0.8])
def test_rounding_at_random_is_right_on_average_and_takes_only_the_two_neighbours(value):
    x = np.full(200_000, value, np.float32)
    x_hat = ruler("stochastic").fake_quantize(x, np.random.default_rng(5))
    assert set(x_hat.tolist()) <= {np.floor(value / STEP) * STEP, np.ceil(value / STEP) * STEP}
    assert x_hat.mean(dtype=np.float64) == pytest.approx(float(x[0]), abs=5 * STEP / 2 / np.sqrt(x.size))


def test_values_on_levels_are_not_left_to_chance():
    fitted = ruler("stochastic")
    np.testing.assert_array_equal(fitted.fake_quantize(fitted.levels()), fitted.levels())


def test_another_generator_draws_other_codes_and_a_generator_goes_on():
    x, fitted, rng = (
        np.random.default_rng(3).random(100).astype(np.float32) / 2,
        ruler("stochastic"),
        np.random.default_rng(1),
    )
    draws = [fitted.encode(x).codes, fitted.encode(x, rng).codes, fitted.encode(x, rng).codes]
    assert len({draw.tobytes() for draw in draws}) == 3


def test_what_is_drawn_does_not_depend_on_how_values_lie_in_blocks():
    x = np.random.default_rng(4).uniform(-0.8, 0.8, (6, 8)).astype(np.float32)
    fixed = qe.FixedRange(-0.875, 0.875)
    found = [
        qe.fake_quantize(x, qe.QuantizerSpec(qe.IntFormat(4), granularity, clipping=fixed, rounding="stochastic"))
        for granularity in (qe.PerTensor(), qe.PerChannel(0), qe.PerChannel(1), qe.PerGroup(2, axis=0))
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@given(st.sampled_from(sorted(WHOLE)), integer_formats(8), st.booleans(), st.floats(1e-30, 1e30), st.floats(-0.9, 0.9))
def test_a_threshold_is_the_least_float32_that_is_given_its_code(mode, form, symmetric, reach, tilt):
    clipping = qe.FixedRange(-reach * (1 - tilt), reach * (1 + tilt))
    fitted = qe.fit(np.float32([0]), qe.QuantizerSpec(form, symmetric=symmetric, clipping=clipping, rounding=mode))
    edges = fitted.thresholds()
    codes = np.arange(form.qmin + 1, form.qmax + 1)
    assert (np.diff(edges) >= 0).all()
    np.testing.assert_array_equal(fitted.encode(edges).codes, codes)
    np.testing.assert_array_equal(fitted.encode(np.nextafter(edges, -np.float32(np.inf))).codes, codes - 1)


def test_the_thresholds_of_each_rounding_stand_where_it_says():
    expected = {"nearest": np.arange(-7.5, 7), "floor": np.arange(-7, 8), "ceil": np.arange(-8, 7)}
    for mode, edges in expected.items():
        np.testing.assert_allclose(ruler(mode).thresholds(), edges * STEP, atol=1e-6)
    both = np.concatenate([np.arange(-8, 0), np.arange(1, 8)])
    np.testing.assert_allclose(ruler("zero").thresholds(), both * STEP, atol=1e-6)


def test_chance_has_no_thresholds():
    with pytest.raises(qe.QuantError, match=r"stochastic.* has no thresholds"):
        ruler("stochastic").thresholds()


@pytest.mark.parametrize("rng", [0, np.random.RandomState(0), "seed"])
@every_mode
def test_what_is_no_generator_is_refused(rng, mode):
    for verb in (ruler(mode).encode, ruler(mode).fake_quantize, ruler(mode).measure):
        with pytest.raises(qe.QuantError, match=r"not a Generator; give numpy.random.default_rng"):
            verb(np.float32([0.1]), rng=rng)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@every_mode
def test_values_that_are_not_finite_are_refused_under_every_rounding(bad, mode):
    for verb in (ruler(mode).encode, ruler(mode).fake_quantize, ruler(mode).measure):
        with pytest.raises(qe.QuantError, match=r"at \(1,\)"):
            verb(np.float32([0.1, bad]))


@pytest.mark.parametrize("mode", ["even", "", None, "Nearest", ["floor"]])
def test_an_unknown_rounding_is_refused(mode):
    with pytest.raises(qe.QuantError, match=r"rounding=.* is none of nearest, floor, ceil, zero, stochastic"):
        qe.QuantizerSpec(qe.IntFormat(4), rounding=mode)


def test_the_key_of_a_spec_that_rounds_to_nearest_does_not_mention_it():
    spec = qe.QuantizerSpec(qe.IntFormat(4))
    assert "rounding" not in spec.key
    down = qe.QuantizerSpec(qe.IntFormat(4), rounding="floor")
    assert down.key == '{"format":{"bits":4,"type":"IntFormat"},"rounding":"floor","schema":1,"type":"QuantizerSpec"}'
    assert qe.QuantizerSpec.from_json(down.key) == down


def test_a_plan_keeps_its_roundings(tmp_path):
    plan = qe.QuantizationPlan({"a": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(4), rounding="stochastic"))})
    plan.save(tmp_path / "plan.json")
    assert qe.QuantizationPlan.load(tmp_path / "plan.json")["a"].weight == plan["a"].weight
