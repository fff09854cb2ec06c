"""The best range against grids of 1,000 points, evaluated directly: never more than 0.1 % above the best of them."""

import numpy as np
import pytest

import quant_engine as qe
from tests import reference

SLACK = 1.001
BITS = (2, 3, 4, 6, 7, 8)
CLIPS = np.arange(1, 1001) / 1000


def samples(count, seed):
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(count)
    return {
        "Gaussian": normal,
        "heavy-tailed": rng.standard_t(3, count),
        "after a ReLU": np.maximum(normal, 0),
        "all negative": -np.abs(normal) - 0.1,
        "all positive": 0.3 * normal + 2,
        "with an outlier at 150 σ": np.where(np.arange(count) == 3, 150.0, normal),
        "with a negative outlier": np.where(np.arange(count) == 3, -150.0, normal),
        "of few values": rng.integers(-20, 21, count) * 0.05,
        "bimodal": np.where(rng.random(count) < 0.3, -2, 1) + 0.15 * normal,
        "of float16": (normal * 0.05).astype(np.float16),
    }


CASES = [
    (f"{count} values, {name}", x.astype(np.float32))
    for count, seed in ((40, 59), (50, 84), (50, 2), (200, 3), (1000, 4), (1600, 5))
    for name, x in samples(count, seed).items()
]
every_case = pytest.mark.parametrize("x", [x for _, x in CASES], ids=[name for name, _ in CASES])


def uniform_grid(x, steps, least, greatest):
    """Return the least error of the levels step · k over the steps, a thousand at a time."""
    scaled = x.astype(np.float64) / steps[:, None]
    error = (np.clip(np.rint(scaled), least, greatest) - scaled) * steps[:, None]
    return np.einsum("ij,ij->i", error, error).min() / x.size


def symmetric_grid(x, form):
    return uniform_grid(x, np.abs(x.astype(np.float64)).max() * CLIPS / form.qmax, form.qmin, form.qmax)


def asymmetric_grid(x, span):
    """Return the least error over 31 × 32 ranges and over 1,000 that shrink from both ends in proportion."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    shares = np.linspace(1 / 32, 1, 32)
    ranges = np.array([(low * a, high * b) for a in shares for b in shares[1:]] + [(low * s, high * s) for s in CLIPS])
    steps = (ranges[:, 1] - ranges[:, 0]) / span
    zeros = np.rint(-ranges[:, 0] / steps)[:, None]
    return uniform_grid(x, steps, -zeros, span - zeros)


@pytest.mark.choice(3)
@every_case
def test_the_best_symmetric_range_is_as_good_as_the_best_of_a_thousand(x):
    distribution = qe.Distribution(x)
    for bits in BITS:
        for form in (qe.IntFormat(bits), qe.IntFormat(bits, narrow=True), qe.IntFormat(bits, signed=False)):
            lo, hi = distribution.best_range(form)
            assert lo == (-hi if form.signed else 0.0)
            found = reference.even_mse(x, hi / form.qmax, form.qmin, form.qmax).item()
            assert found <= SLACK * symmetric_grid(x, form), form


@pytest.mark.choice(3)
@every_case
def test_the_best_asymmetric_range_is_as_good_as_the_best_of_a_thousand(x):
    distribution = qe.Distribution(x)
    for bits in BITS:
        span = 2**bits - 1
        lo, hi = distribution.best_range(qe.IntFormat(bits), symmetric=False)
        zero = -lo / (hi - lo) * span
        assert 0.0 <= zero <= span
        assert zero == pytest.approx(round(zero), abs=1e-9)
        assert reference.offset_mse(x, [(lo, hi)], span).item() <= SLACK * asymmetric_grid(x, span), bits


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_formats_finer_than_the_index_are_searched_as_well(bits):
    form = qe.IntFormat(bits)
    for x in (CASES[30][1], CASES[42][1], samples(40_000, 6)["Gaussian"].astype(np.float32)):
        hi = qe.Distribution(x).best_range(form)[1]
        found = reference.even_mse(x, hi / form.qmax, form.qmin, form.qmax).item()
        clips = np.abs(x.astype(np.float64)).max() * CLIPS[500::2]
        assert found <= SLACK * reference.even_mse(x, clips / form.qmax, form.qmin, form.qmax).min()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_tensor_that_is_answered_by_a_histogram_is_searched_as_well(symmetric, exact, monkeypatch):
    monkeypatch.setattr("quant_engine.distribution.indexed.SORTED_BELOW", 1000)
    x = samples(6_000, 7)["heavy-tailed"].astype(np.float32)
    lo, hi = qe.Distribution(x, exact).best_range(qe.IntFormat(4), symmetric)
    if symmetric:
        assert reference.even_mse(x, hi / 7, -8, 7).item() <= SLACK * symmetric_grid(x, qe.IntFormat(4))
    else:
        assert reference.offset_mse(x, [(lo, hi)], 15).item() <= SLACK * asymmetric_grid(x, 15)


@pytest.mark.parametrize("symmetric", [True, False])
def test_values_on_a_lattice_are_found_again_without_error(symmetric):
    codes = np.random.default_rng(8).integers(-7, 8, 3000)
    x = (codes * np.float32(0.037)).astype(np.float32)
    lo, hi = qe.Distribution(x).best_range(qe.IntFormat(4, narrow=True) if symmetric else qe.IntFormat(4), symmetric)
    spec = qe.QuantizerSpec(qe.IntFormat(4), symmetric=symmetric, clipping=qe.FixedRange(lo, hi))
    assert qe.fit(x, spec).measure(x).mse <= 1e-12 * np.mean(np.square(x))


@pytest.mark.parametrize("value", [3.0, -3.0, 1e-40, 3e38])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_constant_is_represented_exactly_enough(value, symmetric):
    x = np.full(10, value, np.float32)
    lo, hi = qe.Distribution(x).best_range(qe.IntFormat(4), symmetric)
    error = reference.even_mse(x, hi / 7, -8, 7) if symmetric else reference.offset_mse(x, [(lo, hi)], 15)
    assert error.item() <= 1e-12 * float(x[0]) ** 2


def test_a_tensor_of_zeros_has_no_range():
    for symmetric in (True, False):
        assert qe.Distribution(np.zeros(5)).best_range(qe.IntFormat(4), symmetric) == (0.0, 0.0)


def test_unsigned_codes_that_no_value_reaches_leave_the_range_of_minmax():
    assert qe.Distribution([-3.0, -1.0]).best_range(qe.IntFormat(4, signed=False)) == (0.0, 3.0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_millions_of_values_are_searched_for_a_fine_format_without_reading_them_for_each_candidate(symmetric):
    x = np.append(np.random.default_rng(5).standard_normal((1 << 22) + 7), 40.0).astype(np.float32)
    form, distribution = qe.IntFormat(12, signed=symmetric), qe.Distribution(x)
    lo, hi = distribution.best_range(form, symmetric)
    grid = np.geomspace(0.7, 1.3, 13)[:, None] * [[lo, hi]]
    own, *others = distribution.range_errors(form, np.concatenate([[[lo, hi]], grid]), symmetric)
    assert own <= 1.001 * min(others)
