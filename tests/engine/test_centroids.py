"""Learned codebooks against kmeans1d, all partitions, and the Lloyd–Max quantizer of the Gaussian."""

import itertools
import math

import kmeans1d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.distribution import WeightedValues, indexed, optimal_codebooks, quantile_codebooks
from tests import reference
from tests.engine.strategies import arrays

rng = np.random.default_rng(90)
N = 3000
SAMPLES = {
    "Gaussian": rng.standard_normal(N),
    "heavy-tailed": rng.standard_t(2, N),
    "of few values": rng.integers(-9, 10, N) * 0.25,
    "half zeros": np.maximum(rng.standard_normal(N), 0),
    "with an outlier": np.append(rng.standard_normal(N), 1e4),
    "far from 0": 1000 + rng.standard_normal(N),
    "in two clusters": np.where(rng.random(N) < 0.3, -1.5, 1.0) + 0.01 * rng.standard_normal(N),
    "tiny": rng.standard_normal(N) * 1e-38,
    "large": rng.standard_normal(N) * 1e37,
    "lognormal": np.exp(3 * rng.standard_normal(N)),
    "a grid": np.linspace(-1, 1, N),
    "bfloat16": (rng.standard_normal(N).astype(np.float32).view(np.int32) & ~0xFFFF).view(np.float32),
}
SAMPLES = {name: x.astype(np.float32) for name, x in SAMPLES.items()}
every_sample = pytest.mark.parametrize("name", SAMPLES)
few = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9)
counts = st.integers(1, 10)


def noise(x, weights=1.0):
    """Return what float64 sums of squares cannot tell."""
    x = np.asarray(x, np.float64)
    return 1e-13 * float(np.sum(weights * (x - x.mean()) ** 2)) + 1e-24 * float(np.sum(weights * np.abs(x) ** 2))


def filled(codebook):
    return codebook[~np.isnan(codebook)]


@pytest.mark.choice(4)
@every_sample
@pytest.mark.parametrize("k", [1, 2, 3, 7, 16, 100, 256])
def test_no_other_levels_have_less_error_says_kmeans1d(name, k):
    x = SAMPLES[name].astype(np.float64)
    unit = np.abs(x).max()  # kmeans1d stops at squares that vanish
    _, found = kmeans1d.cluster(x / unit, k)
    best = reference.levels_mse(x / unit, np.unique(found))
    ours = reference.levels_mse(x / unit, qe.Distribution(x).lloyd_max(k) / unit)
    assert ours <= best * (1 + 1e-9) + noise(x / unit) / x.size


@given(few, counts)
def test_no_partition_of_few_values_has_less_error(x, k):
    x = np.float32(x)
    levels = qe.Distribution(x).lloyd_max(k)
    least = reference.min_partition_error(x, np.ones(x.size), k)
    assert reference.weighted_error(x, np.ones(x.size), levels) <= least * (1 + 1e-9) + noise(x)


@given(st.lists(st.tuples(st.integers(-5, 5), st.sampled_from([0.0, 0.5, 1.0, 3.0, 100.0])), min_size=1), counts)
def test_no_partition_of_weighted_values_has_less_error(parts, k):
    x, weights = np.float32(parts[:12]).T
    codebook = optimal_codebooks(x, np.array([0, x.size]), k, weights)
    held = weights if weights.any() else np.ones(x.size)
    found = reference.weighted_error(x, held, filled(codebook[0]))
    assert found <= reference.min_partition_error(x, held, k) * (1 + 1e-6) + 1e-9  # the levels are float32


@given(few, counts)
def test_counted_values_have_the_levels_of_the_repeated_ones(x, k):
    x = np.repeat(np.float32(x), 3)
    levels = WeightedValues.from_array(x).lloyd_max(k)
    least = reference.min_partition_error(x, np.ones(x.size), k)
    assert reference.weighted_error(x, np.ones(x.size), levels) <= least * (1 + 1e-9) + noise(x)


@given(arrays(magnitude=1e30), st.integers(1, 400))
def test_levels_ascend_are_no_more_than_asked_for_and_no_more_than_distinct_values(x, k):
    levels = qe.Distribution(x).lloyd_max(k)
    assert levels.dtype == np.float64
    assert levels.size == min(k, np.unique(x).size)
    assert (np.diff(levels) > 0).all()
    assert x.min() <= levels[0]
    assert levels[-1] <= x.max()


@given(arrays(magnitude=1e30))
def test_as_many_levels_as_distinct_values_are_these_values(x):
    distinct = np.unique(x)
    assert qe.Distribution(x).lloyd_max(distinct.size).tolist() == distinct.tolist()
    assert qe.Distribution(x).lloyd_max(1000).tolist() == distinct.tolist()


def test_one_level_is_the_mean():
    x = SAMPLES["heavy-tailed"].astype(np.float64)
    assert qe.Distribution(x).lloyd_max(1).item() == pytest.approx(math.fsum(x.astype(np.float32)) / x.size, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-45])
@pytest.mark.parametrize("count", [1, 50])
def test_a_constant_has_one_level_itself(value, count):
    x = np.full(count, value, np.float32)
    assert qe.Distribution(x).lloyd_max(4).tolist() == [x[0]]
    assert optimal_codebooks(x, np.array([0, count]), 3)[0, 0] == x[0]


# The table of TRUTH: closed form of the Gaussian (Newton, residual below 5e-14).
GAUSSIAN = {2: 0.3633802, 4: 0.1174818, 8: 0.0345478, 16: 0.0095010, 32: 0.00250467, 256: 0.0000411851}


@pytest.mark.parametrize("k", GAUSSIAN)
def test_the_levels_of_a_finely_divided_gaussian_are_the_lloyd_max_quantizer(k):
    edges = np.linspace(-8, 8, 160_001)
    centres = 0.5 * (edges[1:] + edges[:-1])
    density = np.exp(-0.5 * centres**2)
    levels = WeightedValues(centres, density / density.sum()).lloyd_max(k)
    np.testing.assert_allclose(levels, -levels[::-1], atol=1e-4)
    nearest = levels[np.searchsorted(0.5 * (levels[1:] + levels[:-1]), centres)]
    assert np.dot(density / density.sum(), (centres - nearest) ** 2) == pytest.approx(GAUSSIAN[k], rel=2e-5)
    if k == 8:
        np.testing.assert_allclose(levels[4:], [0.24509, 0.75601, 1.34391, 2.15195], atol=1e-4)  # a step of the density


@pytest.mark.parametrize("k", [2, 4, 8, 16, 32])
def test_a_million_gaussian_quantiles_have_the_lloyd_max_error(k):
    x = reference.gaussian_sample(1_000_000)
    distribution = qe.Distribution(x)
    assert distribution.error(distribution.lloyd_max(k)) == pytest.approx(GAUSSIAN[k], rel=1e-4)


LARGE = 1 << 18
LARGE_SAMPLES = {
    "Gaussian": rng.standard_normal(LARGE),
    "heavy-tailed": rng.standard_t(3, LARGE),
    "Cauchy": rng.standard_cauchy(LARGE),
    "half zeros": np.maximum(rng.standard_normal(LARGE), 0),
    "in two clusters": np.where(rng.random(LARGE) < 0.3, -1.5, 1.0) + 0.01 * rng.standard_normal(LARGE),
    "far from 0": 100 + rng.standard_normal(LARGE),
    "uniform": rng.random(LARGE),
}


@pytest.mark.parametrize("k", [1, 2, 16, 256])
@pytest.mark.parametrize("name", LARGE_SAMPLES)
def test_of_many_values_the_quick_levels_are_within_a_hundred_thousandth_of_the_best(name, k):
    x = LARGE_SAMPLES[name].astype(np.float32)
    best = reference.levels_mse(x, qe.Distribution(x, exact=True).lloyd_max(k))
    assert best * (1 - 1e-12) <= reference.levels_mse(x, qe.Distribution(x).lloyd_max(k)) <= best * (1 + 1e-5)
    weights = np.ones(x.size, np.float32)
    weighted = optimal_codebooks(x, np.array([0, x.size]), k, weights)
    assert reference.levels_mse(x, filled(weighted[0])) <= best * (1 + 1e-5)


@pytest.mark.choice(2)
@pytest.mark.parametrize("name", ["Gaussian", "heavy-tailed", "half zeros", "far from 0"])
def test_a_histogram_gives_levels_within_a_hundred_thousandth_of_the_best(name):
    x = np.resize(LARGE_SAMPLES[name], indexed.SORTED_BELOW + 1)
    x = (x + 1e-3 * np.random.default_rng(91).standard_normal(x.size)).astype(np.float32)
    quick = qe.Distribution(x)
    assert quick._indexed.index.values.size == 0  # it is a histogram
    for k in (4, 256):
        best = reference.levels_mse(x, qe.Distribution(x, exact=True).lloyd_max(k))
        assert reference.levels_mse(x, quick.lloyd_max(k)) <= best * (1 + 1e-5)


def test_every_block_has_its_own_codebook_with_nan_where_it_has_fewer_values():
    blocks = [SAMPLES["Gaussian"][:128], np.float32([2.0, 2.0, -1.0]), np.float32([0.1]), SAMPLES["lognormal"][:50]]
    offsets = np.append(0, np.cumsum([block.size for block in blocks]))
    found = optimal_codebooks(np.concatenate(blocks), offsets, 8)
    assert (found.shape, found.dtype) == ((4, 8), np.float32)
    for block, codebook in zip(blocks, found, strict=True):
        levels = qe.Distribution(block, exact=True).lloyd_max(8).astype(np.float32)
        assert filled(codebook).tolist() == levels.tolist()
        assert np.isnan(codebook[levels.size :]).all()


def test_thousands_of_blocks_on_many_threads_are_those_found_one_at_a_time():
    x = rng.standard_normal((600, 64)).astype(np.float32)
    weights = rng.integers(0, 3, x.shape).astype(np.float32)
    offsets = np.arange(601) * 64
    for find, given_weights in itertools.product((optimal_codebooks, quantile_codebooks), (None, weights)):
        found = find(x.reshape(-1), offsets, 4, None if given_weights is None else weights.reshape(-1))
        for row in range(0, 600, 37):
            alone = find(x[row], np.array([0, 64]), 4, None if given_weights is None else weights[row])
            np.testing.assert_array_equal(found[row], alone[0])


def test_a_block_without_values_has_no_levels():
    found = optimal_codebooks(np.float32([1.0]), np.array([0, 0, 1]), 2)
    np.testing.assert_array_equal(found, np.float32([[np.nan, np.nan], [1.0, np.nan]]))
    assert np.isnan(quantile_codebooks(np.empty(0, np.float32), np.array([0, 0]), 2)).all()


def test_what_has_weight_0_does_not_count_and_a_block_of_such_is_taken_without_weights():
    x, offsets = np.float32([1.0, 2.0, 50.0, 7.0, 9.0]), np.array([0, 3, 5])
    weights = np.float32([1.0, 3.0, 0.0, 0.0, 0.0])
    assert optimal_codebooks(x, offsets, 1, weights).tolist() == [[1.75], [8.0]]
    assert quantile_codebooks(x, offsets, 1, weights).tolist() == [[1.75], [8.0]]


def test_the_weights_and_values_given_stay_as_they_are():
    x, weights = np.float32([3.0, 1.0, 2.0]), np.float32([0.0, 0.0, 0.0])
    for find in (optimal_codebooks, quantile_codebooks):
        find(x, np.array([0, 3]), 2, weights)
    assert (x.tolist(), weights.tolist()) == ([3.0, 1.0, 2.0], [0.0, 0.0, 0.0])


@given(st.lists(st.tuples(st.floats(-100, 100, width=16), st.integers(1, 4)), min_size=1, max_size=30), counts)
def test_quantile_levels_are_the_means_of_equally_filled_parts(parts, k):
    x, weights = np.float32(parts).T
    found = filled(quantile_codebooks(x, np.array([0, x.size]), k, weights)[0])
    expected = reference.quantile_means(x, weights.astype(int), k)
    tolerance = 1e-6 * float(np.abs(x).max()) + 1e-30
    assert (np.abs(found[:, None] - expected).min(axis=1) <= tolerance).all()  # means that meet may be one level or two
    assert (np.abs(expected[:, None] - found).min(axis=1) <= tolerance).all()
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("k", [0, -1, 65_537, 2.0, True, "4"])
def test_a_number_of_levels_that_is_none_is_refused(k):
    for find in (qe.Distribution([1.0]).lloyd_max, WeightedValues([1.0], [1]).lloyd_max):
        with pytest.raises(qe.QuantError, match=r"k=.* must be an integer from 1 to 65,536"):
            find(k)
    for find in (optimal_codebooks, quantile_codebooks):
        with pytest.raises(qe.QuantError, match="must be an integer from 1"):
            find([1.0], np.array([0, 1]), k)


@pytest.mark.parametrize(
    ("values", "weights", "words"),
    [
        ([1.0, np.nan], None, "x of shape .* 1 NaN"),
        ([1.0, 2.0], [1.0, np.inf], "weights of shape .* 1 infinite"),
        ([1.0, 2.0], [1.0, -0.5], "1 weights are negative, the first -0.5"),
        ([1.0, 2.0], [1.0], r"weights of shape \(1,\) for values of shape \(2,\)"),
        ([1, 2], None, "dtype int64"),
    ],
)
def test_values_and_weights_that_cannot_be_learned_from_are_refused(values, weights, words):
    for find in (optimal_codebooks, quantile_codebooks):
        with pytest.raises(qe.QuantError, match=words):
            find(np.array(values), np.array([0, 2]), 2, None if weights is None else np.array(weights))
