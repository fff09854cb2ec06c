"""GPTQ against optimal brain quantization, one input after another, with the inverse updated by hand."""

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.compensation import gptq, layer_error, reached_weight
from tests import reference

INT3 = qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel(), clipping=qe.MinMSE())


def correlated(rng, inputs, samples=None, rank=None):
    """Return inputs X (in, samples) that depend on each other."""
    rank = rank or inputs
    return rng.standard_normal((inputs, rank)) @ rng.standard_normal((rank, samples or 4 * inputs))


def problem(seed, outputs=12, inputs=40, groups=None):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((outputs, inputs)).astype(np.float32)
    H = [X @ X.T for X in (correlated(rng, inputs) for _ in range(groups or 1))]
    return W, np.array(H) if groups else H[0]


def rounding_of(quantizer):
    """Return what rounds column `j` of all rows, by the engine's quantizer of the whole matrix."""

    def rounded(j, column):
        whole = np.zeros((len(column), 40), np.float32)
        whole[:, j] = column
        return quantizer.fake_quantize(whole)[:, j]

    return rounded


# --- it does what the reference does ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        INT3,
        qe.QuantizerSpec(qe.IntFormat(4)),
        qe.QuantizerSpec(qe.IntFormat(2), qe.PerChannelGroup(4), symmetric=False),
        qe.QuantizerSpec(qe.IntFormat(4, signed=False), qe.PerChannel(), symmetric=False, clipping=qe.Percentile(99)),
        qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(1)),
        qe.QuantizerSpec(qe.E2M1, qe.PerChannel(), clipping=qe.MinMSE()),
        qe.QuantizerSpec(qe.E4M3, qe.PerChannel()),
        qe.QuantizerSpec(qe.NF4, qe.PerChannel()),
        qe.QuantizerSpec(qe.power_of_two(4), qe.PerChannel()),
        qe.QuantizerSpec(qe.FixedPointFormat(3, 2)),
        qe.QuantizerSpec(qe.KMeans(8), qe.PerChannel()),
        qe.QuantizerSpec(qe.Quantiles(8)),
        qe.QuantizerSpec(qe.E2M1, qe.PerGroup(8), scale_format=qe.E4M3),
        qe.QuantizerSpec(qe.IntFormat(4), qe.PerBlock(4, 8), rounding="floor"),
    ],
    ids=lambda spec: f"{type(spec.format).__name__} {type(spec.granularity).__name__}",
)
@pytest.mark.parametrize("act_order", [False, True])
def test_every_scalar_format_is_rounded_as_by_optimal_brain_quantization(spec, act_order):
    W, H = problem(1)
    found = gptq(W, H, spec, act_order=act_order, static_groups=True)
    order = np.argsort(-np.diag(H), kind="stable") if act_order else np.arange(40)
    expected = reference.optimal_brain_quantization(W, H, order, rounding_of(qe.fit(W, spec)))
    np.testing.assert_allclose(found.dequantize(), expected, atol=1e-6)
    assert found.shape == W.shape
    assert found.codes.dtype == spec.format.dtype


def test_losses_pass_from_one_batch_of_columns_to_the_next():
    rng = np.random.default_rng(2)
    W, X = rng.standard_normal((3, 300)).astype(np.float32), correlated(rng, 300)
    quantizer = qe.fit(W, INT3)

    def rounded(j, column):
        return reference.decode(
            reference.encode(column.astype(np.float32), quantizer.scale[:, 0], 0, -4, 3), quantizer.scale[:, 0], 0
        )

    expected = reference.optimal_brain_quantization(W, X @ X.T, np.arange(300), rounded)
    np.testing.assert_allclose(gptq(W, X @ X.T, INT3).dequantize(), expected, atol=1e-5)


@pytest.mark.parametrize("act_order", [False, True])
def test_groups_of_a_convolution_are_layers_of_their_own(act_order):
    W, H = problem(3, outputs=12, inputs=9, groups=4)
    whole = gptq(W, H, INT3, act_order=act_order)
    for group in range(4):
        rows = slice(3 * group, 3 * group + 3)
        alone = gptq(W[rows], H[group], INT3, act_order=act_order)
        np.testing.assert_array_equal(whole.codes[rows], alone.codes)


@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannelGroup(5, remainder="short")])
def test_depthwise_filters_may_share_their_scales(granularity):
    W, H = problem(4, outputs=12, inputs=9, groups=12)
    spec = qe.QuantizerSpec(qe.IntFormat(3), granularity)
    found = gptq(W, H, spec)
    np.testing.assert_array_equal(found.scale, qe.fit(W, spec).scale)
    assert layer_error(W, found.dequantize(), H) < layer_error(W, qe.fake_quantize(W, spec), H)


def test_a_groups_scale_is_found_in_what_its_weights_have_become():
    W, H = problem(5, inputs=16)
    spec = qe.QuantizerSpec(qe.IntFormat(3), qe.PerGroup(8))
    found = gptq(W, H, spec)
    first = reference.optimal_brain_weights(W, H, 8, lambda j, column: found.dequantize()[:, j])
    np.testing.assert_array_equal(found.scale[:, 0], qe.fit(W, spec).scale[:, 0])
    np.testing.assert_allclose(found.scale[:, 1], np.abs(first[:, 8:]).max(axis=1) / 3, rtol=1e-5)
    beforehand = gptq(W, H, spec, static_groups=True)
    np.testing.assert_array_equal(beforehand.scale, qe.fit(W, spec).scale)


def test_groups_longer_and_shorter_than_a_batch_and_cut_short_ones_are_taken_whole():
    rng = np.random.default_rng(6)
    W, X = rng.standard_normal((4, 330)).astype(np.float32), correlated(rng, 330)
    for size in (24, 160):
        spec = qe.QuantizerSpec(qe.IntFormat(3), qe.PerGroup(size, remainder="short"))
        found = gptq(W, X @ X.T, spec)
        last = 330 // size * size
        weights = reference.optimal_brain_weights(W, X @ X.T, last, lambda j, c, found=found: found.dequantize()[:, j])
        np.testing.assert_allclose(found.scale[:, -1], np.abs(weights[:, last:]).max(axis=1) / 3, rtol=1e-4)


# --- what it is for ---------------------------------------------------------------------------------------------------


def test_outputs_lose_less_than_by_rounding_to_nearest_on_99_of_100_correlated_problems():
    ratios = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        inputs, outputs, bits = (int(rng.integers(*ends)) for ends in ((8, 96), (4, 48), (2, 5)))
        W, X = rng.standard_normal((outputs, inputs)), correlated(rng, inputs)
        spec = qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel(), clipping=qe.MinMSE())
        nearest = layer_error(W, qe.fake_quantize(W, spec), X @ X.T)
        ratios.append(layer_error(W, gptq(W, X @ X.T, spec).dequantize(), X @ X.T) / nearest)
    below = np.count_nonzero(np.array(ratios) < 1)
    print(
        f"error over that of rounding to nearest: median {np.median(ratios):.3f}, worst {max(ratios):.3f}, < 1: {below}"
    )
    assert below >= 99
    assert np.median(ratios) < 0.7


def test_inputs_that_do_not_depend_on_each_other_are_rounded_to_nearest():
    W, _ = problem(7)
    H = np.diag(np.random.default_rng(7).uniform(1, 9, 40))
    np.testing.assert_array_equal(gptq(W, H, INT3).codes, qe.quantize(W, INT3).codes)


# --- what may come ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_dead_inputs_are_rounded_to_nearest_and_change_nothing_else(damping):
    rng = np.random.default_rng(8)
    W, X = rng.standard_normal((6, 20)).astype(np.float32), correlated(rng, 20)
    dead = [3, 11]
    X[dead] = 0.0
    found, nearest = gptq(W, X @ X.T, INT3, damping), qe.quantize(W, INT3)
    np.testing.assert_array_equal(found.codes[:, dead], nearest.codes[:, dead])
    assert (found.codes != nearest.codes).any()
    everything = gptq(W, np.zeros((20, 20)), INT3)
    np.testing.assert_array_equal(everything.codes, nearest.codes)


def test_an_h_without_full_rank_needs_damping():
    rng = np.random.default_rng(9)
    W, X = rng.standard_normal((6, 20)), correlated(rng, 20, rank=5)
    assert layer_error(W, gptq(W, X @ X.T, INT3).dequantize(), X @ X.T) < 0.5 * layer_error(
        W, qe.fake_quantize(W, INT3), X @ X.T
    )
    with pytest.raises(qe.QuantError, match=r"not positive definite with damping=0.*larger damping"):
        gptq(W, X @ X.T, INT3, damping=0.0)


@pytest.mark.parametrize(
    ("W", "H", "spec", "said"),
    [
        (np.full((2, 3), np.nan), np.eye(3), INT3, "W of shape .2, 3. has 6 NaN"),
        (np.ones((2, 3)), np.full((3, 3), np.inf), INT3, "H of shape .3, 3. has 0 NaN and 9 infinite"),
        (np.ones((2, 3, 3)), np.eye(3), INT3, "give a matrix .out, in.: W.reshape"),
        (np.ones((2, 3)), np.eye(4), INT3, "H has shape .4, 4. for W of shape .2, 3.; give a last axis of 3"),
        (np.ones((2, 3)), np.ones((3, 4, 3)), INT3, "as many groups as divide the 2 outputs"),
        (np.ones((2, 3)), np.ones((4, 3)), INT3, "H of shape .4, 3. is not symmetric"),
        (np.ones((2, 2)), np.array([[1.0, 0.5], [0.0, 1.0]]), INT3, "is not symmetric; give X @ X.T"),
        (np.ones((2, 2)), -np.eye(2), INT3, "not positive definite"),
        (np.ones((2, 4)), np.eye(4), qe.QuantizerSpec(qe.VectorCodebook(2, 2)), "codes several values together"),
        (np.ones((2, 32)), np.eye(32), qe.QuantizerSpec(qe.BlockFormat("Q4_0")), "use a scalar format"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(W, H, spec, said):
    with pytest.raises(qe.QuantError, match=said):
        gptq(W, H, spec)


def test_damping_that_is_none_is_refused():
    with pytest.raises(qe.QuantError, match="damping=-1 must be a finite number of 0 or more"):
        gptq(np.ones((2, 3)), np.eye(3), INT3, damping=-1)


def test_nothing_is_quantized_to_nothing():
    assert gptq(np.ones((0, 3), np.float32), np.eye(3), INT3).shape == (0, 3)


def test_what_is_given_stays_as_it_was_and_the_same_comes_out_again():
    W, H = problem(10)
    given = W.copy(), H.copy()
    spec = qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel(), rounding="stochastic")
    first, second = gptq(W, H, spec), gptq(W, H, spec)
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(W, given[0])
    np.testing.assert_array_equal(H, given[1])


# --- other inputs than before -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 3])
def test_the_reached_weight_is_the_ridge_regression_of_the_outputs(groups):
    """By least squares on inputs with √λ·I beneath them, group by group."""
    rng = np.random.default_rng(11)
    W = rng.standard_normal((6, 5)).astype(np.float32)
    X = rng.standard_normal((groups, 5, 40))
    X_hat = np.round(X + 0.3 * rng.standard_normal(X.shape))
    H, cross = X_hat @ X_hat.transpose(0, 2, 1), X @ X_hat.transpose(0, 2, 1)
    found = reached_weight(W, cross if groups > 1 else cross[0], H if groups > 1 else H[0], damping=0.1)
    for group, rows in enumerate(np.split(np.arange(6), groups)):
        pull = np.sqrt(0.1 * np.mean(np.diag(H[group]))) * np.eye(5)
        inputs = np.vstack([X_hat[group].T, pull])
        wanted = np.vstack([(W[rows] @ X[group]).T, pull @ W[rows].T])
        np.testing.assert_allclose(found[rows], np.linalg.lstsq(inputs, wanted)[0].T, rtol=1e-4, atol=1e-5)


def test_inputs_that_stay_as_they_were_leave_the_weight_and_dead_ones_too():
    W, H = problem(12)
    H[3] = H[:, 3] = 0
    np.testing.assert_allclose(reached_weight(W, H, H), W, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reached_weight(W, 0 * H, 0 * H), W, rtol=1e-6)


@pytest.mark.parametrize(
    ("cross", "damping", "said"),
    [
        (np.ones((2, 3, 3)), 0.01, "cross has shape .2, 3, 3. and H .3, 3."),
        (np.eye(3), 0.0, "damping=0.0 must be a finite"),
    ],
)
def test_a_weight_that_cannot_be_reached_for_is_refused(cross, damping, said):
    with pytest.raises(qe.QuantError, match=said):
        reached_weight(np.ones((2, 3)), cross, np.eye(3), damping)


# --- units ------------------------------------------------------------------------------------------------------------


def test_codes_depend_on_no_unit_with_dead_inputs_too():
    rng = np.random.default_rng(13)
    W, X = rng.standard_normal((6, 16)).astype(np.float32), correlated(rng, 16, 200)
    X[3] = 0.0
    found, reached = gptq(W, X @ X.T, INT3), reached_weight(W, 0.9 * X @ X.T, X @ X.T)
    for power in (-160, -40, -20, 20, 40, 160):  # 1e-48 to 1e48
        H = np.ldexp(X, power) @ np.ldexp(X, power).T
        for act_order in (False, True):
            np.testing.assert_array_equal(
                gptq(W, H, INT3, act_order=act_order).codes, gptq(W, X @ X.T, INT3, act_order=act_order).codes
            )
        np.testing.assert_array_equal(reached_weight(W, 0.9 * H, H), reached)
        scaled = np.ldexp(W, max(min(power, 100), -100))
        np.testing.assert_array_equal(gptq(scaled, X @ X.T, INT3).codes, found.codes)
    for unit in (1e-12, 1e-9, 1e12):
        np.testing.assert_array_equal(gptq(W, (unit * X) @ (unit * X).T, INT3).codes, found.codes)


def test_inputs_may_have_units_of_their_own_without_damping():
    W, _ = problem(14, inputs=3)
    plain = qe.quantize(W, INT3).codes
    for diagonal in ([1e18, 1e18, 0.0], [1e18, 1e18, 1.0], [1e-18, 1.0, 1e18]):
        np.testing.assert_array_equal(gptq(W, np.diag(diagonal), INT3, damping=0.0).codes, plain)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gptq(np.ones((2, 3)), np.eye(3), INT3, damping="0.01"), "damping='0.01' must be a finite number"),
        (lambda: gptq(np.ones((2, 3)), np.eye(3), INT3, damping=np.nan), "damping=nan must be"),
        (lambda: gptq(np.ones((2, 3)), np.eye(3), INT3, act_order=1), "act_order=1 must be True or False"),
        (lambda: gptq(np.ones((2, 3)), np.eye(3), qe.IntFormat(4)), "give a QuantizerSpec"),
        (lambda: gptq(np.ones((2, 3)), None, INT3), "H of dtype object"),
        (lambda: gptq(np.ones((2, 3)), [[1.0], [1.0, 2.0]], INT3), "H is not a rectangular array"),
        (lambda: layer_error(np.ones((2, 3)), np.ones((1, 3)), np.eye(3)), "W has shape .2, 3. and W_hat .1, 3."),
        (lambda: layer_error(np.full((2, 3), 1e30), -np.ones((2, 3)), 1e300 * np.eye(3)), "beyond float64; scale"),
        (lambda: reached_weight(np.ones((2, 3)), 1e60 * np.eye(3), np.eye(3)), "6 values beyond float32's largest"),
        (lambda: reached_weight(np.ones((2, 3)), np.eye(3), np.ones((3, 3)), 1e-300), "singular with damping=1e-300"),
    ],
)
def test_no_argument_is_taken_that_means_nothing(call, said):
    with pytest.raises(qe.QuantError, match=said):
        call()


def test_a_layer_without_outputs_or_inputs_has_no_error():
    for shape in ((0, 3), (3, 0)):
        empty, H = np.ones(shape, np.float32), np.eye(shape[1])
        assert layer_error(empty, empty, H) == 0.0
        assert reached_weight(empty, H, H).shape == shape
