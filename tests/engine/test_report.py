"""What a reconstruction loses: every metric, the split into rounding and clipping, and what is stored."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from tests import reference
from tests.engine.strategies import arrays, specs


def assert_report(report, x, x_hat, lo, hi):
    expected = reference.metrics(x, x_hat, lo, hi)
    power, kept = (np.square(a, dtype=np.float64).sum() for a in (x, x_hat))
    slack = {
        "sqnr_db": 1e-9,
        "rounding_mse": 1e-12 * expected["mse"],  # the rest of the whole
        "cosine": 1e-15 * (1 + power / kept) if kept else 0.0,  # from Σx², Σxe and Σe²: an x̂ ≪ x costs it digits
    }
    for name, value in expected.items():
        assert getattr(report, name) == pytest.approx(value, rel=1e-9, abs=slack.get(name, 1e-300)), name


@given(arrays(), specs(granularity=st.just(qe.PerTensor())))
def test_the_report_of_the_fused_pass_holds_the_documented_metrics(x, spec):
    fitted = qe.fit(x, spec)
    x_hat, report = fitted.reconstruct(x)
    levels = fitted.levels()
    assert_report(report, x, x_hat, levels[0], levels[-1])
    assert report == fitted.measure(x)


@given(arrays((4, 6)), specs())
def test_each_block_counts_as_clipped_what_lies_outside_its_own_levels(x, spec):
    fitted = qe.fit(x, spec)
    blocks = list(reference.blocks(x, spec.granularity.blocks(x.shape).block))
    outside = [reference.outside(values, *fitted.levels(i)[[0, -1]]) for i, (_, values) in enumerate(blocks)]
    assert fitted.measure(x).clipped == sum(int(mask.sum()) for mask in outside)


REACHING = [
    qe.IntFormat(4),
    qe.IntFormat(8, narrow=True),
    qe.IntFormat(16),
    qe.E4M3,
    qe.E2M1,
    qe.NF4,
    qe.power_of_two(4),
]


def test_min_max_clips_nothing_at_any_scale():
    x = np.random.default_rng(11).standard_normal((40, 49)).astype(np.float32)
    x /= np.abs(x).max()
    for log in range(-30, 31, 3):
        scaled = x * np.float32(10.0**log)
        specs = [qe.QuantizerSpec(form, part) for form in REACHING for part in (qe.PerGroup(7), qe.PerChannel(1))]
        specs += [qe.QuantizerSpec(form, scale_format=qe.E4M3) for form in REACHING]
        specs += [qe.QuantizerSpec(qe.IntFormat(4), rounding="floor"), qe.QuantizerSpec(qe.FP32)]
        specs += [qe.QuantizerSpec(qe.BlockFormat(name)) for name in ("Q4_1", "Q5_1", "Q8_0") if abs(log) <= 3]
        for spec in specs:
            if isinstance(spec.format, qe.BlockFormat):
                scaled = np.ascontiguousarray(scaled[:, :32])
            report = qe.fit(scaled, spec).measure(scaled)
            assert (report.clipped, report.clipping_mse) == (0, 0.0), (spec, log)


def test_min_max_clips_nothing_where_the_zero_point_is_not_rounded():
    x = np.random.default_rng(12).uniform(-1 / 3, 1, (50, 77)).astype(np.float32)
    x[:, 0], x[:, 1] = -1 / 3, 1  # of 15 steps, 3.75 lie below 0: 1/3 of 3, 7, 15, … does, if that is a whole number
    for scale in np.float32(np.logspace(-30, 30, 31)):
        quantizer = qe.fit(x * scale, qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(0), symmetric=False))
        assert (quantizer.zero_point == -64).all()
        levels = quantizer.levels()[[0, -1]]
        assert quantizer.measure(x * scale).clipped == reference.outside(x * scale, *levels).sum()


def test_clipped_are_values_beyond_the_outermost_level_by_more_than_float32_rounds_it():
    fitted = qe.fit([-0.7, 0.3], qe.QuantizerSpec(qe.IntFormat(4), clipping=qe.FixedRange(-0.7, 0.7)))
    level = fitted.levels()[-1]
    for factor, clipped in ((1, 0), (1 + 2.0**-23, 0), (1 + 2.0**-22, 0), (1 + 1e-6, 1), (2, 1)):
        x = np.float32([level * np.float32(factor), 0.1])
        x_hat, report = fitted.reconstruct(x)
        assert report.clipped == qe.measure(x, x_hat, clip=(-level, level)).clipped == clipped, factor
        bounds = np.float32([-level, -level]), np.float32([level, level])
        assert qe.measure(x, x_hat, clip=bounds).clipped == clipped, factor


def test_a_report_shows_what_is_asked_for_first():
    text = repr(qe.measure([0.0, 1.0, 4.0], [0.0, 1.5, 3.0], clip=(0.0, 3.0)))
    assert text == (
        "ErrorReport(count=3, mse=0.4167, sqnr_db=11.34, clipped_share=0.3333, clipping_mse=0.3333, max_abs=1)"
    )


@given(arrays((3, 5)), arrays((3, 5)))
def test_measure_compares_any_two_tensors(x, x_hat):
    assert_report(qe.measure(x, x_hat), x, x_hat, -np.inf, np.inf)


def test_measure_splits_the_error_by_a_range_for_each_channel():
    x, x_hat = np.float32([[-3, 0.4], [3, 9]]), np.float32([[-1, 0], [3, 8]])
    lo, hi = np.float32([[-1], [-9]]), np.float32([[1], [8]])
    report = qe.measure(x, x_hat, clip=(lo, hi))
    assert_report(report, x, x_hat, lo, hi)
    assert report.clipped_share == 0.5


@given(arrays(magnitude=1e6), specs(most_bits=8, clipping=st.just(qe.Percentile(80))))
def test_rounding_and_clipping_add_up(x, spec):
    report = qe.fit(x, spec).measure(x)
    assert report.rounding_mse + report.clipping_mse == pytest.approx(report.mse, rel=1e-12)
    assert min(report.rounding_mse, report.clipping_mse) >= 0.0


def test_nothing_lost_is_an_infinite_ratio_and_a_cosine_of_one():
    report = qe.measure([1.0, -2.0], [1.0, -2.0])
    assert (report.mse, report.sqnr_db, report.cosine, report.max_abs) == (0.0, math.inf, 1.0, 0.0)


def test_noise_without_signal_is_minus_infinite_and_has_no_direction():
    report = qe.measure([0.0, 0.0], [1.0, 0.0])
    assert (report.sqnr_db, report.cosine) == (-math.inf, 0.0)


def test_an_empty_tensor_loses_nothing():
    report = qe.measure(np.empty((0, 3), np.float32), np.empty((0, 3), np.float32))
    assert (report.count, report.mse, report.clipping_mse, report.clipped_share) == (0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [3e38, 1e-40])
def test_no_square_overflows_or_vanishes(value):
    x, x_hat = np.full(5, value, np.float32), np.zeros(5, np.float32)
    assert qe.measure(x, x_hat).rmse == pytest.approx(float(x[0]))


@pytest.mark.parametrize("bits", range(3, 11))
def test_uniform_data_loses_6_02_db_less_for_each_bit(bits):
    x = np.linspace(-1, 1, 400_001, dtype=np.float32)
    report = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(bits), symmetric=False, clipping=qe.FixedRange(-1, 1))).measure(x)
    assert report.sqnr_db == pytest.approx(20 * math.log10(2**bits - 1), abs=0.15)


@pytest.mark.parametrize("bits", [6, 8, 10])
def test_where_rounding_dominates_the_rmse_is_a_step_over_root_12(bits):
    x = reference.gaussian_sample(200_000).astype(np.float32)
    fitted = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(bits)))
    assert fitted.measure(x).rmse / fitted.scale.item() == pytest.approx(1 / math.sqrt(12), rel=0.01)


def test_shapes_that_differ_are_refused_with_both():
    with pytest.raises(qe.QuantError, match=r"\(2, 3\).*\(3, 2\)"):
        qe.measure(np.ones((2, 3)), np.ones((3, 2)))


@pytest.mark.parametrize("clip", [(np.zeros(3), 1.0), (0.0, np.ones((2, 2, 2))), (np.zeros((2, 2, 2)), 5.0)])
def test_a_clip_that_does_not_broadcast_is_refused_with_the_shapes(clip):
    with pytest.raises(qe.QuantError, match=r"clip of shapes .* \(2, 2\)"):
        qe.measure(np.ones((2, 2)), np.ones((2, 2)), clip=clip)


def test_a_clip_that_is_no_range_is_refused_and_infinite_ends_are_taken():
    x = np.float32([-1.0, 0.5, 2.0])
    for clip in ((np.nan, np.nan), (np.nan, 1.0), (2.0, 1.0), (1.0,), 3.0, "ab", (None, 1.0), ("a", "b"), (1j, 2.0)):
        with pytest.raises(qe.QuantError, match="clip"):
            qe.measure(x, x, clip=clip)
    for bad in (np.float32([-1, np.nan, -1]), np.float32([-1, 3, -1])):
        with pytest.raises(qe.QuantError, match="1 ranges that are NaN or have lo > hi"):
            qe.measure(x, x, clip=(bad, 2.5))
    assert qe.measure(x, x, clip=(-np.inf, np.inf)).clipped == 0
    assert qe.measure(x, x, clip=(0, np.inf)).clipped == 1
    assert qe.measure(x, x, clip=(-1e300, 1e300)).clipped == 0


@pytest.mark.parametrize(
    ("x", "x_hat", "name"), [([1.0, np.nan], [1.0, 1.0], "x"), ([1.0, 1.0], [1.0, np.inf], "x_hat")]
)
def test_values_that_are_not_finite_are_refused_by_name(x, x_hat, name):
    with pytest.raises(qe.QuantError, match=rf"^{name} of shape \(2,\).* at \(1,\)"):
        qe.measure(x, x_hat)


def test_an_output_that_does_not_fit_is_refused():
    fitted = qe.fit([1.0, 2.0], qe.QuantizerSpec(qe.IntFormat(4)))
    for out in (np.empty(3, np.float32), np.empty(2, np.float64), np.empty(4, np.float32)[::2]):
        with pytest.raises(qe.QuantError, match=r"shape \(2,\)"):
            fitted.reconstruct([1.0, 2.0], out)


@given(arrays(), specs())
def test_a_given_output_receives_the_values(x, spec):
    fitted = qe.fit(x, spec)
    out = np.full(x.shape, np.nan, np.float32)
    returned, _ = fitted.reconstruct(x, out)
    assert returned is out
    np.testing.assert_array_equal(out, fitted.fake_quantize(x))


@pytest.mark.parametrize(
    ("spec", "shape", "bits"),
    [
        (qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(128), symmetric=False), (64, 256), 4.28125),
        (qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(128)), (64, 256), 4.25),
        (qe.QuantizerSpec(qe.IntFormat(8)), (4, 8), 9.0),
        (qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(0), symmetric=False), (4, 8), 13.0),
        (qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(3, remainder="short")), (2, 8), 4 + 6 * 32 / 16),
        (qe.QuantizerSpec(qe.IntFormat(4)), (), 36.0),
    ],
    ids=str,
)
def test_bits_per_value_counts_codes_scales_and_zero_points(spec, shape, bits):
    assert qe.quantize(np.ones(shape, np.float32), spec).bits_per_value == bits
    assert spec.storage(shape).bits == bits * math.prod(shape)
    assert spec.storage(shape).size_bytes == math.ceil(bits * math.prod(shape) / 8)


def test_an_empty_tensor_stores_its_scale_for_no_value():
    q = qe.quantize(np.empty((0,), np.float32), qe.QuantizerSpec(qe.IntFormat(4)))
    assert q.bits_per_value == math.inf
