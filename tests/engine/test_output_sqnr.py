"""Output SQNR from second moments: as torch's own layers give it on the same inputs, for every kind of layer."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

from quant_engine import IntFormat, QuantError, QuantizerSpec
from quant_engine.execution import LayerInputs, draw_places
from quant_engine.models import Layer, OnnxGraph, OnnxModel
from quant_engine.network import Network, from_module, load
from quant_engine.studies import input_moments, layer_output_sqnr_db, output_sqnr_db
from quant_engine.tasks import Agreement
from tests.engine.foreign import exported, foreign_models

MODELS = foreign_models()
SPEC = QuantizerSpec(IntFormat(4))
CONVOLUTIONS = {
    "plain": torch.nn.Conv2d(3, 4, 3),
    "strided, padded": torch.nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(2, 1)),
    "dilated, in groups": torch.nn.Conv2d(4, 6, 3, dilation=(1, 2), groups=2),
    "depthwise": torch.nn.Conv2d(5, 5, 3, padding=1, groups=5),
    "of one axis": torch.nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
}


def layer_of(module):
    axes = module.weight.ndim - 2
    return Layer(
        "layer",
        f"conv{axes}d",
        tuple(module.weight.shape),
        "layer.weight",
        True,
        groups=module.groups,
        stride=module.stride,
        padding=tuple((one, one) for one in module.padding),
        dilation=module.dilation,
    )


def sorted_rows(x):
    return np.array(sorted(x.detach().numpy().tolist()))


@pytest.mark.parametrize("module", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_all_places_drawn_are_the_windows_that_unfolding_gives_and_fewer_are_some_of_them(module):
    layer, generator = layer_of(module), torch.Generator().manual_seed(0)
    x = torch.randn(2, module.in_channels, *[9, 11][-len(module.kernel_size) :], generator=generator)
    [unfolded] = LayerInputs(layer, [x]).rows()
    every, few = (draw_places(layer, x, count, generator) for count in (1000, 5))
    assert few.shape == (layer.groups, 10, unfolded.shape[2])
    for whole, drawn, some in zip(unfolded, every, few, strict=True):
        np.testing.assert_array_equal(sorted_rows(drawn), sorted_rows(whole))
        assert {tuple(row) for row in some.tolist()} <= {tuple(row) for row in whole.tolist()}
    weight = module.weight.detach().reshape(layer.groups, -1, unfolded.shape[2])
    with torch.no_grad():
        expected = float((module(x) - module.bias.reshape(-1, *[1] * len(module.kernel_size))).square().sum())
    assert float((every @ weight.transpose(1, 2)).square().sum()) == pytest.approx(expected, rel=1e-5)


def own_outputs(module, inputs):
    """Return the SQNR in dB of each layer's outputs, as copies of the layers give them without their biases."""
    found, others = {}, copy.deepcopy(module)

    def measure(name, part, given, made):
        copies = [copy.deepcopy(others.get_submodule(name)) for _ in range(2)]
        x = part.weight.detach().numpy().astype(np.float64)
        scale = np.float32(np.abs(x).max() / 7)
        change = x - np.clip(np.rint(x / scale), -8, 7) * scale
        for one, weight in zip(copies, (x, change), strict=True):
            one.weight = torch.nn.Parameter(torch.from_numpy(weight))
            if getattr(one, "bias", None) is not None:
                one.bias = None
        plain, noise = (one(given[0].double() if given[0].is_floating_point() else given[0]) for one in copies)
        found[name] = 10 * math.log10(plain.square().sum() / noise.square().sum())

    undo = [
        part.register_forward_hook(partial(measure, name))
        for name, part in module.named_modules()
        if hasattr(part, "weight") and part.weight.ndim > 1
    ]
    with torch.no_grad():
        module(inputs)
    for handle in undo:
        handle.remove()
    return found


def network_of(name):
    module, inputs = MODELS[name.removeprefix("onnx ")]
    if not name.startswith("onnx "):
        return from_module(module, Agreement({"test": inputs.numpy()}), inputs)
    model = OnnxModel(OnnxGraph(exported(module.eval(), inputs)), name, inputs.numpy())
    return Network(model, Agreement({"test": inputs.numpy()}))


@pytest.mark.parametrize("name", [*MODELS, "onnx residual"])
def test_it_is_what_each_layer_gives_on_the_same_inputs_where_no_place_is_left_out(name):
    network, (module, inputs) = network_of(name), MODELS[name.removeprefix("onnx ")]
    found = {
        one.layer.removesuffix(".weight"): layer_output_sqnr_db(network, one.layer, SPEC, one.moment)
        for one in filter(None, input_moments(network, network.layers()))
    }
    assert found == pytest.approx(own_outputs(module, inputs), abs=1e-4)


def test_an_embeddings_rows_count_as_often_as_they_are_looked_up():
    rng = np.random.default_rng(0)
    tokens, weight = rng.integers(0, 5, (8, 7)), rng.standard_normal((6, 3)).astype(np.float32)
    other = weight + rng.standard_normal(weight.shape).astype(np.float32) / 10
    counts = np.bincount(tokens.reshape(-1), minlength=6).astype(np.float64)
    signal, noise = (np.square(rows[tokens].astype(np.float64)).sum() for rows in (weight, other - weight))
    assert output_sqnr_db(weight, other, counts) == pytest.approx(10 * np.log10(signal / noise), rel=1e-5)


def test_most_places_of_larger_pictures_are_left_out_and_the_result_hardly_changes():
    network = load("fashion-depthwise")
    whole = own_outputs(network.model.module, torch.from_numpy(network.data("calibration")[0].copy()))
    found = [*filter(None, input_moments(network, network.layers()))]
    assert [one.layer for one in found] == [*network.layers()]
    for one in found:
        assert layer_output_sqnr_db(network, one.layer, SPEC, one.moment) == pytest.approx(whole[one.layer], abs=0.7)


def test_layers_whose_moments_have_no_room_together_are_run_one_after_the_other():
    network = load("fashion-cnn")
    [*together] = input_moments(network, network.layers())
    [*apart] = input_moments(network, network.layers(), max_bytes=1)
    assert [one.layer for one in filter(None, apart)] == [*network.layers()]
    assert len(apart) > 2 * len(together)  # the convolutions have all places they may have in some batches


def test_a_network_without_data_says_so():
    network = load("fashion-cnn")
    bare = type(network)(network.model)
    with pytest.raises(QuantError, match="has no data"):
        next(input_moments(bare, ["conv1"]))
