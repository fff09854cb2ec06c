"""Lloyd's iteration step by step: error that never rises, fixed points that are optimal for themselves, and starts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.distribution import (
    WeightedValues,
    linear_start,
    lloyd_steps,
    plus_plus_start,
    quantile_codebooks,
    quantile_start,
)
from tests import reference
from tests.engine.strategies import arrays

rng = np.random.default_rng(95)
X = rng.standard_t(3, 5000).astype(np.float32)
apart = st.floats(-2e6, 2e6).map(lambda level: round(level, 6))  # distances to them are exact enough in float64
starts = st.lists(apart, min_size=1, max_size=12).map(sorted)


@given(arrays(magnitude=1e6), starts)
def test_the_error_never_rises_and_is_that_of_the_nearest_centroid(x, start):
    power = float(np.square(x, dtype=np.float64).mean()) + max(abs(start[0]), abs(start[-1])) ** 2
    steps = list(lloyd_steps(x, start))
    direct = [reference.levels_mse(x, step.centroids) for step in steps]
    np.testing.assert_allclose([step.mse for step in steps], direct, rtol=1e-9, atol=1e-14 * power)
    assert all(after <= before + 1e-14 * power for before, after in itertools.pairwise(direct))


@given(arrays(magnitude=1e6), starts)
def test_each_centroid_moves_to_the_mean_of_its_bucket_and_an_empty_one_to_where_it_is_needed(x, start):
    steps = list(lloyd_steps(x, start))
    flat = x.astype(np.float64).reshape(-1)
    for step, following in itertools.pairwise(steps):
        bucket = reference.nearest_levels(flat, step.centroids)
        means = [flat[bucket == k].mean() for k in range(step.centroids.size) if (bucket == k).any()]
        kept = [np.abs(following.centroids - mean).min() <= 1e-9 * np.abs(flat).max() for mean in means]
        replaced = step.centroids.size - len(means)
        assert kept.count(False) <= replaced  # only a bucket that was divided has no centroid at its mean
        assert following.centroids.size == min(step.centroids.size, following.centroids.size)
        assert np.count_nonzero(following.counts) >= min(len(means), np.unique(flat).size)


def test_counts_and_thresholds_are_those_of_codes_that_go_down_on_a_tie():
    x = np.float32([0.0, 0.5, 0.5, 1.0, 3.0])
    first = next(lloyd_steps(x, [0.0, 1.0, 2.0]))
    assert first.thresholds.tolist() == [0.5, 1.5]
    assert first.counts.tolist() == [3, 1, 1]
    codes = qe.Codebook((0.0, 1.0, 2.0)).encode(x)
    assert np.bincount(codes).tolist() == first.counts.tolist()


def test_the_last_step_is_a_fixed_point():
    *_, last = lloyd_steps(X, plus_plus_start(X, 8, np.random.default_rng(0)))
    bucket = reference.nearest_levels(X, last.centroids)
    means = [X[bucket == k].mean(dtype=np.float64) for k in range(8)]
    np.testing.assert_allclose(last.centroids, means, rtol=1e-3)
    assert last.mse >= qe.Distribution(X).error(qe.Distribution(X).lloyd_max(8)) * (1 - 1e-12)


def test_from_the_best_levels_there_is_no_step_to_take():
    best = qe.Distribution(X).lloyd_max(16)
    (only,) = lloyd_steps(X, best)
    assert only.mse == pytest.approx(reference.levels_mse(X, best), rel=1e-9)


def test_lloyd_may_end_above_the_global_optimum():
    x = np.float32([0, 1, 10, 11, 20, 21])
    *_, last = lloyd_steps(x, [0.0, 1.0, 15.5])
    assert last.centroids.tolist() == [0.0, 1.0, 15.5]
    assert last.mse > 10 * reference.levels_mse(x, qe.Distribution(x).lloyd_max(3))


def test_an_empty_bucket_is_filled_from_the_one_with_most_error():
    x = np.float32([0, 1, 10, 11, 20, 21])
    *_, last = lloyd_steps(x, [-50.0, -40.0, 10.0])
    assert last.centroids.tolist() == [0.5, 10.5, 20.5]


def test_centroids_beyond_the_distinct_values_go():
    *_, last = lloyd_steps([2.0, 2.0, 5.0], [0.0, 1.0, 2.0, 3.0])
    assert (last.centroids.tolist(), last.counts.tolist(), last.mse) == ([2.0, 5.0], [2, 1], 0.0)


@pytest.mark.parametrize("k", [2, 5, 16])
def test_a_tensor_its_distribution_and_its_weighted_values_take_the_same_steps(k):
    x = np.round(X, 1)
    start = linear_start(float(x.min()), float(x.max()), k)
    runs = [list(lloyd_steps(source, start)) for source in (x, qe.Distribution(x), WeightedValues.from_array(x))]
    assert len({len(run) for run in runs}) == 1
    for steps in zip(*runs, strict=True):
        for step in steps[1:]:
            np.testing.assert_allclose(step.centroids, steps[0].centroids, rtol=1e-9)
            assert step.counts.tolist() == steps[0].counts.tolist()


@pytest.mark.parametrize("start", [[], [1.0, 0.0], [[0.0]], [np.nan], [0.0, np.inf], 1.0])
def test_a_start_that_is_no_sorted_run_is_refused(start):
    with pytest.raises(qe.QuantError, match="not a sorted, finite"):
        lloyd_steps(X, start)


@given(arrays(magnitude=1e6), st.integers(1, 12), st.integers(0, 9))
def test_plus_plus_draws_distinct_values_of_the_tensor(x, k, seed):
    start = plus_plus_start(x, k, np.random.default_rng(seed))
    assert start.size == min(k, np.unique(x).size)
    assert np.isin(start, x).all()
    assert (np.diff(start) > 0).all()


def test_plus_plus_draws_in_proportion_to_the_squared_distance():
    x = np.float32([0.0] * 1000 + [1.0, 2.0, 4.0])
    draws = np.random.default_rng(1)
    seconds = [start[1] for start in (plus_plus_start(x, 2, draws) for _ in range(3000)) if start[0] == 0.0]
    shares = np.array([seconds.count(value) for value in (1.0, 2.0, 4.0)]) / len(seconds)
    np.testing.assert_allclose(shares, np.array([1, 4, 16]) / 21, atol=5 * math.sqrt(0.25 / len(seconds)))


def test_plus_plus_is_within_its_bound_of_the_optimum():
    best = reference.levels_mse(X, qe.Distribution(X).lloyd_max(8))
    draws = np.random.default_rng(2)
    found = [reference.levels_mse(X, plus_plus_start(X, 8, draws)) for _ in range(40)]
    assert np.mean(found) <= 8 * (math.log(8) + 2) * best  # Arthur and Vassilvitskii, theorem 1.1


def test_linear_and_quantile_starts():
    assert linear_start(-1.0, 3.0, 5).tolist() == [-1, 0, 1, 2, 3]
    assert linear_start(-1.0, 3.0, 1).tolist() == [-1]
    expected = quantile_codebooks(X, np.array([0, X.size]), 6)[0]
    assert quantile_start(X.reshape(50, 100), 6).tolist() == expected.tolist()
    assert quantile_start([1.0, 1.0, 2.0], 6).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("lo", "hi"), [(1.0, 0.0), (np.nan, 1.0), (0.0, np.inf)])
def test_ends_that_are_no_range_are_refused(lo, hi):
    with pytest.raises(qe.QuantError, match=r"give lo ≤ hi|finite number from"):
        linear_start(lo, hi, 4)


def test_starts_refuse_an_empty_tensor_and_a_count_that_is_none():
    empty = np.empty((0, 3), np.float32)
    for start in (lambda x, k: plus_plus_start(x, k, np.random.default_rng(0)), quantile_start):
        with pytest.raises(qe.QuantError, match="at least one"):
            start(empty, 4)
        with pytest.raises(qe.QuantError, match="k=0 must be"):
            start([1.0], 0)
