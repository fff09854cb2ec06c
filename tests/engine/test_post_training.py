"""Post-training methods on the built-in networks: what they leave as it was, and what they are for."""

import copy
import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine import models
from quant_engine import network as networks
from quant_engine.compensation import equalize, layer_error
from quant_engine.execution import LayerInputs, planned_weight
from quant_engine.methods import METHODS, Setting, compensate, compensated, data_free, layer_hessian, layerwise
from quant_engine.methods.layer_by_layer import layer_by_layer
from quant_engine.methods.pairs import float_layers, scaling_pairs
from quant_engine.methods.rescaling import with_layers
from tests.engine.trained import folded, run, trained_module

SETTING = Setting(
    qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel(), clipping=qe.MinMSE()),
    qe.QuantizerSpec(qe.IntFormat(8, signed=False), symmetric=False, clipping=qe.MinMSE()),
)
AFTER_TRAINING = [key for key, method in METHODS.items() if method.family in ("biases", "scaling", "rounding")][2:]


@pytest.fixture(scope="module", params=models.ARCHITECTURES)
def network(request):
    return networks.load(request.param)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(layerwise, "ADAROUND", replace(layerwise.ADAROUND, iterations=20, every=10, batch=64))
    monkeypatch.setattr(data_free, "STEPS", 2)


@pytest.fixture(scope="module")
def small():
    return networks.load("fashion-cnn")


# --- what a method leaves ---------------------------------------------------------------------------------------------


@pytest.mark.choice(2)
@pytest.mark.parametrize("method", AFTER_TRAINING)
def test_a_method_ends_with_a_frozen_plan_like_any_other(small, method, tmp_path):
    stages = list(compensate(small, method, SETTING))
    plan = stages[-1].plan
    assert [stage.done for stage in stages] == list(range(1, len(stages) + 1))
    assert stages[-1].done == stages[-1].total
    assert plan.frozen
    plan.save(tmp_path / "plan.json")
    back = qe.QuantizationPlan.load(tmp_path / "plan.json")
    np.testing.assert_array_equal(small.predict(back), small.predict(plan))
    for name, layer in plan.layers.items():
        assert layer.weight.spec == SETTING.weight
        assert planned_weight(small.model, name, layer).shape == small.weight(name).shape
        assert layer.activation.spec == SETTING.activation


def codes_of(plan):
    return [getattr(layer.weight, "codes", layer.weight.scale) for layer in plan.layers.values()]


@pytest.mark.choice(2)
@pytest.mark.parametrize("method", ["adaround", "gptq"])
def test_two_threads_at_once_find_what_each_finds_alone_and_a_stop_leaves_nothing(small, method):
    weights = {name: small.weight(name).copy() for name in small.layers()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    alone = codes_of(compensated(small, method, SETTING))
    found = {}

    def work(number):
        stopped = compensate(small, method, SETTING)
        next(stopped)
        stopped.close()
        found[number] = codes_of(compensated(small, method, SETTING))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for codes in found.values():
        for one, other in zip(codes, alone, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(found) == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    for name, weight in weights.items():
        np.testing.assert_array_equal(small.weight(name), weight)


def test_another_seed_draws_other_samples(small):
    one, other = (codes_of(compensated(small, "adaround", replace(SETTING, seed=seed))) for seed in (0, 1))
    assert any((first != second).any() for first, second in zip(one, other, strict=True))


def test_gptq_takes_what_adaround_refuses(small):
    setting = Setting(qe.QuantizerSpec(qe.NF4, qe.PerGroup(32, remainder="short")))
    assert compensated(small, "gptq", setting)["conv2"].weight.spec == setting.weight
    with pytest.raises(qe.QuantError, match="codes must have equal steps"):
        compensated(small, "adaround", setting)


# --- what a method does -----------------------------------------------------------------------------------------------


def test_rows_times_the_weight_are_the_layers_outputs(network):
    for visit in layer_by_layer(network, dict.fromkeys(network.layers(), qe.LayerPlan())):
        (x, *_), layer = visit.x.batches, visit.layer
        (rows,) = LayerInputs(layer, [x]).rows()
        weight = torch.from_numpy(network.weight(visit.name).copy())
        bias = torch.from_numpy(visit.bias.copy())
        if weight.ndim == 2:
            expected = torch.nn.functional.linear(x, weight, bias)
        else:
            half = weight.shape[-1] // 2
            expected = torch.nn.functional.conv2d(x, weight, bias, padding=half, groups=layer.groups)
        by_channel = expected.transpose(0, 1).flatten(1).T
        torch.testing.assert_close(visit.outputs(rows), by_channel, rtol=1e-4, atol=1e-4)
        for one, other in zip(visit.x.batches, visit.x_hat.batches, strict=True):
            assert torch.equal(one, other)
        few, _ = visit.samples(100, 0)
        assert few.shape[1] >= 100
        assert few.shape[::2] == (layer.groups, visit.weight.shape[1])


def test_layer_error_on_a_layers_hessian_is_what_its_outputs_lose(network):
    layers, whole = folded(trained_module(network.name))
    for name in list(layers)[1:3]:
        received = []
        hook = layers[name].register_forward_hook(lambda _, x, y, received=received: received.append(x[0]))
        run(whole, network.data("calibration")[0])
        hook.remove()
        weight = network.weight(name).reshape(len(network.weight(name)), -1)
        rounded = qe.fake_quantize(weight, SETTING.weight)
        changed = copy.deepcopy(layers[name])
        changed.weight.data = torch.from_numpy(rounded).reshape(changed.weight.shape)
        with torch.inference_mode():
            lost = sum(float((layers[name](x) - changed(x)).square().sum(1).mean() * len(x)) for x in received)
        expected = lost / sum(len(x) for x in received)
        assert layer_error(weight, rounded, layer_hessian(network, name)) == pytest.approx(expected, rel=1e-3)


def mean_outputs(network, plan):
    """Return each layer's mean outputs before the ReLU on the calibration images, by torch modules with hooks."""
    layers, whole = folded(trained_module(network.name))
    found = {name: [] for name in layers}
    for name, module in layers.items():
        layer = plan[name]
        weight = planned_weight(network.model, name, layer)
        module.weight.data = torch.from_numpy(network.weight(name).copy() if weight is None else weight.copy())
        if layer.bias is not None:
            module.bias.data = torch.from_numpy(layer.bias.copy())
        if layer.activation is not None:
            quantize = layer.activation.fake_quantize
            module.register_forward_pre_hook(lambda _, x, quantize=quantize: torch.from_numpy(quantize(x[0].numpy())))
        axes = (0, 2, 3) if network.weight(name).ndim == 4 else 0
        module.register_forward_hook(
            lambda _, x, y, name=name, axes=axes: found[name].append((len(y), y.double().mean(axes)))
        )
    run(whole, network.data("calibration")[0])
    return {
        name: (sum(n * mean for n, mean in parts) / sum(n for n, _ in parts)).numpy() for name, parts in found.items()
    }


@pytest.mark.choice(3)
@pytest.mark.parametrize("method", ["bias_correction", "gptq"])
def test_mean_outputs_of_every_layer_are_those_of_floating_point(network, method):
    expected = mean_outputs(network, qe.QuantizationPlan())
    found = mean_outputs(network, compensated(network, method, SETTING))
    plain = mean_outputs(network, compensated(network, "clipped", SETTING))
    for name, mean in expected.items():
        spread = np.abs(mean).max()
        np.testing.assert_allclose(found[name], mean, atol=2e-3 * spread)
        assert np.abs(plain[name] - mean).max() > 5 * np.abs(found[name] - mean).max()


def test_mean_outputs_come_nearer_by_what_batch_norms_tell(network):
    """Each layer quantized alone: what is left of the shift of its means, measured on real images."""
    plan = compensated(network, "bias_correction_analytic", SETTING)
    left = {}
    for visit in layer_by_layer(network, dict.fromkeys(network.layers(), qe.LayerPlan())):
        layer = plan[visit.name]
        change = visit.weight - planned_weight(network.model, visit.name, layer).reshape(visit.weight.shape)
        means = np.repeat(visit.x.means(), len(change) // visit.layer.groups, axis=0)
        shift = np.sum(change * means, axis=1)
        left[visit.name] = np.linalg.norm(shift - (layer.bias - visit.bias)) / np.linalg.norm(shift)
    print(f"{network.name}: " + ", ".join(f"{name} {share:.2f}" for name, share in left.items()))
    first, *others = left.values()
    assert first == 1  # pixels have mean 0 for all that BatchNorms tell
    assert max(others) < 0.8
    assert np.median(others) < 0.5


def test_in_the_whole_network_too_means_come_nearer_in_every_layer(small):
    expected = mean_outputs(small, qe.QuantizationPlan())
    plan = compensated(small, "bias_correction_analytic", SETTING)
    plain = qe.QuantizationPlan({name: replace(layer, bias=None) for name, layer in plan.layers.items()})
    before, after = (mean_outputs(small, found) for found in (plain, plan))
    for name in list(expected)[1:]:
        one, two = (np.linalg.norm(found[name] - expected[name]) for found in (before, after))
        assert two < 0.9 * one


def test_an_equalized_network_gives_the_same_logits_and_has_equal_ranges(network):
    layers = float_layers(network, scaling_pairs(network))
    found = dict(zip(layers, equalize(list(layers.values())), strict=True))
    logits = network.logits()
    changed = with_layers(network, found)
    np.testing.assert_allclose(changed.logits(), logits, atol=1e-4 * np.abs(logits).max())
    names = list(layers)
    for one, two in itertools.pairwise(names):
        made, read = found[one].output_ranges(), found[two].input_ranges()
        alive = (made > 0) & (read > 0)
        np.testing.assert_allclose(made[alive], read[alive], rtol=2e-3)


@pytest.mark.choice(3)
@pytest.mark.parametrize("method", ["cross_layer_equalization", "dfq", "smoothquant", "awq"])
def test_what_moves_scales_between_layers_changes_nothing_at_16_bits(network, method):
    fine = Setting(qe.QuantizerSpec(qe.IntFormat(16), qe.PerChannel()))
    plan = compensated(network, method, fine)
    logits = network.logits()
    np.testing.assert_allclose(network.logits(plan), logits, atol=2e-3 * np.abs(logits).max())
    assert any((network.bias(name) != layer.bias).any() for name, layer in plan.layers.items())


def test_one_scale_a_layer_is_saved_by_equalization():
    """What the method was made for: depthwise filters of very different ranges under one scale."""
    network = networks.load("fashion-depthwise")
    setting = Setting(qe.QuantizerSpec(qe.IntFormat(6), clipping=qe.MinMSE()), SETTING.activation)
    plain, equal = (
        network.evaluate(compensated(network, method, setting)).value
        for method in ("clipped", "cross_layer_equalization")
    )
    print(f"6 bits, one scale a layer: {plain:.4f} clipped, {equal:.4f} equalized")
    assert equal > plain


def test_compensation_wins_accuracy_back_at_two_bits(small):
    setting = replace(SETTING, weight=replace(SETTING.weight, format=qe.IntFormat(2)))
    found = {
        method: small.evaluate(compensated(small, method, setting)).value
        for method in ("clipped", "bias_correction", "gptq", "gptaq")
    }
    print(found)
    assert found["clipped"] < found["bias_correction"] < found["gptq"]
    assert found["gptaq"] > 0.85


def test_parameters_of_another_shape_are_refused(small):
    with pytest.raises(qe.QuantError, match=r"layer 'fc2' has .*; its new parameters have"):
        small.with_parameters({"fc2": (np.ones((10, 95), np.float32), np.ones(10, np.float32))})


def test_a_dead_channel_and_the_units_between_two_layers_cost_no_method_its_answers():
    """Conv1 in units of 1e-3 (and conv2 to match), W8A8: SmoothQuant had 822 of 2,000 right, DFQ 200, both of 1,851."""
    whole = networks.load("fashion-cnn")
    eights = qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel()), replace(SETTING.activation, clipping=qe.MinMax())
    for share, constant in ((0.0, 0.0), (1e-8, 0.45)):
        weight, bias = whole.weight("conv1") * np.float32(1e-3), whole.bias("conv1") * np.float32(1e-3)
        weight[3] *= np.float32(share)
        bias[3] = constant * 1e-3
        unit = whole.with_parameters(
            {"conv1": (weight, bias), "conv2": (whole.weight("conv2") * 1000, whole.bias("conv2"))}
        )
        right = unit.evaluate(compensated(unit, "clipped", Setting(*eights))).correct
        for method in ("smoothquant", "awq", "cross_layer_equalization", "dfq"):
            assert unit.evaluate(compensated(unit, method, Setting(*eights))).correct > right - 20, method
