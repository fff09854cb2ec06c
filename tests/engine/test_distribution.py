"""Statistics taken once against direct float64 evaluation: errors, surfaces, histograms, and what is refused."""

import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.distribution import indexed
from tests import reference
from tests.engine.strategies import arrays

EPSILON = 1e-15  # of the mean square: what float64 sums of squares can tell
BITS = (2, 3, 4, 6, 8)


def samples(count):
    """Return values of every kind that bins or prefix sums may find hard."""
    rng = np.random.default_rng(50)
    normal = rng.standard_normal(count)
    return {
        "Gaussian": normal,
        "heavy-tailed": rng.standard_t(3, count),
        "with an outlier at 150 σ": np.where(np.arange(count) == count // 2, 150.0, normal),
        "of few values": rng.integers(-20, 21, count) * 0.05,
        "of float16": (normal * 0.05).astype(np.float16),
        "of bfloat16": (normal * 0.05).astype(ml_dtypes.bfloat16),
        "bimodal": np.where(rng.random(count) < 0.3, -1.5, 1.0) + 0.4 * normal,
        "one-sided": np.maximum(normal, 0),
        "all negative": -np.abs(normal) - 0.1,
        "tiny": normal * 1e-40,
        "small": normal * 1e-30,
        "large": normal * 1e30,
        "huge": np.clip(normal * 1e38, -3.3e38, 3.3e38),
    }


SAMPLES = {name: np.asarray(x).astype(np.float32) for name, x in samples(20_000).items()}
every_sample = pytest.mark.parametrize("name", SAMPLES)


def clips_of(x):
    peak = float(np.abs(x).max())
    return np.geomspace(min(float(x.std(dtype=np.float64)), peak / 2), peak * 1.02, 9)


def direct_surface(x, bits, clips):
    return np.array(
        [reference.even_mse(x, clips / (2 ** (b - 1) - 1), 1 - 2 ** (b - 1), 2 ** (b - 1) - 1) for b in bits]
    )


def assert_close(found, expected, x, relative):
    allowed = relative * expected + EPSILON * np.square(x, dtype=np.float64).mean()
    assert (np.abs(found - expected) <= allowed).all(), np.max(np.abs(found - expected) / expected)


@pytest.mark.parametrize("exact", [False, True])
@every_sample
def test_a_small_tensors_symmetric_surface_is_that_of_direct_evaluation(name, exact):
    x, clips = SAMPLES[name], clips_of(SAMPLES[name])
    surface = qe.Distribution(x, exact).error_surface(BITS, clips)
    assert surface.shape == (len(BITS), clips.size)
    assert_close(surface, direct_surface(x, BITS, clips), x, 1e-10)


@every_sample
def test_a_small_tensors_asymmetric_surface_is_that_of_direct_evaluation(name):
    x = SAMPLES[name].astype(np.float64)
    ranges = np.array([(x.min() * a, x.max() * b) for a, b in ((1, 1), (0.5, 0.6), (0.9, 0.1), (0.05, 1.1))])
    ranges = np.sort(ranges, axis=1)
    surface = qe.Distribution(x).error_surface(BITS, ranges)
    for row, bits in zip(surface, BITS, strict=True):
        assert_close(row, reference.offset_mse(x, ranges, 2**bits - 1), x, 1e-10)


@every_sample
def test_the_error_of_any_levels_is_that_of_direct_evaluation(name):
    x = SAMPLES[name]
    scale = float(x.std(dtype=np.float64))
    distribution = qe.Distribution(x)
    for levels in (
        np.quantile(x.astype(np.float64), np.linspace(0.01, 0.99, 16)),
        np.sort(np.random.default_rng(51).standard_normal(101)) * scale,
        [float(x.mean(dtype=np.float64))],
        np.array([-2.0, 0.0, 0.0, 0.0, 0.5]) * scale,
        np.array([3.0, 9.0]) * 10 * scale,
    ):
        assert_close(distribution.error(levels), reference.levels_mse(x, levels), x, 1e-10)


@pytest.fixture(scope="module")
def large_samples():
    """Return samples above the size from which a histogram answers."""
    return {name: np.asarray(x).astype(np.float32) for name, x in samples(indexed.SORTED_BELOW + 1).items()}


@every_sample
def test_a_large_tensors_histogram_is_within_a_millionth_of_the_exact_answer(large_samples, name):
    x, bits = large_samples[name], (2, 4, 8)
    clips = clips_of(x)
    quick, exact = qe.Distribution(x), qe.Distribution(x, exact=True)
    assert quick._indexed.index.values.size == 0  # it is a histogram
    assert_close(quick.error_surface(bits, clips), exact.error_surface(bits, clips), x, 1e-6)
    assert exact.error_surface([8], clips[-1:]) == pytest.approx(direct_surface(x, [8], clips[-1:]), rel=1e-10)


@pytest.mark.parametrize("bits", [9, 11, 12, 16])
@pytest.mark.parametrize("exact", [False, True])
def test_levels_finer_than_the_index_are_answered_by_reading_the_values(bits, exact):
    x = SAMPLES["Gaussian"]
    clips = np.array([1.0, 4.5])
    surface = qe.Distribution(x, exact).error_surface([bits], clips)
    assert_close(surface, direct_surface(x, [bits], clips), x, 1e-10)
    levels = np.linspace(-3, 3, 5000)
    assert_close(qe.Distribution(x, exact).error(levels), reference.levels_mse(x, levels), x, 1e-10)


@given(arrays(magnitude=1e6), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_any_tensor_and_any_levels(x, levels):
    levels = np.sort(levels)
    assert_close(qe.Distribution(x).error(levels), reference.levels_mse(x, levels), x, 1e-10 if x.any() else 1e-9)


@given(arrays(magnitude=1e30))
def test_moments_and_extremes_are_those_of_the_values(x):
    distribution = qe.Distribution(x)
    exact = x.astype(np.float64)
    assert (distribution.lo, distribution.hi, distribution.size) == (x.min(), x.max(), x.size)
    scale = np.abs(exact).max()
    assert distribution.mean == pytest.approx(exact.mean(), abs=1e-14 * scale)
    assert distribution.power == pytest.approx(np.square(exact).mean(), rel=1e-13)
    assert distribution.sigma == pytest.approx(exact.std(), abs=2e-7 * scale)


@given(arrays(magnitude=1e30), st.integers(1, 300))
def test_the_histogram_is_that_of_numpy(x, bins):
    counts, edges = qe.Distribution(x).histogram(bins)
    expected, expected_edges = np.histogram(x.astype(np.float64), bins) if x.min() < x.max() else (None, None)
    if expected is None:  # numpy's bins of half a unit to each side vanish beside large values
        assert counts.sum() == x.size
    else:
        np.testing.assert_array_equal(counts, expected)
        np.testing.assert_array_equal(edges, expected_edges)


@every_sample
def test_the_histogram_of_many_values_is_that_of_numpy(name):
    counts, edges = qe.Distribution(SAMPLES[name]).histogram(257)
    expected, expected_edges = np.histogram(SAMPLES[name].astype(np.float64), 257)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(edges, expected_edges)


@pytest.mark.parametrize("width", range(1, 100))
def test_a_value_on_an_edge_is_counted_as_numpy_counts_it(width):
    x = np.arange(50, dtype=np.float64) * width  # dividing by the width of a bin rounds some of these to either side
    np.testing.assert_array_equal(qe.Distribution(x).histogram(49)[0], np.histogram(x, 49)[0])


def test_a_constant_tensor_has_bins_of_half_a_unit_to_each_side():
    counts, edges = qe.Distribution(np.full(7, 0.25)).histogram(4)
    expected, expected_edges = np.histogram(np.full(7, 0.25), 4)
    assert counts.tolist() == expected.tolist()
    assert edges.tolist() == expected_edges.tolist()


@given(arrays(magnitude=1e30), st.integers(2, 10), st.floats(0.01, 3.0))
def test_the_surface_is_the_error_of_the_quantizer_that_a_spec_gives(x, bits, share):
    peak = float(np.abs(x).max()) or 1.0
    clip = max(peak * share, 1e-30)
    spec = qe.QuantizerSpec(qe.IntFormat(bits, narrow=True), clipping=qe.FixedRange(-clip, clip))
    surface = qe.Distribution(x).error_surface([bits], [clip]).item()
    # the spec rounds its scale and then its levels to float32, which moves a level by up to 2^−23 of the clip
    assert surface**0.5 == pytest.approx(qe.fit(x, spec).measure(x).rmse, rel=1e-9, abs=2.0**-23 * clip)


def test_range_errors_are_those_of_specs_with_fixed_ranges():
    x = SAMPLES["heavy-tailed"]
    ranges = [(-1.0, 2.0), (0.5, 3.0), (-4.0, -1.0)]
    for form in (qe.IntFormat(4), qe.IntFormat(4, signed=False), qe.IntFormat(3, narrow=True)):
        for symmetric in (True, False):
            specs = [qe.QuantizerSpec(form, symmetric=symmetric, clipping=qe.FixedRange(*ends)) for ends in ranges]
            expected = [qe.fit(x, spec).measure(x).mse for spec in specs]
            np.testing.assert_allclose(qe.Distribution(x).range_errors(form, ranges, symmetric), expected, rtol=1e-5)


@pytest.mark.parametrize("x", [np.empty(0, np.float32), np.empty((3, 0, 2))])
def test_an_empty_tensor_is_refused_with_its_shape(x):
    with pytest.raises(qe.QuantError, match=re.escape(f"shape {x.shape}") + ".*at least one"):
        qe.Distribution(x)


@pytest.mark.parametrize("levels", [[], [1.0, 0.0], [[0.0, 1.0]], [0.0, np.nan], [0.0, np.inf], 1.0])
def test_levels_that_are_no_sorted_run_are_refused_with_their_shape(levels):
    with pytest.raises(qe.QuantError, match=r"levels of shape \(.*numpy\.sort"):
        qe.Distribution([1.0]).error(levels)


@pytest.mark.parametrize("bits", [[1], [17], [4, 0], [4.5], ["4"]])
def test_bits_that_no_format_has_are_refused(bits):
    with pytest.raises(qe.QuantError, match=r"each of bits=.*2 to 16"):
        qe.Distribution([1.0]).error_surface(bits, [1.0])


@pytest.mark.parametrize("clips", [[0.0], [-1.0], [np.nan], [1.0, np.inf]])
def test_clips_that_are_no_positive_numbers_are_refused_with_the_first_of_them(clips):
    with pytest.raises(qe.QuantError, match=f"positive and finite.*{clips[-1]:g}"):
        qe.Distribution([1.0]).error_surface([4], clips)


@pytest.mark.parametrize(
    "ranges", [[(1.0, 1.0)], [(2.0, 1.0)], [(0.0, np.nan)], [(-np.inf, 1.0)], [(1.0, 2.0, 3.0)], [[[1.0]]]]
)
def test_ranges_that_are_none_are_refused(ranges):
    with pytest.raises(qe.QuantError, match=r"ranges? |clips have shape"):
        qe.Distribution([1.0]).error_surface([4], ranges)


@pytest.mark.parametrize("bins", [0, -3])
def test_fewer_bins_than_one_are_refused(bins):
    with pytest.raises(qe.QuantError, match=f"bins={bins} must be an integer from 1"):
        qe.Distribution([1.0]).histogram(bins)


def test_levels_far_beyond_the_values_change_nothing():
    d = qe.Distribution([-1.0, 0.5, 2.0])
    assert d.error([-1.0, 0.0, 1e155]) == pytest.approx(4.25 / 3)
    assert d.error([-1e308, -1.0, 0.0, 1e308]) == pytest.approx(4.25 / 3)
    assert d.error([-1e308, 0.25, 5e-324 + 1]) == pytest.approx((1.25**2 + 0.25**2 + 1) / 3)
    assert d.error([1e100]) == pytest.approx(1e200)
    for levels in ([1e155], [-1e308, 1e308], [np.nan], [np.inf], [1.0, 0.0], [], None, "x", [True], [1j], [10**400]):
        with pytest.raises(qe.QuantError, match=r"beyond float64|give"):
            d.error(levels)


@pytest.mark.filterwarnings("error")
def test_clips_and_ranges_of_any_size_have_the_error_they_have():
    x = np.random.default_rng(3).standard_normal(3000).astype(np.float32)
    d, power = qe.Distribution(x), float(np.mean(np.square(x, dtype=np.float64)))
    for far in (5e-324, 1e-320, 1e-100, 1e100, 1e308):
        np.testing.assert_allclose(d.error_surface([2, 8, 16], [far]), power, rtol=1e-9)
        wide = [[-far, far], [0.0, far], [-far, 0.0]]
        np.testing.assert_allclose(d.error_surface([4, 16], wide), power, rtol=1e-9)
        for form in (qe.IntFormat(4), qe.NF4, qe.E4M3):
            np.testing.assert_allclose(d.range_errors(form, [[-far, far]]), power, rtol=1e-9)
    for value in (3e38, -3e38, 1e20, 1e-45):
        counts, edges = qe.Distribution(np.full(7, value, np.float32)).histogram(16)
        assert counts.sum() == 7
        assert (np.diff(edges) > 0).all()
        assert edges[0] <= np.float32(value) <= edges[-1]
