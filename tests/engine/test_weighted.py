"""Values with counts answer as the tensor would in which each value stands as often as it counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.distribution import WeightedValues
from tests import reference
from tests.engine.strategies import integer_formats

rng = np.random.default_rng(51)
repeats = st.lists(
    st.tuples(st.floats(-1e6, 1e6, width=32), st.integers(1, 5)),
    min_size=1,
    max_size=40,
    unique_by=lambda part: part[0],
)


def both(parts):
    """Return weighted values, and the tensor they stand for."""
    values, counts = zip(*sorted(parts), strict=True)
    return WeightedValues(values, counts), np.repeat(np.float32(values), counts)


@given(repeats)
def test_moments_are_those_of_the_repeated_values(parts):
    weighted, x = both(parts)
    x = x.astype(np.float64)
    assert (weighted.lo, weighted.hi, weighted.total) == (x.min(), x.max(), x.size)
    assert weighted.mean == pytest.approx(x.mean(), rel=1e-9, abs=1e-9 * float(np.abs(x).max()))
    assert weighted.sigma == pytest.approx(x.std(), rel=1e-9, abs=1e-9 * float(np.abs(x).max()))


@given(repeats, st.floats(0, 100))
def test_percentiles_are_those_of_the_repeated_values(parts, p):
    weighted, x = both(parts)
    slack = 1e-9 * float(np.abs(x).max())
    assert weighted.percentile(p) == pytest.approx(np.percentile(x.astype(np.float64), p), abs=slack)
    assert weighted.magnitudes.percentile(p) == pytest.approx(np.percentile(np.abs(x.astype(np.float64)), p), abs=slack)


@given(repeats, integer_formats(), st.booleans(), st.floats(0.01, 2), st.floats(0.01, 2))
def test_errors_of_ranges_are_those_of_the_repeated_values(parts, form, symmetric, low, high):
    weighted, x = both(parts)
    peak = max(float(np.abs(x).max()), 1e-3)
    ranges = np.array([[-low * peak, high * peak], [-peak, peak]])
    expected = qe.Distribution(x, exact=True).range_errors(form, ranges, symmetric)
    slack = 1e-10 * np.square(x.astype(np.float64)).mean()
    np.testing.assert_allclose(weighted.range_errors(form, ranges, symmetric), expected, rtol=1e-9, atol=slack)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_errors_of_many_values_are_those_of_direct_evaluation(bits):
    values, counts = np.sort(rng.standard_normal(50_000)).astype(np.float32), rng.integers(1, 4, 50_000)
    form = qe.IntFormat(bits)
    expected = reference.even_mse(np.repeat(values, counts), 2.5 / form.qmax, form.qmin, form.qmax)
    found = WeightedValues(values, counts).range_errors(form, [[-2.5, 2.5]])
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_best_range_of_counted_values_has_the_error_of_the_repeated_ones(bits, symmetric):
    values, counts = np.sort(rng.standard_t(4, 3000)).astype(np.float32), rng.integers(1, 9, 3000)
    x, form = np.repeat(values, counts), qe.IntFormat(bits)
    distribution = qe.Distribution(x, exact=True)
    found = distribution.range_errors(form, [WeightedValues(values, counts).best_range(form, symmetric)], symmetric)
    best = distribution.range_errors(form, [distribution.best_range(form, symmetric)], symmetric)
    assert found <= 1.001 * best


def test_a_tensor_becomes_its_distinct_values_with_how_often_they_occur():
    found = WeightedValues.from_array(np.float32([[2, -1], [2, 0], [-0.0, 2]]))
    assert found.values.tolist() == [-1, 0, 2]
    assert found.counts.tolist() == [1, 2, 3]


def test_a_histogram_becomes_bin_centres_without_the_empty_bins():
    found = WeightedValues.from_histogram([2, 0, 5], [0, 1, 2, 4])
    assert (found.values.tolist(), found.counts.tolist()) == ([0.5, 3], [2, 5])


def test_exact_extremes_of_a_histogram_are_one_value_each():
    found = WeightedValues.from_histogram([3, 0, 5], [0, 1, 2, 4], lo=0.25, hi=3.75)
    assert found.values.tolist() == [0.25, 0.5, 3, 3.75]
    assert found.counts.tolist() == [1, 2, 4, 1]
    assert (found.lo, found.hi, found.total) == (0.25, 3.75, 8)


def test_one_value_in_one_bin_stays_one_value():
    found = WeightedValues.from_histogram([1], [0, 1], lo=0.2, hi=0.2)
    assert (found.lo, found.hi, found.total, found.sigma) == (0.2, 0.2, 1, 0)


@pytest.mark.parametrize(
    ("values", "counts", "words"),
    [
        ([], [], "shape"),
        ([1, 2], [1], "shape"),
        ([2, 1], [1, 1], "ascending"),
        ([1, np.nan], [1, 1], "ascending"),
        ([1, 1e39], [1, 1], "float32"),
        ([1, 2], [1, 0], "1 of 2 counts are not positive"),
        ([1, 2], [1, np.inf], "1 of 2 counts"),
    ],
)
def test_what_is_no_run_of_weighted_values_is_refused(values, counts, words):
    with pytest.raises(qe.QuantError, match=words):
        WeightedValues(values, counts)


@pytest.mark.parametrize(
    ("counts", "edges"), [([1], [0]), ([1, 1], [0, 1, 1]), ([0, 0], [0, 1, 2]), ([1, -1], [0, 1, 2])]
)
def test_what_is_no_histogram_is_refused(counts, edges):
    with pytest.raises(qe.QuantError, match=r"histogram"):
        WeightedValues.from_histogram(counts, edges)


def test_an_empty_tensor_and_values_that_are_not_finite_are_refused():
    with pytest.raises(qe.QuantError, match=r"shape \(0, 3\) has no values"):
        WeightedValues.from_array(np.empty((0, 3), np.float32))
    with pytest.raises(qe.QuantError, match="1 NaN"):
        WeightedValues.from_array([1.0, np.nan])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    "clipping", [qe.MinMax(), qe.Percentile(99), qe.FixedRange(-0.5, 2.0)], ids=lambda clipping: type(clipping).__name__
)
def test_a_clipping_method_gives_a_tensor_and_its_weighted_values_one_range(clipping, symmetric):
    x = np.round(rng.standard_normal(5000), 2).astype(np.float32)
    form = qe.IntFormat(8)
    lo, hi = clipping.range_of(WeightedValues.from_array(x), form, symmetric)
    taken = qe.fit(x, qe.QuantizerSpec(form, symmetric=symmetric, clipping=qe.FixedRange(lo, hi)))
    fitted = qe.fit(x, qe.QuantizerSpec(form, symmetric=symmetric, clipping=clipping))
    assert taken.scale.item() == pytest.approx(fitted.scale.item(), rel=2e-6)  # numpy 2.0 interpolates in float32
    assert taken.zero_point.item() == fitted.zero_point.item()


def test_a_range_for_each_block_is_refused_for_one_run_of_values():
    with pytest.raises(qe.QuantError, match="2 values for 1 block"):
        qe.FixedRange((-1, -1), (1, 1)).range_of(WeightedValues([0.0], [1]), qe.IntFormat(4), True)
