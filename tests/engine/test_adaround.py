"""AdaRound against the same in numpy with gradients by hand, and against trying every rounding."""

import itertools

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.compensation import AdaRoundSetting, adaround, adaround_steps
from tests import reference

INT3 = qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel(), clipping=qe.MinMSE())
SHORT = AdaRoundSetting(iterations=60, every=20, rate=0.05)


def problem(seed, outputs=6, inputs=10, samples=100):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, inputs)) @ rng.standard_normal((inputs, inputs))
    return rng.standard_normal((outputs, inputs)).astype(np.float32), x.astype(np.float32)


@pytest.mark.parametrize("relu", [False, True])
def test_codes_are_those_of_gradients_by_hand(relu):
    W, x_hat = problem(1)
    x = x_hat + 0.1 * problem(2)[1]
    setting = AdaRoundSetting(iterations=80, batch=100, rate=0.03, every=40, weight=1.5)
    target = x @ W.T
    found = adaround(W, x_hat, INT3, target, relu=relu, setting=setting)
    wanted = np.maximum(target, 0) if relu else target
    step = qe.fit(W, INT3).scale.astype(np.float64)
    codes, h = reference.adaround_codes(W, x_hat, wanted, step, -4, 3, 80, 0.03, 1.5, 0.2, relu)
    close = np.abs(h - 0.5) < 1e-3  # where float32 may decide otherwise
    np.testing.assert_array_equal(found.codes[~close], codes[~close])
    assert np.count_nonzero(close) <= 2
    assert (found.codes != qe.quantize(W, INT3).codes).any()


def test_the_rounding_found_is_near_the_best_of_all():
    found, best, nearest = [], [], []
    for seed in range(8):
        W, x = problem(seed, outputs=1, inputs=9)
        q = adaround(W, x, INT3, setting=AdaRoundSetting(iterations=400, batch=100))
        scale, floor = q.scale.item(), np.floor(W[0] / q.scale.item())
        every = np.clip(floor + np.array(list(itertools.product([0, 1], repeat=9))), -4, 3) * scale
        H = x.T.astype(np.float64) @ x
        errors = np.einsum("ri,ij,rj->r", every - W[0], H, every - W[0])
        best.append(errors.min())
        for kept, values in ((found, q.dequantize()), (nearest, qe.fake_quantize(W, INT3))):
            kept.append(((values - W) @ H @ (values - W).T).item())
    over, before = (np.divide(errors, best) for errors in (found, nearest))
    print(f"error over the least of all roundings: AdaRound {over.mean():.2f}, nearest {before.mean():.2f}")
    assert np.all(np.array(found) >= np.array(best) * (1 - 1e-4))
    assert np.median(over) < 1.05
    assert over.mean() < 0.9 * before.mean()


@pytest.mark.parametrize(
    "spec",
    [
        qe.QuantizerSpec(qe.IntFormat(3), qe.PerGroup(5)),
        qe.QuantizerSpec(qe.IntFormat(3, signed=False), symmetric=False),
        qe.QuantizerSpec(qe.FixedPointFormat(3, 1)),
    ],
    ids=["groups", "asymmetric", "fixed point"],
)
def test_every_weight_goes_to_one_of_its_two_neighbours(spec):
    W, x = problem(3)
    q, quantizer = adaround(W, x, spec, setting=SHORT), qe.fit(W, spec)
    np.testing.assert_array_equal(q.scale, quantizer.scale)
    np.testing.assert_array_equal(q.zero_point, quantizer.zero_point)
    step = np.repeat(
        np.broadcast_to(quantizer.scale, (1 if quantizer.scale.shape[0] == 1 else 6, quantizer.scale.shape[1])),
        10 // quantizer.scale.shape[1],
        axis=1,
    )
    low, high = quantizer.levels(0).min(), quantizer.levels(0).max()
    inside = (low < W) & (high > W) if quantizer.scale.size == 1 else np.ones(W.shape, bool)
    unit = step * getattr(spec.format, "step", 1.0)
    assert np.all((np.abs(q.dequantize() - W) <= unit * 1.0001) | ~inside)


def test_groups_learn_as_layers_of_their_own_do():
    W, _ = problem(4, outputs=4, inputs=5)
    x = np.stack([problem(seed, inputs=5)[1] for seed in (5, 6)])
    setting = AdaRoundSetting(iterations=60, batch=100, weight=0.0)
    whole = adaround(W, x, INT3, setting=setting)
    for group in range(2):
        rows = slice(2 * group, 2 * group + 2)
        alone = adaround(W[rows], x[group], INT3, setting=setting)
        assert np.mean(whole.codes[rows] == alone.codes) >= 0.8  # the error's unit is the whole layer's


def test_the_regulariser_leaves_nothing_undecided_and_the_loss_falls():
    W, x = problem(7)
    steps = list(adaround_steps(W, x, INT3, setting=AdaRoundSetting(iterations=600, every=100, batch=64)))
    assert [step.iteration for step in steps] == [100, 200, 300, 400, 500, 600]
    assert steps[-1].undecided < 0.1 < steps[0].undecided
    assert steps[-1].loss < 1


def test_a_seed_decides_everything():
    W, x = problem(8)
    first, again, other = (
        adaround(given, x, INT3, setting=AdaRoundSetting(iterations=40, batch=16, every=10, seed=seed))
        for given, seed in ((W, 0), (torch.from_numpy(W), 0), (W, 1))
    )
    np.testing.assert_array_equal(first.codes, again.codes)
    assert (first.codes != other.codes).any()


def test_dead_inputs_and_weights_of_0_are_no_trouble():
    W, x = problem(9)
    W[2] = 0
    found = adaround(W, np.zeros_like(x), INT3, setting=SHORT)
    assert np.isfinite(found.dequantize()).all()
    assert not found.dequantize()[2].any()


@pytest.mark.parametrize(
    ("x", "spec", "more", "said"),
    [
        (np.ones((5, 10)), qe.QuantizerSpec(qe.NF4), {}, "codes must have equal steps; use IntFormat"),
        (np.ones((5, 10)), qe.QuantizerSpec(qe.E2M1), {}, "or GPTQ, which takes every scalar format"),
        (np.ones((5, 9)), INT3, {}, "x has shape .5, 9. for W of shape .6, 10."),
        (np.full((5, 10), np.nan), INT3, {}, "x of shape .5, 10. has 50 NaN"),
        (np.ones((5, 10)), INT3, {"target": np.ones((4, 6))}, "target has shape .4, 6.; give .samples, out."),
        (np.ones((5, 10)), INT3, {"bias": np.ones(5)}, "bias has shape .5,."),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(x, spec, more, said):
    with pytest.raises(qe.QuantError, match=said):
        adaround(problem(0)[0], x, spec, **more)


def test_a_number_of_iterations_that_is_none_is_refused():
    with pytest.raises(qe.QuantError, match="iterations=0 must be an integer of 1 or more"):
        AdaRoundSetting(iterations=0)


def test_the_units_of_weights_and_inputs_do_not_matter():
    W, x = problem(9)
    bias = np.random.default_rng(9).standard_normal(6).astype(np.float32)
    W[2] = 0.0  # whose scale is 1 in every unit
    for relu in (False, True):
        plain = adaround(W, x, INT3, bias=bias, relu=relu, setting=SHORT).codes
        assert (plain != qe.quantize(W, INT3).codes).any()
        for weights, inputs in ((-83, 0), (0, -83), (57, 0), (0, 57), (100, 20), (-100, 100)):  # 1e-25, 1e17 and beyond
            scaled = np.ldexp(W, weights), np.ldexp(x, inputs)
            found = adaround(*scaled, INT3, bias=np.ldexp(bias, weights + inputs), relu=relu, setting=SHORT)
            np.testing.assert_array_equal(found.codes, plain)


def test_targets_far_from_what_the_layer_gives_leave_numbers_finite():
    W, x = problem(9)
    for far in (1e-30, 1e30):
        *_, last = adaround_steps(W, x, INT3, np.full((100, 6), far, np.float32), setting=SHORT)
        assert np.isfinite(last.loss)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"iterations": True}, "iterations=True must be an integer"),
        ({"warm_start": 1.5}, "warm_start=1.5 must be a finite number from 0 to 1"),
        ({"exponents": (2,)}, "exponents=.2,. must be two numbers"),
        ({"exponents": (2.0, np.nan)}, "exponents=nan must be"),
        ({"rate": "x"}, "rate='x' must be a finite number above 0"),
        ({"weight": -1}, "weight=-1 must be a finite number of 0 or more"),
        ({"seed": -1}, "seed=-1 must be an integer from 0"),
        ({"every": 1.5}, "every=1.5 must be an integer"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(change, said):
    with pytest.raises(qe.QuantError, match=said):
        AdaRoundSetting(**change)


def test_a_warm_start_of_all_iterations_goes_without_the_regulariser():
    W, x = problem(9)
    assert adaround(W, x, INT3, setting=AdaRoundSetting(iterations=5, warm_start=1.0)).shape == W.shape


@pytest.mark.parametrize(
    ("W", "more", "said"),
    [
        (np.ones((0, 10)), {}, "W has shape .0, 10.; give a layer with at least one output"),
        (np.ones((6, 0)), {}, "at least one output and one input"),
        (np.ones((6, 10)), {"bias": np.full(6, np.nan)}, "bias of shape .6,. has 6 NaN"),
        (np.ones((6, 10)), {"bias": np.full(6, -np.inf)}, "bias of shape .6,. has 0 NaN and 6 infinite"),
        (np.ones((6, 10)), {"target": np.full((5, 6), np.inf)}, "target of shape .5, 6. has 0 NaN and 30 infinite"),
        (np.ones((6, 10)), {"relu": "yes"}, "relu='yes' must be True or False"),
        (np.ones((6, 10)), {"setting": 3}, "give an AdaRoundSetting"),
    ],
)
def test_no_layer_is_taken_that_means_nothing(W, more, said):
    with pytest.raises(qe.QuantError, match=said):
        adaround(W, np.ones((5, 10)), INT3, **more)
