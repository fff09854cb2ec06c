"""Ranges without data: statistics against torch's BatchNorms, closed forms against sampling, accuracy measured."""

import itertools

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.compensation.batch_norm import moments, normal_range, rectified
from quant_engine.methods import (
    Setting,
    batch_norm_ranges,
    compensate,
    compensated,
    gaussian_images,
    synthetic_images,
    uniform_plan,
)
from quant_engine.models import as_builtin
from quant_engine.models.builtin_model import PIXEL_RANGE
from quant_engine.network import load
from tests import reference
from tests.engine.trained import trained_module

WEIGHT = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0), clipping=qe.MinMSE())


def setting(bits, weight=WEIGHT):
    return Setting(weight, qe.QuantizerSpec(qe.IntFormat(bits, signed=False), symmetric=False, clipping=qe.MinMSE()))


@pytest.fixture(scope="module")
def network():
    return load("fashion-cnn")


@pytest.fixture(scope="module")
def synthesis(network):
    return list(synthetic_images(network, count=64, steps=60))


def distance_by_modules(name, images):
    """Return ZeroQ's distance as hooks on torch's own BatchNorm modules see it."""
    module, parts = trained_module(name), [images.mean() ** 2 + (images.std() - 1) ** 2]

    def hook(norm, given, _):
        x = given[0].numpy().transpose(1, 0, 2, 3).reshape(given[0].shape[1], -1).astype(np.float64)
        wanted = norm.running_mean.numpy(), np.sqrt(norm.running_var.numpy() + norm.eps)
        parts.append(np.mean((x.mean(1) - wanted[0]) ** 2) + np.mean((x.std(1) - wanted[1]) ** 2))

    for child in module.children():
        if isinstance(child, torch.nn.BatchNorm2d):
            child.register_forward_hook(hook)
    with torch.inference_mode():
        module(torch.from_numpy(images))
    return sum(parts)


@pytest.mark.parametrize("name", ["fashion-cnn", "fashion-depthwise"])
def test_the_loss_is_what_torchs_batch_norms_see(name):
    first, second = synthetic_images(load(name), seed=3, count=8, steps=2)
    assert first.loss == pytest.approx(distance_by_modules(name, gaussian_images(load(name), 3, 8)), rel=1e-4)
    assert second.loss == pytest.approx(distance_by_modules(name, first.images), rel=1e-4)


def test_synthetic_images_come_to_the_statistics_of_real_ones(network, synthesis):
    assert [at.done for at in synthesis] == list(range(1, 61))
    real = distance_by_modules("fashion-cnn", network.data("calibration")[0])
    noise, found = synthesis[0].loss, distance_by_modules("fashion-cnn", synthesis[-1].images)
    assert real < found < noise / 20
    assert synthesis[-1].images.min() >= np.float32(PIXEL_RANGE[0])
    assert synthesis[-1].images.max() <= np.float32(PIXEL_RANGE[1])


def test_synthetic_images_depend_on_the_seed_alone(network):
    state = torch.get_rng_state()
    one, same, other = ([*synthetic_images(network, seed, count=4, steps=3)][-1].images.tobytes() for seed in (1, 1, 2))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_synthetic_images_calibrate_as_real_ones_do_and_a_wrong_guess_does_not(network, synthesis):
    for bits in (8, 4):
        plan = uniform_plan(network, setting(bits))
        real = network.evaluate(network.freeze(plan)).value
        assert network.evaluate(network.freeze(plan, synthesis[-1].images)).value > real - 0.01
    wide = np.random.default_rng(0).uniform(-10, 10, (64, 1, 28, 28)).astype(np.float32)
    assert network.evaluate(network.freeze(plan, wide)).value < real - 0.3


def test_moments_of_rectified_normals_are_their_integrals():
    mean, deviation = np.array([-3.0, -0.5, 0.0, 0.7, 4.0]), np.array([1.0, 0.2, 2.0, 1.0, 0.5])
    first, spread = rectified(mean, deviation)
    for m, d, found, wide in zip(mean, deviation, first, spread, strict=True):

        def density(x, m=m, d=d):
            return np.exp(-((x - m) ** 2) / (2 * d * d)) / (d * np.sqrt(2 * np.pi))

        top = max(m, 0) + 12 * d
        expected = reference.integral(lambda x: x * density(x), 0.0, top)
        square = reference.integral(lambda x: x * x * density(x), 0.0, top)
        assert found == pytest.approx(expected, rel=1e-6)
        assert wide == pytest.approx(np.sqrt(square - expected**2), rel=1e-5)


def test_a_range_behind_a_relu_holds_no_negative_value():
    mean, deviation = np.array([-1.0, 2.0]), np.array([0.5, 1.0])
    assert normal_range(mean, deviation, 3.0, relu=False) == (-2.5, 5.0)
    assert normal_range(mean, deviation, 3.0, relu=True) == (0.0, 5.0)


@pytest.mark.parametrize("name", ["fashion-cnn", "fashion-depthwise"])
def test_ranges_behind_batch_norms_are_six_deviations(name):
    network, children = load(name), dict(trained_module(name).named_children())
    ranges, layers = batch_norm_ranges(network), list(network.layers())
    assert ranges[layers[0]] == PIXEL_RANGE
    for before, layer in itertools.pairwise(layers):
        if f"{before}_bn" in children:
            norm = children[f"{before}_bn"]
            top = (norm.bias + 6 * norm.weight.abs()).max().item()
            assert ranges[layer] == (0.0, pytest.approx(top, rel=1e-6))


def test_ranges_behind_a_linear_layer_are_those_of_independent_inputs(network):
    norm = as_builtin(network.model).norms["conv3"]
    rng = np.random.default_rng(0)
    channels = rng.normal(norm.beta[:, None, None], np.abs(norm.gamma)[:, None, None], (64, 9, 20_000))
    inputs = np.maximum(channels, 0).reshape(576, -1)
    outputs = network.weight("fc1") @ inputs + network.bias("fc1")[:, None]
    expected = (outputs.mean(axis=1) + 6 * outputs.std(axis=1)).max()
    assert batch_norm_ranges(network)["fc2"] == (0.0, pytest.approx(expected, rel=0.02))


@pytest.mark.parametrize(
    "method",
    [
        "zeroq",
        "gaussian_data",
        "batch_norm_ranges",
        "bias_correction_analytic",
        "dfq",
        "dfq_zeroq",
    ],
)
def test_methods_without_data_look_at_none(network, method, monkeypatch):
    from quant_engine.methods import data_free

    monkeypatch.setattr(network, "task", None)
    monkeypatch.setattr(data_free, "STEPS", 2)
    *_, last = compensate(network, method, setting(8))
    assert last.done == last.total
    assert last.plan.frozen
    assert all(last.plan[name].activation is not None for name in network.layers())


def test_ranges_from_batch_norms_lose_little_at_8_bits(network):
    clipped = network.evaluate(compensated(network, "clipped", setting(8))).value
    assert network.evaluate(compensated(network, "batch_norm_ranges", setting(8))).value > clipped - 0.01


def test_weights_alone_need_no_data(network):
    plan = compensated(network, "batch_norm_ranges", Setting(WEIGHT))
    assert all(plan[name].activation is None for name in network.layers())
    assert network.evaluate(plan) == network.evaluate(compensated(network, "clipped", Setting(WEIGHT)))


def test_numbers_of_images_and_steps_that_mean_nothing_are_refused():
    network = load("fashion-cnn")
    for call, said in (
        (lambda: gaussian_images(network, count=0), "count=0 must be an integer of 1 or more"),
        (lambda: gaussian_images(network, seed=-1), "seed=-1 must be an integer of 0 or more"),
        (lambda: next(synthetic_images(network, steps=0)), "steps=0 must be an integer of 1 or more"),
        (lambda: batch_norm_ranges(network, reach=-1.0), "reach=-1.0 must be a finite number above 0"),
    ):
        with pytest.raises(qe.QuantError, match=said):
            call()


def test_moments_are_those_of_the_values_in_any_unit():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 3, 4, 4)).astype(np.float32))
    x[:, 2] = 0.0
    for unit in (1e-15, 1.0, 1e12):
        found = moments(x * unit)
        torch.testing.assert_close(found.deviation / unit, x.std((0, 2, 3), unbiased=False), rtol=1e-4, atol=1e-6)


def test_a_networks_new_weights_take_the_batch_norms_of_the_old_ones_with_them():
    network = load("fashion-cnn")
    changed = network.with_parameters({"conv1": (network.weight("conv1") / 2, network.bias("conv1") / 2)})
    assert list(as_builtin(changed.model).norms) == [
        name for name in as_builtin(network.model).norms if name != "conv1"
    ]
    (made,) = synthetic_images(changed, count=2, steps=1)  # to fit those that are left
    assert np.isfinite(made.loss)
