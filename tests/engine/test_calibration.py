"""Entropy calibration beside onnxruntime's, analytic clipping beside closed forms, and the curve of every method."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.quantization.calibrate import HistogramCollector

import quant_engine as qe
from quant_engine.clipping.analytic import best_clip
from quant_engine.distribution import WeightedValues
from tests import reference
from tests.engine.strategies import clippings

rng = np.random.default_rng(60)
WHOLE_SHARES = math.lcm(*range(1, 18))  # counts that any run of up to 17 bins divides: nothing is left to truncate
TENSORS = {
    "Gaussian": rng.standard_normal(20_000),
    "heavy-tailed": rng.standard_t(4, 20_000),
    "off zero": rng.laplace(0.4, 1.0, 20_000),
    "one-sided": np.maximum(rng.standard_normal(20_000), 0),
    "all negative": -np.abs(rng.standard_normal(5_000)) - 0.1,
    "bimodal": np.where(rng.random(5_000) < 0.3, -2, 1) + 0.1 * rng.standard_normal(5_000),
    "with an outlier of 150 σ": np.append(rng.standard_normal(20_000), 150.0),
    "constant": np.full(50, 0.3),
    "all zero": np.zeros(50),
    "of two values": np.repeat([-1.0, 3.0], [30, 2]),
    "subnormal": rng.standard_normal(500) * 1e-41,
    "one value": np.array([2.5]),
}
METHODS = [
    qe.MinMax(),
    qe.MovingAverage(),
    qe.Percentile(99),
    qe.MinMSE(),
    qe.MinKL(256),
    qe.MinKL(),
    qe.ACIQ("gaussian"),
    qe.ACIQ("laplace"),
    qe.ACIQ("fit"),
    qe.FixedRange(-0.8, 1.9),
    qe.EditedRanges(qe.MinMax(), ((0, -0.8, 1.9),)),
]
FORMATS = [qe.IntFormat(3), qe.IntFormat(4, narrow=True), qe.IntFormat(8), qe.IntFormat(4, signed=False)]
SETTINGS = [(form, symmetric) for form in FORMATS for symmetric in (True, False)]


def each_setting(names=TENSORS):
    """Yield every tensor's name with a format and a symmetry: over three tensors on end, every pair of these."""
    for number, name in enumerate(names):
        for setting in SETTINGS[number % 3 :: 3]:
            yield name, *setting


def weighted(name):
    return WeightedValues.from_array(TENSORS[name].astype(np.float32))


def test_every_method_of_the_table_is_looked_at_here():
    assert {type(method) for method in METHODS} == set(qe.CLIPPINGS.values())


# --- the range of a tensor and of its weighted values -----------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in METHODS if isinstance(m, qe.Percentile | qe.MinKL | qe.ACIQ)], ids=str)
def test_a_tensor_and_its_weighted_values_get_the_same_range(method):
    for name, form, symmetric in each_setting():
        fitted = qe.fit(TENSORS[name].astype(np.float32), qe.QuantizerSpec(form, symmetric=symmetric, clipping=method))
        lo, hi = method.range_of(weighted(name), form, symmetric)
        scale, zero_point = reference.affine_parameters(lo, hi, form.qmin, form.qmax, symmetric)
        case = f"{name}, {form}, {symmetric=}"
        assert fitted.scale.item() == pytest.approx(scale, rel=1e-5, abs=1e-44), case
        assert abs(fitted.zero_point.item() - zero_point) <= (0 if symmetric else 1), case


@pytest.mark.parametrize(
    ("method", "ends"), [(qe.MinMax(), (-2.0, 3.0)), (qe.MovingAverage(), (-2.0, 3.0)), (qe.FixedRange(-1, 2), (-1, 2))]
)
def test_methods_that_look_at_no_distribution_hand_on_two_numbers(method, ends):
    x = np.float32([0.5, -2, 3, 1])
    for form, symmetric in SETTINGS:
        assert method.range_of(WeightedValues.from_array(x), form, symmetric) == ends
        fitted = qe.fit(x, qe.QuantizerSpec(form, symmetric=symmetric, clipping=method))
        expected = reference.affine_parameters(*ends, form.qmin, form.qmax, symmetric)
        assert (fitted.scale.item(), fitted.zero_point.item()) == expected


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30), clippings, st.booleans())
def test_the_range_of_any_values_is_two_finite_numbers_in_order(values, clipping, symmetric):
    for form in FORMATS:
        lo, hi = clipping.range_of(WeightedValues.from_array(np.float32(values)), form, symmetric)
        assert math.isfinite(lo)
        assert lo <= hi


# --- entropy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Gaussian", "heavy-tailed", "off zero", "one-sided", "bimodal"])
@pytest.mark.parametrize(("bins", "levels"), [(512, 128), (512, 32), (513, 32), (300, 50), (64, 7)])
def test_the_threshold_is_that_of_onnxruntime_where_it_truncates_nothing(name, bins, levels):
    x = TENSORS[name].astype(np.float32)
    peak = float(np.abs(x).max())
    counts, edges = np.histogram(x.astype(np.float64), bins, range=(-peak, peak))
    counts = counts * WHOLE_SHARES
    collector = HistogramCollector("entropy", False, bins, levels, 99.99, "same")
    extremes = np.float64(x.min()), np.float64(x.max())
    expected = collector.get_entropy_threshold((counts, edges, *extremes), levels)
    values = WeightedValues.from_array(x)
    values = WeightedValues(values.values, values.counts * WHOLE_SHARES)
    found = qe.MinKL(bins, levels).range_of(values, qe.IntFormat(8), True)
    assert found == pytest.approx([float(end) for end in expected], rel=1e-12)


@pytest.mark.parametrize("name", TENSORS)
def test_the_least_divergence_is_that_of_trying_every_candidate(name):
    for form in (qe.IntFormat(4), qe.IntFormat(4, signed=False)):
        for symmetric in (True, False):
            assert_least_divergence(name, form, symmetric)


def assert_least_divergence(name, form, symmetric):
    x, bins, levels = TENSORS[name].astype(np.float32).astype(np.float64), 200, 16
    low, high = min(x.min(), 0), max(x.max(), 0)
    if symmetric:
        low, high = (-max(-low, high), max(-low, high)) if form.signed else (0.0, high)
    found = qe.MinKL(bins).range_of(weighted(name), form, symmetric)
    kept = x[x > 0] if low == 0 else x[x < 0] if high == 0 else x
    counts, edges = np.histogram(kept, bins, range=(low, high))
    width = (high - low) / bins
    ends, divergences = reference.divergences(counts, min(int(-low / width), bins - 1) if width else 0, levels)
    if not np.isfinite(divergences).any():
        assert found == (x.min(), x.max())
        return
    start, stop = ends[np.argmin(divergences)]
    floor = x.min() if low < 0 else 0.0
    assert found == pytest.approx((max(edges[start], floor), min(edges[stop], x.max())), rel=1e-9)


@pytest.mark.parametrize("bits", [11, 16])
def test_a_histogram_of_no_more_bins_than_codes_leaves_the_extremes(bits):
    values = weighted("heavy-tailed")
    assert qe.MinKL(2048).range_of(values, qe.IntFormat(bits), True) == (values.lo, values.hi)


def test_zeros_after_relu_do_not_move_the_range():
    x = TENSORS["heavy-tailed"].astype(np.float32)
    found = [
        qe.MinKL().range_of(WeightedValues.from_array(part), qe.IntFormat(4), False)
        for part in (x[x > 0], np.maximum(x, 0))
    ]
    assert found[0] == found[1]


def test_a_histogram_with_finer_bins_than_asked_for_gives_nearly_the_tensors_range():
    x = TENSORS["heavy-tailed"].astype(np.float32)
    peak = float(np.abs(x).max())
    counts, edges = np.histogram(x.astype(np.float64), 8 * 333, range=(-peak, peak))
    source = WeightedValues.from_histogram(counts, edges, float(x.min()), float(x.max()))
    found, expected = (
        qe.MinKL(333).range_of(values, qe.IntFormat(4), True) for values in (source, weighted("heavy-tailed"))
    )
    assert found == pytest.approx(expected, abs=2.1 * peak / 333 * 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bins": 1}, "bins=1 must be an integer from 2"),
        ({"bins": 2.0}, "bins=2.0"),
        ({"bins": True}, "bins=True"),
        ({"bins": 1 << 17}, "from 2 to 65,536"),
        ({"quantized_bins": 1}, "quantized_bins=1"),
        ({"bins": 64, "quantized_bins": 65}, "from 2 to 64"),
    ],
)
def test_bins_out_of_range_are_refused(fields, words):
    with pytest.raises(qe.QuantError, match=words):
        qe.MinKL(**fields)


# --- analytic ---------------------------------------------------------------------------------------------------------

DENSITIES = {
    "gaussian": lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "laplace": lambda x: np.exp(-np.abs(x)) / 2,
}


@pytest.mark.parametrize(
    ("kind", "bits", "clip"),
    [("gaussian", 4, 2.559136), ("gaussian", 8, 3.924035), ("laplace", 4, 5.028640), ("laplace", 8, 9.896760)],
)
def test_the_best_clips_are_those_of_the_published_theory(kind, bits, clip):
    assert best_clip(kind, bits) == pytest.approx(clip, abs=1e-6)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("kind", DENSITIES)
def test_the_best_clip_balances_cells_and_tail_at_every_width(kind, bits):
    """The derivative of α²/(3·4^b) + 2 ∫ (x − α)² p, by integration, is nothing there."""
    clip = best_clip(kind, bits)
    tail = reference.integral(lambda x: (x - clip) * DENSITIES[kind](x), clip, clip + 60)
    assert 4 * tail == pytest.approx(2 * clip / (3 * 4**bits), rel=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_gaussian_sample_is_clipped_at_its_standard_deviation_times_the_constant(bits):
    x = reference.gaussian_sample(10_000).astype(np.float32) * np.float32(0.02)
    fitted = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(bits), clipping=qe.ACIQ("gaussian")))
    reach = fitted.scale.item() * fitted.spec.format.qmax
    assert reach == pytest.approx(best_clip("gaussian", bits) * x.astype(np.float64).std(), rel=1e-6)


def test_laplace_clips_at_the_mean_distance_from_the_mean_times_the_constant():
    x = (rng.laplace(0.3, 0.05, 5000)).astype(np.float32).astype(np.float64)
    lo, hi = qe.ACIQ("laplace").range_of(WeightedValues.from_array(x), qe.IntFormat(8), False)
    reach = 9.896760 * np.abs(x - x.mean()).mean()
    assert (lo, hi) == pytest.approx((x.mean() - reach, x.mean() + reach), rel=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", DENSITIES)
def test_one_sided_values_have_all_codes_on_their_side(kind, sign):
    """Half a distribution over 2^b cells is a whole one over 2^(b + 1); zeros, which are exact, change nothing."""
    x = np.abs(rng.standard_normal(5000).astype(np.float32).astype(np.float64))
    scale = math.sqrt(np.square(x).mean()) if kind == "gaussian" else x.mean()
    for values in (x, np.append(x, np.zeros(5000))):
        lo, hi = qe.ACIQ(kind).range_of(WeightedValues.from_array(sign * values), qe.IntFormat(4), False)
        assert (min(sign * lo, sign * hi), max(sign * lo, sign * hi)) == pytest.approx((0, best_clip(kind, 5) * scale))


def test_one_sided_values_under_codes_of_both_signs_have_half_of_them():
    x = np.abs(rng.standard_normal(5000).astype(np.float32).astype(np.float64))
    lo, hi = qe.ACIQ().range_of(WeightedValues.from_array(x), qe.IntFormat(4), True)
    assert -lo == hi == pytest.approx(best_clip("gaussian", 4) * math.sqrt(np.square(x).mean()))


def test_unsigned_symmetric_codes_look_at_positive_values_alone():
    x = rng.standard_normal(5000).astype(np.float32).astype(np.float64)
    side = x[x > 0]
    found = qe.ACIQ().range_of(WeightedValues.from_array(x), qe.IntFormat(4, signed=False), True)
    assert found == pytest.approx((0, best_clip("gaussian", 5) * math.sqrt(np.square(side).mean())))


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("kind", DENSITIES)
def test_fit_takes_the_distribution_the_values_come_from(kind, one_sided):
    x = rng.standard_normal(3000) if kind == "gaussian" else rng.laplace(size=3000)
    values = WeightedValues.from_array(np.float32(np.abs(x) if one_sided else x + 3))
    form = qe.IntFormat(4)
    assert qe.ACIQ("fit").range_of(values, form, False) == qe.ACIQ(kind).range_of(values, form, False)


def test_each_block_is_fitted_by_itself():
    x = np.stack([rng.standard_normal(2000), 5 * rng.laplace(size=2000)]).astype(np.float32)
    fitted = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0), clipping=qe.ACIQ("fit")))
    row = x.astype(np.float64)
    reach = [2.559136 * row[0].std(), 5.028640 * np.abs(row[1] - row[1].mean()).mean()]
    np.testing.assert_allclose(fitted.scale.reshape(-1) * 7, reach, rtol=1e-6)


@pytest.mark.parametrize("value", ["normal", None, "", 1])
def test_an_unknown_distribution_is_refused(value):
    with pytest.raises(qe.QuantError, match="none of gaussian, laplace, fit"):
        qe.ACIQ(value)


@pytest.mark.parametrize("value", [0, -0.1, 1.1])
def test_a_moving_average_without_a_share_of_the_batch_is_refused(value):
    with pytest.raises(qe.QuantError, match=f"constant={value} must be a finite number above 0 and of 1"):
        qe.MovingAverage(value)


# --- least error beside closed forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "clip", "mse"), [(3, 1.95231, 0.0468600), (4, 2.47388, 0.0128894), (8, 3.92050, 0.00008831)]
)
def test_the_least_error_of_a_gaussian_is_where_theory_has_it(bits, clip, mse):
    values = WeightedValues.from_array(reference.gaussian_sample(1_000_000))
    form = qe.IntFormat(bits, narrow=True)
    found = qe.MinMSE().range_of(values, form, True)
    assert found[1] == pytest.approx(clip, rel=0.01)  # the error has next to no slope there
    assert values.range_errors(form, [found]) == pytest.approx(mse, rel=3e-3)


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_the_least_error_of_a_laplacian_is_that_of_its_density(bits):
    strata = (np.arange(200_000) + 0.5) / 200_000
    x = np.where(strata < 0.5, np.log(2 * np.minimum(strata, 0.5)), -np.log(2 * np.minimum(1 - strata, 0.5)))
    values, form = WeightedValues.from_array(np.float32(x)), qe.IntFormat(bits, narrow=True)
    found = qe.MinMSE().range_of(values, form, True)

    def expected(clip):
        step = clip / form.qmax

        def density(t):
            return (np.clip(np.rint(t / step), 0, form.qmax) * step - t) ** 2 * np.exp(-t)

        return reference.integral(density, 0, 40)

    best = min(expected(clip) for clip in np.linspace(0.9, 1.1, 41) * found[1])
    assert expected(found[1]) <= 1.001 * best


# --- curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_what_a_method_minimises_is_least_at_its_range(method):
    for name, form, symmetric in each_setting():
        try:
            assert_least_at_its_range(method, name, form, symmetric)
        except AssertionError as error:
            error.add_note(f"on {name!r} with {form}, {symmetric=}")
            raise


def assert_least_at_its_range(method, name, form, symmetric):
    """No range of a fine grid, both ends moved alike or alone, is better; but for the grain of percentiles and ties."""
    values = weighted(name)
    lo, hi = method.range_of(values, form, symmetric)
    peak = max(-values.lo, values.hi, hi, -lo) or 1.0
    shares = np.linspace(0.01, 1.3, 130)
    grid = np.stack([-peak * shares, peak * shares], axis=1)
    if lo < hi:
        grid = np.concatenate(
            [grid, np.outer(shares, [lo, hi]), [[lo * a, hi] for a in shares], [[lo, hi * a] for a in shares]]
        )
    grid = grid[(np.minimum(grid[:, 0], 0) < np.maximum(grid[:, 1], 0))]
    own = [[lo, hi]] if lo != hi or hi != 0 else [[-peak, peak]]
    curve = method.objective(values, form, symmetric, np.concatenate([own, grid]))
    assert curve.name
    assert curve.values.shape == (1 + len(grid),)
    assert np.isfinite(curve.values[0])
    slack = {qe.Percentile: 4 / values.total, qe.MinMSE: 0.02 * curve.values[0] + 1e-12 * peak**2}.get(
        type(method), 0.0
    )
    assert curve.values[0] <= curve.values[1:].min() * (1 + 1e-9) + slack


def test_curves_are_what_they_say():
    values, form = WeightedValues([-2.0, 1.0, 4.0], [1, 2, 1]), qe.IntFormat(8)
    ranges = [[-3, 3], [-1, 5]]
    assert qe.MinMax().objective(values, form, False, ranges).values.tolist() == [0.25, 0.25]
    assert qe.MinMax().objective(values, form, True, ranges).values.tolist() == [0.25, 0.0]
    assert qe.Percentile(75).objective(values, form, True, ranges).values.tolist() == [0.0, 0.25]
    assert qe.FixedRange(-1, 4).objective(values, form, True, ranges).values.tolist() == [2, 1]
    np.testing.assert_allclose(
        qe.MinMSE().objective(values, form, True, ranges).values, values.range_errors(form, ranges, True)
    )


@pytest.mark.parametrize("kind", DENSITIES)
def test_the_analytic_curve_is_the_integral_of_its_density(kind):
    values = WeightedValues.from_array(np.float32(rng.standard_normal(400) + 0.7))
    x, density = values.values, DENSITIES[kind]
    scale = x.std() if kind == "gaussian" else np.abs(x - x.mean()).mean()
    for lo, hi in ((-1.0, 2.0), (0.9, 1.5), (-9.0, 3.0)):
        below, above = (x.mean() - lo) / scale, (hi - x.mean()) / scale
        tails = sum(reference.integral(lambda t, a=a: (t - a) ** 2 * density(t), a, a + 60) for a in (below, above))
        found = qe.ACIQ(kind).objective(values, qe.IntFormat(4), False, [[lo, hi]]).values[0]
        assert found == pytest.approx(((hi - lo) / 16) ** 2 / 12 + scale**2 * tails, rel=1e-5)
