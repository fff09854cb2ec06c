"""Vector and product codebooks: what they learn, store, refuse, and how they compare with faiss and with theory."""

import dataclasses

import faiss
import kmeans1d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.kernels import parallel
from quant_engine.network import load
from quant_engine.observers import BlockObservers
from tests import reference
from tests.engine.strategies import arrays

BOUND = 2.0  # bits a value: D(R) = 2^(−2R) of a Gaussian of variance 1

rng = np.random.default_rng(41)
X = rng.standard_normal((96, 24)).astype(np.float32)
HEAVY = rng.standard_t(3, (4096, 16)).astype(np.float32)


def spec_of(form):
    return qe.QuantizerSpec(form)


def mse(x, form):
    return qe.fit(x, spec_of(form)).measure(x).mse


@pytest.mark.parametrize(
    ("form", "codes", "bits"),
    [
        (qe.VectorCodebook(4, 16), (96, 6, 1), 96 * 6 * 4 + 32 * 16 * 4),
        (qe.VectorCodebook(4, 9, stages=3), (96, 6, 3), 96 * 6 * 3 * 4 + 32 * 9 * 4 * 3),
        (qe.ProductCodebook(8, 16, 4), (96, 3, 4), 96 * 3 * 4 * 4 + 32 * 16 * 8),
        (qe.ProductCodebook(8, 3, 2, stages=2), (96, 3, 4), 96 * 3 * 4 * 2 + 32 * 3 * 8 * 2),
        (qe.VectorCodebook(7, 16, remainder="pad"), (96, 4, 1), 96 * 4 * 4 + 32 * 16 * 7),
    ],
    ids=str,
)
def test_indices_and_codebooks_are_all_that_is_stored(form, codes, bits):
    q = qe.quantize(X, spec_of(form))
    assert (q.codes.shape, q.shape) == (codes, X.shape)
    assert q.storage.bits == bits
    assert q.bits_per_value == bits / X.size
    assert q.learned.shape == (form.stages, form.parts, form.codewords, form.dim // form.parts)


@pytest.mark.parametrize("stages", [1, 2])
def test_one_part_is_plain_vector_quantization(stages):
    plain, product = (
        qe.quantize(X, spec_of(form))
        for form in (qe.VectorCodebook(4, 16, stages), qe.ProductCodebook(4, 16, 1, stages))
    )
    np.testing.assert_array_equal(plain.learned, product.learned)
    np.testing.assert_array_equal(plain.codes, product.codes)


def test_as_many_parts_as_values_are_a_scalar_codebook_for_each_component():
    form = qe.ProductCodebook(4, 8, 4)
    fitted = qe.fit(HEAVY, spec_of(form))
    x_hat = fitted.fake_quantize(HEAVY).reshape(-1, 4)
    for component, values in enumerate(HEAVY.reshape(-1, 4).T):
        levels = np.sort(fitted.learned[0, component, :, 0])
        np.testing.assert_array_equal(x_hat[:, component], levels[reference.nearest_levels(values, levels)])
        settled = reference.lloyd(values[:, None], levels[:, None])[:, 0]
        best = reference.levels_mse(values, np.sort(kmeans1d.cluster(values, 8).centroids))
        assert reference.levels_mse(values, levels) == pytest.approx(
            reference.levels_mse(values, np.sort(settled)), rel=0.02
        )
        assert reference.levels_mse(values, levels) <= 1.1 * best  # a local optimum, from starts that lie apart


def test_each_stage_is_learned_on_what_those_before_leave():
    one, two = (qe.fit(X, spec_of(qe.VectorCodebook(4, 16, stages))) for stages in (1, 2))
    np.testing.assert_array_equal(one.learned[0], two.learned[0])
    rest = X - one.fake_quantize(X)
    codes = two.encode(X).codes
    np.testing.assert_array_equal(codes[..., :1], one.encode(X).codes)
    again = dataclasses.replace(two, spec=one.spec, learned=two.learned[1:])
    np.testing.assert_array_equal(codes[..., 1:], again.encode(rest).codes)
    assert two.measure(X).mse < 0.6 * one.measure(X).mse


@pytest.mark.parametrize(("dim", "parts", "bits"), [(8, 1, 8), (4, 1, 8), (16, 4, 4), (2, 2, 4)])
def test_the_error_is_within_one_percent_of_that_of_faiss(dim, parts, bits):
    peer = faiss.ProductQuantizer(dim, parts, bits)
    peer.cp.min_points_per_centroid = 1
    points = np.ascontiguousarray(HEAVY.reshape(-1, dim))
    peer.train(points)
    theirs = np.square(peer.decode(peer.compute_codes(points)) - points, dtype=np.float64).mean()
    assert mse(HEAVY, qe.ProductCodebook(dim, 1 << bits, parts)) <= 1.01 * theirs


def test_a_large_tensor_is_learned_from_some_and_settled_on_all():
    x = np.random.default_rng(2).standard_t(3, (1 << 17, 2)).astype(np.float32)
    peer = faiss.Kmeans(2, 16, niter=40, seed=1, max_points_per_centroid=x.size)
    peer.train(x)
    theirs = reference.square_distances(x[:20_000], peer.centroids).min(axis=1)
    found = qe.fit(x, spec_of(qe.VectorCodebook(2, 16))).learned[0, 0]
    assert reference.square_distances(x[:20_000], found).min(axis=1).sum() <= 1.02 * theirs.sum()


def test_on_a_gaussian_vectors_beat_scalars_at_equal_bits_and_none_beats_the_bound():
    x = np.random.default_rng(3).standard_normal((1 << 14, 8)).astype(np.float32)
    scalar, pairs, fours = (mse(x, qe.VectorCodebook(dim, 1 << int(BOUND * dim))) for dim in (1, 2, 4))
    assert scalar == pytest.approx(0.1174818, rel=0.02)  # Lloyd–Max, 4 levels
    assert scalar > pairs > fours > 2 ** (-2 * BOUND)
    product, residual = mse(x, qe.ProductCodebook(4, 16, 2)), mse(x, qe.VectorCodebook(4, 16, stages=2))
    assert product == pytest.approx(pairs, rel=0.02)  # independent components: parts lose nothing
    assert fours < residual < 1.1 * scalar


def test_few_distinct_vectors_are_the_codewords_and_nothing_is_lost():
    x = np.repeat(np.float32([[1, 2], [3, -4], [0.5, 0.25]]), 50, axis=0)
    fitted = qe.fit(x, spec_of(qe.VectorCodebook(2, 8)))
    found = fitted.learned[0, 0]
    assert {tuple(row) for row in found[:3].tolist()} == {(1, 2), (3, -4), (0.5, 0.25)}
    assert np.isnan(found[3:]).all()
    np.testing.assert_array_equal(fitted.fake_quantize(x), x)
    with pytest.raises(qe.QuantError, match="have not"):
        fitted.decode(np.full((150, 1, 1), 5))


def test_values_that_are_rare_get_their_codeword_though_starts_are_drawn_among_some():
    x = np.zeros((1 << 15, 4), np.float32)
    x[::4096] = np.arange(8)[:, None] + 1
    fitted = qe.fit(x, spec_of(qe.VectorCodebook(4, 16)))
    np.testing.assert_array_equal(fitted.fake_quantize(x), x)
    assert np.isfinite(fitted.learned).all(axis=-1).sum() == 9


@given(arrays((12, 4), 1e38), st.integers(2, 9), st.sampled_from([1, 2, 4]))
def test_no_codeword_is_nearer_than_the_chosen_one_at_any_size(x, codewords, parts):
    fitted = qe.fit(x, spec_of(qe.ProductCodebook(4, codewords, parts)))
    codes = fitted.encode(x).codes.reshape(12, parts)
    for part, values in enumerate(np.split(x, parts, axis=1)):
        held = fitted.learned[0, part]
        held = held[np.isfinite(held).all(axis=1)]
        distances = reference.square_distances(values, held)
        chosen = np.take_along_axis(distances, codes[:, part : part + 1].astype(int), axis=1)[:, 0]
        size = np.square(2.0 * np.abs(x).max(), dtype=np.float64)
        assert (chosen <= distances.min(axis=1) + 1e-6 * size).all()


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("factor", [1.0, 1e-38, 1e30])
def test_where_the_values_lie_does_not_change_what_is_lost(shift, factor):
    x = (X + np.float32(shift)) * np.float32(factor)
    form = qe.VectorCodebook(2, 16)
    assert mse(x, form) / x.astype(np.float64).var() == pytest.approx(mse(X, form) / X.var(), rel=0.05)


def test_ties_go_to_the_first_codeword():
    learned = np.float32([1, -1, 1, -1])[None, None, :, None]
    fitted = qe.Quantizer(spec_of(qe.VectorCodebook(1, 4)), np.ones((1, 1)), np.zeros((1, 1), int), learned)
    assert fitted.encode(np.float32([[0.0, -0.5, 2.0]])).codes.ravel().tolist() == [0, 1, 0]


def test_the_same_seed_learns_the_same_and_any_number_of_threads_does(monkeypatch):
    x = np.random.default_rng(8).standard_normal((600, 2048)).astype(np.float32)
    for form in (qe.VectorCodebook(8, 64, stages=2), qe.ProductCodebook(512, 4, 64)):
        found = {}
        for cores in (1, 3):
            monkeypatch.setattr(parallel, "thread_count", lambda cores=cores: cores)
            monkeypatch.setattr(parallel, "_pools", {})
            q = qe.quantize(x, spec_of(form))
            found[cores] = q.learned.tobytes(), q.codes.tobytes(), q.dequantize().tobytes()
        assert found[1] == found[3]
    other = qe.fit(X, spec_of(qe.VectorCodebook(4, 16)), np.random.default_rng(5))
    assert not np.array_equal(other.learned, qe.fit(X, spec_of(qe.VectorCodebook(4, 16))).learned)


def test_zeros_that_fill_a_row_up_are_no_error_and_not_returned():
    x = X[:, :22]
    fitted = qe.fit(x, spec_of(qe.VectorCodebook(4, 16, remainder="pad")))
    q, (x_hat, report) = fitted.encode(x), fitted.reconstruct(x)
    assert q.shape == x_hat.shape == q.dequantize().shape == (96, 22)
    assert fitted.decode(q.codes).shape == (96, 24)
    np.testing.assert_array_equal(q.dequantize(), x_hat)
    assert report.mse == pytest.approx(np.square(x_hat.astype(np.float64) - x).mean(), rel=1e-12)
    assert (report.count, report.clipped, report.clipping_mse) == (x.size, 0, 0.0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: qe.VectorCodebook(0, 16), "dim=0 .* from 1"),
        (lambda: qe.VectorCodebook(4, 65_537), "codewords=65537 .* from 2 to 65,536"),
        (lambda: qe.VectorCodebook(4, 1), "codewords=1 "),
        (lambda: qe.VectorCodebook(4, 16.0), "codewords=16.0 "),
        (lambda: qe.ProductCodebook(6, 16, 4), "parts=4 does not divide dim=6"),
        (lambda: qe.VectorCodebook(4, 16, stages=0), "stages=0 "),
        (lambda: qe.VectorCodebook(4, 16, remainder="short"), '"refuse" or "pad"'),
    ],
)
def test_numbers_that_make_no_codebook_are_refused(make, reason):
    with pytest.raises(qe.QuantError, match=reason):
        make()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"granularity": qe.PerChannel(0)}, r"use granularity=PerTensor\(\)"),
        ({"symmetric": False}, "use symmetric=True"),
        ({"clipping": qe.MinMSE()}, r"use clipping=MinMax\(\)"),
        ({"scale_format": qe.E8M0}, "use scale_format=None"),
        ({"rounding": "floor"}, "use rounding='nearest'"),
    ],
)
def test_what_codewords_replace_is_refused_with_the_remedy(change, reason):
    with pytest.raises(qe.QuantError, match=reason):
        qe.QuantizerSpec(qe.VectorCodebook(4, 16), **change)


def test_tensors_that_cannot_be_cut_or_learned_from_are_refused():
    spec = spec_of(qe.VectorCodebook(5, 16))
    with pytest.raises(qe.QuantError, match=r'dim=5 does not divide .* \(96, 24\); .* remainder="pad"'):
        qe.fit(X, spec)
    with pytest.raises(qe.QuantError, match=r"shape \(0, 5\) has no values"):
        qe.fit(np.empty((0, 5), np.float32), spec)
    with pytest.raises(qe.QuantError, match=r"importance .* KMeans"):
        qe.fit(X, spec_of(qe.VectorCodebook(4, 16)), importance=X**2)
    bad = X.copy()
    bad[3, 2] = np.nan
    for ask in (
        qe.fit(X, spec_of(qe.VectorCodebook(4, 16))).encode,
        lambda x: qe.fit(x, spec_of(qe.VectorCodebook(4, 2))),
    ):
        with pytest.raises(qe.QuantError, match=r"at \(3, 2\)"):
            ask(bad)
    with pytest.raises(qe.QuantError, match=r"at \(3, 2\)"):
        qe.fit(X, spec_of(qe.VectorCodebook(4, 16))).measure(bad)


def test_work_of_minutes_is_refused_before_it_starts():
    x = np.zeros((4096, 4096), np.float32)
    with pytest.raises(qe.QuantError, match="4,194,304 vectors of 4 values and 65,536 codewords"):
        qe.fit(x, spec_of(qe.VectorCodebook(4, 65_536)))


def test_more_codewords_than_vectors_are_as_many_as_there_are_vectors():
    fitted = qe.fit(X[:2, :8], spec_of(qe.VectorCodebook(4, 65_536)))
    assert np.isfinite(fitted.learned).all(axis=-1).sum() == 4
    assert fitted.measure(X[:2, :8]).mse == 0.0


def test_vectors_have_no_order():
    fitted = qe.fit(X, spec_of(qe.VectorCodebook(4, 16)))
    for ask in (fitted.levels, fitted.thresholds):
        with pytest.raises(qe.QuantError, match=r"read quantizer\.learned"):
            ask()
    for ask in (
        fitted.spec.format.values,
        lambda: fitted.spec.format.highest,
        lambda: fitted.spec.format.symmetric_max,
    ):
        with pytest.raises(qe.QuantError, match="learns its codewords"):
            ask()


def test_arrays_that_are_no_codewords_are_refused():
    fitted = qe.fit(X, spec_of(qe.VectorCodebook(4, 16)))
    holes = fitted.learned.copy()
    holes[0, 0, 3] = np.nan
    for learned, reason in (
        (None, "nothing"),
        (fitted.learned[:, :, :5], r"give shape \(1, 1, 16, 4\)"),
        (holes, "last"),
    ):
        with pytest.raises(qe.QuantError, match=reason):
            qe.Quantizer(fitted.spec, fitted.scale, fitted.zero_point, learned)
    with pytest.raises(qe.QuantError, match="scales of 1"):
        qe.Quantizer(fitted.spec, 2 * fitted.scale, fitted.zero_point, fitted.learned)
    for codes in (np.zeros((96, 6, 2), int), np.full((96, 6, 1), 16)):
        with pytest.raises(qe.QuantError, match="codes"):
            fitted.decode(codes)


def test_activations_take_no_vectors():
    spec = spec_of(qe.VectorCodebook(4, 16))
    for make in (
        lambda: qe.LayerPlan(activation=spec),
        lambda: qe.LayerPlan(activation=qe.fit(X, spec)),
        lambda: BlockObservers(spec, (8,)),
    ):
        with pytest.raises(qe.QuantError, match="vector codebooks are for weights"):
            make()


def test_a_plan_of_vectors_is_saved_frozen_and_evaluated(tmp_path):
    network = load("fashion-cnn")
    forms = [qe.VectorCodebook(4, 64, remainder="pad"), qe.ProductCodebook(8, 64, 4, stages=2, remainder="pad")]
    layers = {layer: qe.LayerPlan(spec_of(forms[i % 2])) for i, layer in enumerate(network.layers())}
    plan = network.freeze(qe.QuantizationPlan(layers))
    plan.save(tmp_path / "plan.json")
    back = qe.QuantizationPlan.load(tmp_path / "plan.json")
    assert back.frozen
    for layer in layers:
        np.testing.assert_array_equal(back[layer].weight.learned, plan[layer].weight.learned)
    found = network.evaluate(back)
    assert found == network.evaluate(plan)
    assert 0.5 < found.value <= network.evaluate().value + 0.01
