"""What BatchNorms tell in place of images: expected inputs, biases corrected by them, and equalization without data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import quant_engine as qe
from quant_engine.execution import planned_weight
from quant_engine.methods import Setting, compensated
from quant_engine.methods.expected import Normals, at_each_weight, expected_inputs, expected_outputs
from quant_engine.methods.layer_by_layer import layer_by_layer
from quant_engine.models import as_builtin
from quant_engine.models.builtin_model import PIXEL_RANGE
from quant_engine.network import load

WEIGHT = qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel(0), clipping=qe.MinMSE())


def inputs_of(bits):
    return qe.QuantizerSpec(qe.IntFormat(bits, signed=False), symmetric=False, clipping=qe.MinMSE())


def quantiles(count):
    """Return the middles of equal shares of N(0, 1), by torch's inverse of its distribution."""
    return torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).numpy()


@pytest.fixture(scope="module")
def network():
    return load("fashion-depthwise")


def test_values_of_a_distribution_are_its_quantiles():
    mean, deviation = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 1.0, 2.0])
    expected = mean + deviation * quantiles(1000)[:, None]
    np.testing.assert_allclose(np.sort(Normals(mean, deviation, False).values(1000), axis=0), expected, atol=1e-6)
    rectified = Normals(mean, deviation, True)
    np.testing.assert_allclose(rectified.values(1000), np.maximum(expected, 0), atol=1e-6)
    found = rectified.values(100_000)
    for ours, theirs in zip(rectified.moments(), (found.mean(0), found.std(0)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-5)
    assert np.ptp(Normals(mean, deviation, False, (-0.5, 1.0)).values(100)) == 1.5


@pytest.mark.parametrize("layer", ["dw2", "pw2", "fc"])
def test_each_weight_meets_its_channel_where_there_is_no_padding(network, layer):
    info = network.layers()[layer]
    channels = np.random.default_rng(0).uniform(1, 2, info.input_shape[0])
    found = at_each_weight(info, channels)
    if info.op == "linear" or info.shape[2:] == (1, 1):
        np.testing.assert_allclose(found, channels[None])
        return
    height, width = info.input_shape[1:]
    for group in range(info.groups):
        for place, (row, column) in enumerate(np.ndindex(3, 3)):
            share = (height - abs(row - 1)) * (width - abs(column - 1)) / (height * width)
            assert found[group, place] == pytest.approx(channels[group] * share)


def test_expected_inputs_are_those_of_real_images_where_nothing_is_pooled(network):
    inputs = expected_inputs(network, expected_outputs(network))
    given = network.activations(["pw1", "dw2", "pw2", "pw3", "dw4", "pw4"], stop=100)
    for name, values in given.items():
        mean, deviation = inputs[name].moments()
        by_channel = values.transpose(1, 0, 2, 3).reshape(len(mean), -1).astype(np.float64)
        assert np.sqrt(np.mean((by_channel.mean(1) - mean) ** 2)) < 0.2 * by_channel.mean()
        assert np.corrcoef(by_channel.mean(1), mean)[0, 1] > 0.85
        assert by_channel.std(1).mean() == pytest.approx(deviation.mean(), rel=0.1)


@pytest.mark.parametrize("layer", ["pw1", "dw2", "dw3"], ids=["pointwise", "depthwise", "depthwise, behind a pooling"])
def test_a_bias_is_corrected_as_on_normal_pictures(network, layer):
    """The empirical correction of pictures that are drawn as the BatchNorm before says, through torch's convolution."""
    info, before = network.layers()[layer], list(network.layers())[list(network.layers()).index(layer) - 1]
    norm, rng = as_builtin(network.model).norms[before], np.random.default_rng(0)
    z = torch.from_numpy(rng.standard_normal((400, *info.input_shape), np.float32))
    x = torch.relu(
        z * torch.from_numpy(norm.gamma.copy())[:, None, None] + torch.from_numpy(norm.beta.copy())[:, None, None]
    )
    plan = compensated(network, "bias_correction_analytic", Setting(WEIGHT))[layer]
    change = torch.from_numpy(network.weight(layer) - planned_weight(network.model, layer, plan))
    padding, groups = info.shape[-1] // 2, info.input_shape[0] // info.shape[1]
    expected = functional.conv2d(x, change, padding=padding, groups=groups).double().mean((0, 2, 3)).numpy()
    found = plan.bias - network.bias(layer)
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_high_biases_are_absorbed_and_the_network_computes_nearly_what_it_did():
    network, fine = load("fashion-depthwise"), Setting(qe.QuantizerSpec(qe.IntFormat(16), qe.PerChannel()))
    norm = as_builtin(network.model).norms["dw3"]
    raised = np.float32(8) * np.abs(norm.gamma)
    high = network.with_parameters({"dw3": (network.weight("dw3"), network.bias("dw3") + raised)})
    high.model.norms = {**high.model.norms, "dw3": replace(norm, beta=norm.beta + raised)}
    plan, logits = compensated(high, "dfq", fine), high.logits()
    found = high.logits(plan)
    assert np.sqrt(np.mean((found - logits) ** 2)) < 0.02 * logits.std()
    assert np.mean(found.argmax(1) == logits.argmax(1)) > 0.99
    visit = next(visit for visit in layer_by_layer(high, plan.layers) if visit.name == "pw3")
    whole = (torch.cat([*inputs.batches]) for inputs in (visit.x, visit.x_hat))
    floor, lowered = (x.amin((0, 2, 3)) / x.mean((0, 2, 3)) for x in whole)
    print(
        f"least value over mean, of the median channel: {floor.median():.2f}, after absorption {lowered.median():.2f}"
    )
    assert floor.median() > 0.4
    assert lowered.median() < 0.1


def test_equalization_without_data_saves_one_scale_a_layer_nearly_as_well_as_with_data(network):
    setting = Setting(qe.QuantizerSpec(qe.IntFormat(4), clipping=qe.MinMSE()), inputs_of(8))
    found = {
        method: network.evaluate(compensated(network, method, setting)).value
        for method in ("clipped", "dfq", "cross_layer_equalization")
    }
    print(found)
    assert found["clipped"] < 0.3
    assert found["dfq"] > found["cross_layer_equalization"] - 0.02 > 0.85


@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannel(1)])
def test_inputs_are_clipped_as_the_setting_says_on_what_is_expected(network, granularity):
    activation = replace(inputs_of(8), granularity=granularity, clipping=qe.MinMax())
    plan = compensated(network, "bias_correction_analytic", Setting(WEIGHT, activation))
    norm = as_builtin(network.model).norms["pw1"]
    top = np.maximum(norm.beta + quantiles(512)[-1] * np.abs(norm.gamma), 0)
    scale = plan["dw2"].activation.scale.reshape(-1)
    np.testing.assert_allclose(scale, (top if granularity == qe.PerChannel(1) else top.max()) / 255, rtol=1e-5)
    first = plan["stem"].activation
    assert first.scale.item() == pytest.approx((PIXEL_RANGE[1] - PIXEL_RANGE[0]) / 255, rel=1e-6)
