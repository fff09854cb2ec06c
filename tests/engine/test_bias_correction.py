"""Bias correction against the mean outputs of convolutions, and against integrals over the normal distribution."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import quant_engine as qe
from quant_engine.compensation import bias_correction, clipped_normal_mean
from quant_engine.compensation.batch_norm import rectified
from tests import reference

INT3 = qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel())


def mean_outputs(x, weight, groups):
    outputs = functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), padding=1, groups=groups)
    return outputs.double().mean((0, 2, 3)).numpy()


def mean_inputs(x, groups):
    """Return the mean of every value of a patch of 3 × 3, zeros of the padding among them, (groups, in)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float64)
    height, width = x.shape[2:]
    places = [padded[:, :, i : i + height, j : j + width].mean((0, 2, 3)) for i in range(3) for j in range(3)]
    return np.stack(places, axis=1).reshape(groups, -1)


@pytest.mark.parametrize("groups", [1, 4, 8], ids=["whole", "grouped", "depthwise"])
def test_mean_outputs_of_a_convolution_are_what_they_were(groups):
    rng = np.random.default_rng(groups)
    x = rng.gamma(1.0, size=(5, 8, 7, 6)).astype(np.float32)
    x_hat = np.round(x)
    weight = rng.standard_normal((16, 8 // groups, 3, 3)).astype(np.float32)
    rounded = qe.fake_quantize(weight.reshape(16, -1), INT3)
    change = bias_correction(weight.reshape(16, -1), rounded, mean_inputs(x, groups), mean_inputs(x_hat, groups))
    corrected = mean_outputs(x_hat, rounded.reshape(weight.shape), groups) + change
    np.testing.assert_allclose(corrected, mean_outputs(x, weight, groups), atol=1e-5)
    assert change.shape == (16,)


def test_inputs_that_stay_as_they_were_need_one_mean():
    rng = np.random.default_rng(0)
    W, mean = rng.standard_normal((4, 6)), rng.standard_normal(6)
    W_hat = qe.fake_quantize(W, INT3)
    np.testing.assert_allclose(bias_correction(W, W_hat, mean), (W - W_hat) @ mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(bias_correction(W, W_hat, mean), bias_correction(W, W_hat, mean, mean))


@pytest.mark.parametrize("beta", [-3.0, -0.4, 0.0, 0.7, 5.0])
@pytest.mark.parametrize("gamma", [0.2, 1.0, -1.0, 3.0])
def test_the_clipped_normals_mean_is_the_mean_of_a_clipped_normal_sample(beta, gamma):
    sample = np.maximum(gamma * reference.gaussian_sample(200_000) + beta, 0.0)
    assert clipped_normal_mean(beta, gamma) == pytest.approx(sample.mean(), abs=2e-6)


def test_a_channel_that_does_not_vary_has_itself_as_its_mean():
    np.testing.assert_array_equal(clipped_normal_mean([-2.0, 0.0, 1.5], 0.0), [0.0, 0.0, 1.5])


def test_analytic_correction_is_empirical_correction_of_normal_inputs():
    rng = np.random.default_rng(5)
    beta, gamma = rng.standard_normal(6), rng.uniform(0.2, 2.0, 6)
    x = np.maximum(beta + gamma * rng.standard_normal((400_000, 6)), 0.0)
    W = rng.standard_normal((4, 6))
    W_hat = qe.fake_quantize(W, INT3)
    analytic = bias_correction(W, W_hat, clipped_normal_mean(beta, gamma))
    np.testing.assert_allclose(analytic, bias_correction(W, W_hat, x.mean(axis=0)), atol=5e-3)


@pytest.mark.parametrize(
    ("W_hat", "mean", "said"),
    [
        (np.ones((4, 3)), np.ones(6), "W has shape .4, 6. and W_hat .4, 3."),
        (np.ones((4, 6)), np.ones(5), "mean has shape .5,. for W of shape .4, 6.; give a last axis of 6"),
        (np.ones((4, 6)), np.ones((3, 6)), "as many groups as divide the 4 outputs"),
        (np.ones((4, 6)), np.full(6, np.nan), "mean of shape .6,. has 6 NaN"),
    ],
)
def test_what_does_not_go_together_is_refused(W_hat, mean, said):
    with pytest.raises(qe.QuantError, match=said):
        bias_correction(np.ones((4, 6)), W_hat, mean)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bias_correction([[3e38, 3e38]], [[0.0, 0.0]], [1e300, 1e300]), "beyond float32's largest"),
        (lambda: bias_correction([[3e38, 3e38]], [[0.0, 0.0]], [2.0, 2.0]), "beyond float32's largest"),
        (lambda: bias_correction([[1.0]], [[1.0]], [np.nan]), "mean of shape .1,. has 1 NaN"),
        (lambda: bias_correction([[1.0]], [[1.0]], None), "mean of dtype object"),
        (lambda: clipped_normal_mean([1.0], [np.inf]), "gamma of shape .1,. has 0 NaN and 1 infinite"),
        (lambda: clipped_normal_mean([1.0, 2.0], [1.0, 2.0, 3.0]), "beta has shape .2,. and gamma .3,."),
    ],
)
def test_no_argument_is_taken_that_means_nothing(call, said):
    with pytest.raises(qe.QuantError, match=said):
        call()


def test_moments_of_rectified_normals_are_those_of_quadrature_in_any_unit():
    for unit in (1e-30, 1e-14, 1.0, 1e30):
        for beta, gamma in ((0.0, 1.0), (-2.0, 1.0), (3.0, 0.5), (1.0, 1e-6)):
            z = np.linspace(-12, 12, 200_001)
            density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
            values = np.maximum(beta + gamma * z, 0.0)
            mean = np.sum(values * density)
            deviation = np.sqrt(np.sum((values - mean) ** 2 * density))
            found = rectified(np.array([beta * unit]), np.array([gamma * unit]))
            np.testing.assert_allclose(found, [[mean * unit], [deviation * unit]], rtol=1e-6)
