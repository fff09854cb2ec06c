"""What every layer of a network receives, against torch's own modules."""

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine import models
from quant_engine import network as networks
from quant_engine.studies import activation_costs
from quant_engine.tasks import Transcription
from tests.engine.foreign import ragged_reader
from tests.engine.trained import folded, run, trained_module


@pytest.fixture(scope="module", params=models.ARCHITECTURES)
def network(request):
    return networks.load(request.param)


@pytest.fixture(scope="module")
def received(network):
    """Return what torch's hooks see: {layer: input} for 40 calibration images, with BatchNorm fused by torch."""
    layers, whole = folded(trained_module(network.name))
    seen = {}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0].clone().numpy()}))
    run(whole, network.data("calibration")[0][:40])
    return seen


def test_the_inputs_of_all_layers_are_those_torch_hooks_see(network, received):
    found = network.activations(stop=40)
    assert list(found) == list(network.layers())
    for name, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, received[name], rtol=1e-4, atol=1e-5 * np.abs(received[name]).max())


def test_every_layer_knows_the_shape_of_its_input(network, received):
    for name, info in network.layers().items():
        assert info.input_shape == received[name].shape[1:]


def test_only_the_pixels_have_two_signs(network, received):
    """Every other layer of both networks is behind a ReLU; that it is so is known without looking at data."""
    first, *others = network.layers()
    assert network.layers()[first].input_range == (-np.inf, np.inf)
    assert received[first].min() < 0
    for name in others:
        assert network.layers()[name].input_range == (0, np.inf)
        assert received[name].min() >= 0


def test_a_layer_behind_a_linear_layer_without_relu_is_not_one_sided():
    steps = (
        models.architectures.Linear("a", 784, 8, relu=False),
        models.architectures.Flatten("flatten"),
        models.architectures.Linear("b", 8, 8),
        models.architectures.Linear("c", 8, 2, relu=False),
    )
    found = models.architectures.Architecture("", steps, (784,)).layer_inputs()
    assert [(step.name, shape, nonnegative) for step, shape, nonnegative in found] == [
        ("a", (784,), False),
        ("b", (8,), False),
        ("c", (8,), True),
    ]


def test_the_first_input_are_the_pixels(network):
    first = next(iter(network.layers()))
    found = network.activations([first], "test", 10, 20)[first]
    np.testing.assert_array_equal(found, network.data("test")[0][10:20])


def test_a_part_of_the_images_gives_that_part_of_the_activations(network):
    last = list(network.layers())[-1]
    whole = network.activations([last], stop=30)[last]
    np.testing.assert_allclose(network.activations([last], start=12, stop=30)[last], whole[12:], rtol=1e-5, atol=1e-5)


def test_the_last_input_gives_the_logits(network):
    last = list(network.layers())[-1]
    layer = folded(trained_module(network.name))[0][last]
    with torch.inference_mode():
        expected = layer(torch.from_numpy(network.activations([last], stop=20)[last].copy())).numpy()
    images = network.data("calibration")[0][:20]
    np.testing.assert_allclose(network.run(images), expected, rtol=1e-4, atol=1e-4)


def test_activations_cannot_be_written(network):
    for values in network.activations(stop=2).values():
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0


def test_what_is_not_there_is_refused(network):
    with pytest.raises(qe.QuantError, match=r"no layer 'conv9'"):
        network.activations(["conv9"])
    with pytest.raises(qe.QuantError, match=r"'train'.*calibration, search, test"):
        network.activations(split="train")
    with pytest.raises(qe.QuantError, match=r"no sample lies in \[512:600\] of the 512 of 'calibration'"):
        network.activations(start=512, stop=600)


def test_what_layers_receive_of_samples_of_several_widths_comes_in_batches_of_one_width_each():
    module, lines = ragged_reader()
    splits = {name: [(x.numpy(), ["a"] * len(x)) for x in lines] for name in ("calibration", "test")}
    network = networks.from_module(module, Transcription(splits, characters="abc"), lines[0])
    wide, narrow = lines[2][:1], torch.cat(lines[:2])[1:]
    found = list(network.activation_batches(["second", "head"], start=1, stop=6))
    with torch.no_grad():
        for part, given in zip(found, (narrow, wide), strict=True):
            hidden = module.first(given).relu()
            np.testing.assert_allclose(part["second"], hidden, rtol=1e-4, atol=1e-6)
            rows = module.second(hidden).flatten(1, 2).transpose(1, 2)
            np.testing.assert_allclose(part["head"], rows, rtol=1e-4, atol=1e-6)
    with pytest.raises(qe.QuantError, match=r"'second' receives .*10.* and .*16.*; use activation_batches"):
        network.activations(["second"])
    assert len(network.activations(["second"], stop=5)["second"]) == 5
    with pytest.raises(qe.QuantError, match=r"\[9:None\] of the 9"):
        network.input_batches(start=9)
    plan = qe.QuantizationPlan({"second": qe.LayerPlan(activation=qe.QuantizerSpec(qe.IntFormat(8)))})
    assert activation_costs(network, plan)["second"].values == 320
