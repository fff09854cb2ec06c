"""KMeans and Quantiles in specs, quantizers, plans and networks."""

import dataclasses
import re

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.distribution import optimal_codebooks, quantile_codebooks
from quant_engine.network import load
from quant_engine.observers import BlockObservers
from tests import reference

FORMATS = [qe.KMeans(6), qe.Quantiles(6)]
LEARNERS = {"KMeans": optimal_codebooks, "Quantiles": quantile_codebooks}
every = pytest.mark.parametrize("form", FORMATS, ids=lambda form: type(form).__name__)

rng = np.random.default_rng(97)
X = rng.standard_t(4, (24, 40)).astype(np.float32)


@every
def test_every_block_learns_its_own_codewords(form):
    fitted = qe.fit(X, qe.QuantizerSpec(form, qe.PerChannelGroup(5, remainder="short")))
    assert fitted.learned.shape == (5, 1, 6)
    for block in range(5):
        part = X[5 * block : 5 * block + 5].reshape(-1)
        expected = LEARNERS[type(form).__name__](part, np.array([0, part.size]), 6)[0]
        assert fitted.levels(block).tolist() == fitted.levels((block, 0)).tolist() == expected.tolist()


@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannel(1), qe.PerGroup(20)], ids=str)
def test_k_means_has_the_least_error_of_all_formats_of_as_many_levels(granularity):
    def error(form, **parts):
        return qe.fit(X, qe.QuantizerSpec(form, granularity, **parts)).measure(X).mse

    best = error(qe.KMeans(16))
    others = [qe.IntFormat(4), qe.NF4, qe.E2M1, qe.power_of_two(4)]
    assert all(best < error(form, clipping=qe.MinMSE()) for form in others)
    assert best < error(qe.Quantiles(16))
    assert best < error(qe.IntFormat(4), symmetric=False, clipping=qe.MinMSE())


@every
@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannel(0), qe.PerGroup(1000, 0, "short")], ids=str)
def test_a_tensor_for_several_threads_has_the_codes_of_the_nearest_codewords(form, granularity):
    x = rng.standard_normal((2100, 520)).astype(np.float32)
    spec = qe.QuantizerSpec(form, granularity)
    fitted, grid = qe.fit(x, spec), granularity.blocks(x.shape)
    codes, x_hat = fitted.encode(x).codes, fitted.fake_quantize(x)
    for block in range(0, grid.count, 97):
        part, levels = x[grid.slices(block)], fitted.levels(block)
        expected = reference.nearest_levels(part.reshape(-1), levels).reshape(part.shape)
        np.testing.assert_array_equal(codes[grid.slices(block)], expected)
        np.testing.assert_array_equal(x_hat[grid.slices(block)], levels[expected])
    report = fitted.measure(x)
    assert fitted.reconstruct(x, out=x)[1] == report  # in place
    np.testing.assert_array_equal(x, x_hat)
    np.testing.assert_array_equal(fitted.decode(codes), x_hat)


@every
@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerGroup(16, remainder="short")], ids=str)
def test_four_times_the_values_give_four_times_the_values(form, granularity):
    spec = qe.QuantizerSpec(form, granularity)
    np.testing.assert_array_equal(qe.fake_quantize(4 * X, spec), 4 * qe.fake_quantize(X, spec))


@every
def test_a_value_half_way_goes_down_and_thresholds_say_from_where_it_goes_up(form):
    fitted = qe.fit(np.float32([[0.0, 1.0, 4.0]]), qe.QuantizerSpec(form))
    edges = fitted.thresholds()
    assert edges.tolist() == np.nextafter(np.float32([0.5, 2.5]), np.float32(9)).tolist()
    probes = np.float32([[0.5, edges[0], 2.5, edges[1], -9, 9]])
    assert fitted.encode(probes).codes.tolist() == [[0, 1, 1, 2, 0, 2]]
    assert fitted.measure(probes).clipped == 2


@every
def test_thresholds_are_the_least_values_of_their_levels_even_between_neighbours_of_float32(form):
    near = np.nextafter(np.float32(1), np.float32(2))
    for x in ([1.0, near, 3e38], [-1e-45, 0.0, 1e-45], [-3e38, -2.9e38, 3e38]):
        fitted = qe.fit(np.float32(x), qe.QuantizerSpec(form))
        edges = fitted.thresholds()
        assert fitted.encode(edges).codes.tolist() == [1, 2]
        assert fitted.encode(np.nextafter(edges, np.float32(-np.inf))).codes.tolist() == [0, 1]


@every
def test_fewer_distinct_values_give_as_many_codewords_which_the_quantizer_shows(form):
    x = np.float32([[1, 1, 2, 2], [1, 2, 3, 4]])
    fitted = qe.fit(x, qe.QuantizerSpec(dataclasses.replace(form, levels=4), qe.PerChannel(0)))
    assert [fitted.levels(0).tolist(), fitted.levels(1).tolist()] == [[1, 2], [1, 2, 3, 4]]
    np.testing.assert_array_equal(fitted.learned, np.float32([[[1, 2, np.nan, np.nan]], [[1, 2, 3, 4]]]))
    assert fitted.measure(x).mse == 0.0
    with pytest.raises(qe.QuantError, match="codewords that their blocks"):
        fitted.decode(np.uint8([[0, 1, 1, 2], [0, 1, 2, 3]]))


def test_codebooks_are_counted_whole_at_32_bits_an_entry():
    spec = qe.QuantizerSpec(qe.KMeans(9), qe.PerChannel(0))
    storage = spec.storage((64, 100))
    assert (storage.code_bits, storage.scale_bits, storage.zero_point_bits) == (6400 * 4, 0, 0)
    assert storage.codebook_bits == 64 * 9 * 32
    assert storage.bits_per_value == 4 + 9 * 32 / 100
    x = np.zeros((64, 100), np.float32)  # one distinct value changes nothing
    assert qe.quantize(x, spec).storage == storage
    assert qe.QuantizerSpec(qe.KMeans(16)).storage((1, 4096)).bits_per_value == 4.125


def test_importance_moves_the_codewords_to_where_it_lies():
    x = np.float32([[0, 1, 10, 11]])
    spec = qe.QuantizerSpec(qe.KMeans(2))
    assert qe.fit(x, spec).levels().tolist() == [0.5, 10.5]
    assert qe.fit(x, spec, importance=[1.0, 3.0, 1.0, 0.0]).levels().tolist() == [0.75, 10.0]
    by_input = np.abs(rng.standard_normal(40)).astype(np.float32) ** 3
    wide = qe.QuantizerSpec(qe.KMeans(4), qe.PerChannel(0))

    def weighted_error(fitted):
        return np.sum(by_input * (fitted.fake_quantize(X).astype(np.float64) - X) ** 2)

    heeded, plain = qe.fit(X, wide, importance=by_input), qe.fit(X, wide)
    assert weighted_error(heeded) < weighted_error(plain)
    assert plain.measure(X).mse < heeded.measure(X).mse
    row = reference.min_partition_error(X[3], by_input, 4)
    assert reference.weighted_error(X[3], by_input, heeded.levels(3)) == pytest.approx(row, rel=1e-5)
    grouped = qe.fit(X, qe.QuantizerSpec(qe.KMeans(4), qe.PerGroup(10)), importance=by_input)
    part = X[3, 20:30], by_input[20:30]
    least = reference.min_partition_error(*part, 4)
    assert reference.weighted_error(*part, grouped.levels((3, 2))) == pytest.approx(least, rel=1e-5)


def test_quantiles_heed_importance_as_how_often_a_value_stands():
    x, often = rng.standard_normal(30).astype(np.float32), rng.integers(1, 5, 30)
    spec = qe.QuantizerSpec(qe.Quantiles(7))
    found = qe.fit(x, spec, importance=often.astype(np.float32)).levels()
    np.testing.assert_allclose(found, reference.quantile_means(x, often, 7), rtol=1e-6)


@every
@pytest.mark.parametrize(
    ("importance", "words"),
    [(-1.0, "negative"), (np.nan, "not finite"), (np.ones(7), r"shape \(7,\), which does not spread")],
)
def test_an_importance_that_is_none_is_refused(form, importance, words):
    with pytest.raises(qe.QuantError, match=words):
        qe.fit(X, qe.QuantizerSpec(form), importance=np.asarray(importance, np.float32))


@every
@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"symmetric": False}, "use symmetric=True"),
        ({"clipping": qe.MinMSE()}, "use clipping=MinMax()"),
        ({"clipping": qe.FixedRange(-1, 1)}, "use clipping=MinMax()"),
        ({"scale_format": qe.E8M0}, "use scale_format=None"),
        ({"rounding": "floor"}, "use rounding='nearest'"),
        ({"rounding": "stochastic"}, "use rounding='nearest'"),
    ],
    ids=str,
)
def test_what_codewords_replace_is_refused_with_the_remedy(form, change, remedy):
    with pytest.raises(qe.QuantError, match=re.escape(remedy)):
        qe.QuantizerSpec(form, **change)


@pytest.mark.parametrize("kind", [qe.KMeans, qe.Quantiles])
@pytest.mark.parametrize("levels", [0, 1, 65_537, 4.0, "4", True])
def test_numbers_of_levels_that_make_no_codes_are_refused(kind, levels):
    with pytest.raises(qe.QuantError, match=r"levels=.* must be an integer from 2 to 65,536"):
        kind(levels)


def test_codes_are_as_wide_as_their_numbers_need():
    widths = {levels: qe.KMeans(levels).bits for levels in (2, 3, 4, 5, 16, 17, 256, 257, 65_536)}
    assert widths == {2: 1, 3: 2, 4: 2, 5: 3, 16: 4, 17: 5, 256: 8, 257: 9, 65_536: 16}
    assert qe.KMeans(np.int64(8)) == qe.KMeans(8)


@every
def test_the_format_alone_knows_no_values_and_says_who_does(form):
    asks = [
        form.values,
        lambda: form.encode([0.0]),
        lambda: form.decode([0]),
        lambda: form.lowest,
        lambda: form.symmetric_max,
    ]
    for ask in asks:
        with pytest.raises(qe.QuantError, match=r"fit\(x, spec\).*levels\(block\)"):
            ask()
    assert form.learned
    assert not qe.NF4.learned


@every
@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
def test_no_values_are_refused(form, shape):
    with pytest.raises(qe.QuantError, match=re.escape(f"shape {shape} has no values")):
        qe.fit(np.empty(shape, np.float32), qe.QuantizerSpec(form))


@every
def test_values_that_are_not_finite_are_refused_with_their_place(form):
    bad = X.copy()
    bad[3, 7] = np.nan
    with pytest.raises(qe.QuantError, match=r"1 NaN .* \(3, 7\)"):
        qe.fit(bad, qe.QuantizerSpec(form, qe.PerChannel(1)))
    with pytest.raises(qe.QuantError, match=r"1 NaN .* \(3, 7\)"):
        qe.fit(X, qe.QuantizerSpec(form)).encode(bad)


@every
def test_numbers_that_are_no_codebooks_are_refused(form):
    spec = qe.QuantizerSpec(form)
    one, none, row = np.ones((1, 1), np.float32), np.zeros((1, 1), np.int32), np.float32([[[1, 2, 3, 4, 5, 6]]])
    gap = np.where(row == 3, np.float32(np.nan), row)
    infinite = np.where(row == 6, np.float32(np.inf), row)
    for learned in (None, row[..., :5], row[0], row[..., ::-1], gap, np.full_like(row, np.nan), infinite):
        with pytest.raises(qe.QuantError, match=r"learned is|the codewords of some block"):
            qe.Quantizer(spec, one, none, learned)
    for scale, zero in ((2 * one, none), (one, none + 1)):
        with pytest.raises(qe.QuantError, match="scales of 1 and zero points of 0"):
            qe.Quantizer(spec, scale, zero, row)
    assert qe.Quantizer(spec, one, none, row).levels().tolist() == [1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def network():
    return load("fashion-cnn")


def test_plans_with_codebooks_are_saved_with_them_and_evaluated(network, tmp_path):
    granularities = [qe.PerTensor(), qe.PerChannel(0), qe.PerGroup(64, remainder="short")]
    layers = {
        name: qe.LayerPlan(qe.QuantizerSpec(FORMATS[i % 2], granularities[i % 3]))
        for i, name in enumerate(network.layers())
    }
    frozen = network.freeze(qe.QuantizationPlan(layers))
    frozen.save(tmp_path / "plan.json")
    back = qe.QuantizationPlan.load(tmp_path / "plan.json")
    for name in layers:
        np.testing.assert_array_equal(back[name].weight.learned, frozen[name].weight.learned)
    assert network.evaluate(back).correct == network.evaluate(frozen).correct


def test_sixteen_learned_levels_a_channel_cost_a_network_less_than_a_point(network):
    spec = qe.QuantizerSpec(qe.KMeans(16), qe.PerChannel(0))
    plan = qe.QuantizationPlan({name: qe.LayerPlan(spec) for name in network.layers()})
    assert network.evaluate(plan).value > network.evaluate().value - 0.01


@every
def test_static_activations_learn_from_histograms(form):
    x = np.maximum(rng.standard_normal((400, 3, 8)), 0).astype(np.float32) * np.float32([[[1], [2], [5]]])
    spec = qe.QuantizerSpec(form, qe.PerChannel(1))
    seen = BlockObservers(spec, (3, 8))
    for batch in np.array_split(x, 7):
        seen.update(batch)
    static, whole = seen.quantizer(), qe.fit(x, spec)
    assert static.learned.shape == whole.learned.shape == (1, 3, 1, 6)
    assert static.measure(x).mse == pytest.approx(whole.measure(x).mse, rel=1e-3)


@every
def test_activations_take_codebooks_static_and_dynamic(network, form):
    layer = list(network.layers())[1]
    spec = qe.QuantizerSpec(dataclasses.replace(form, levels=256))
    for dynamic in (False, True):
        plan = qe.QuantizationPlan({layer: qe.LayerPlan(activation=spec, dynamic=dynamic)})
        assert network.evaluate(plan).value > network.evaluate().value - 0.01
