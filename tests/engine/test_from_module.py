"""Any torch module is a network: its layers, weights and plans, with no image, label or bias taken for granted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.models import as_builtin
from quant_engine.network import from_module
from quant_engine.tasks import Classification
from tests.engine.foreign import foreign_models, layers_of

MODELS = foreign_models()
W4 = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
A8 = qe.QuantizerSpec(qe.IntFormat(8, signed=False), symmetric=False)


@pytest.fixture(params=MODELS)
def subject(request):
    module, inputs = MODELS[request.param]
    return from_module(module, example=inputs), module, inputs


def test_an_example_may_hold_arrays_as_well_as_tensors(subject):
    network, module, inputs = subject
    arrays = {name: part.numpy() for name, part in inputs.items()} if isinstance(inputs, dict) else inputs.numpy()
    assert from_module(module, example=arrays).model.trace == network.model.trace


def test_an_example_of_several_positions_may_hold_float64():
    module = torch.nn.Bilinear(2, 3, 4)
    two = torch.nn.Sequential()
    two.pair, two.out = module, torch.nn.Linear(4, 1)
    two.forward = lambda x, y: two.out(two.pair(x, y))
    assert from_module(two, example=(np.ones((1, 2)), np.ones((1, 3)))).layers()["out"].shape == (1, 4)


def quantized(module, names, inputs=None):
    """Return a changed deep copy: the obvious way to quantize weights and, with inputs, what layers receive."""
    other = copy.deepcopy(module)
    for name in names:
        layer = other.get_submodule(name)
        weight = layer.weight.detach().numpy()
        with torch.no_grad():
            new = qe.fake_quantize(weight.reshape(len(weight), -1), W4).reshape(weight.shape)
            layer.weight = torch.nn.Parameter(torch.from_numpy(new))
    for name, quantizer in (inputs or {}).items():
        other.get_submodule(name).register_forward_pre_hook(
            lambda _, given, q=quantizer: (torch.from_numpy(q.fake_quantize(given[0].numpy())),)
        )
    return other


def test_layers_have_the_modules_weights_shapes_and_biases(subject):
    network, module, inputs = subject
    assert sorted(network.layers()) == sorted(layers_of(module))
    seen = {}
    plain = copy.deepcopy(module)
    for name in network.layers():
        plain.get_submodule(name).register_forward_hook(
            lambda _, given, out, name=name: seen.__setitem__(name, (given[0].shape[1:], out.shape[1:]))
        )
    plain(inputs)
    for name, layer in network.layers().items():
        part = module.get_submodule(name)
        np.testing.assert_array_equal(network.weight(name), part.weight.detach().numpy())
        bias = getattr(part, "bias", None)
        assert layer.has_bias == (bias is not None) == (network.bias(name) is not None)
        assert (layer.input_shape, layer.output_shape) == seen[name]
        assert layer.groups == getattr(part, "groups", 1)
        assert layer.stride == getattr(part, "stride", ())


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch copies the inputs of even kernels
def test_a_convolution_is_known_to_its_padding():
    """The layer's weight, stride, zeros and dilation alone give the outputs again."""
    parts = [
        torch.nn.Conv2d(2, 3, (3, 4), padding="same"),
        torch.nn.Conv2d(2, 3, 3, padding="valid", stride=2),
        torch.nn.Conv2d(2, 4, 3, padding=(2, 1), dilation=(1, 2), groups=2),
        torch.nn.Conv1d(2, 3, 4, padding="same", dilation=3),
    ]
    for part in parts:
        x = torch.randn(2, 2, *(9,) * (part.weight.ndim - 2))
        layer = from_module(torch.nn.Sequential(part), example=x).layers()["0"]
        ends = [end for axis in reversed(layer.padding) for end in axis]
        apply = torch.nn.functional.conv1d if layer.op == "conv1d" else torch.nn.functional.conv2d
        wide = torch.nn.functional.pad(x, ends)
        found = apply(wide, part.weight, part.bias, layer.stride, 0, layer.dilation, layer.groups)
        assert torch.allclose(found, part(x), atol=1e-6)


def test_tied_layers_are_one_weight():
    network = from_module(*MODELS["decoder"][:1], example=MODELS["decoder"][1])
    layers = network.layers()
    assert (layers["head"].tied_to, layers["head"].tensor) == ("embed", "embed.weight")
    assert {name for name, layer in layers.items() if layer.tied_to} == {"head"}
    plan = qe.QuantizationPlan({"embed": qe.LayerPlan(W4)})
    with pytest.raises(qe.QuantError, match="'embed' and 'head' share one weight"):
        network.freeze(plan)


@torch.no_grad()
def test_a_plan_of_weights_gives_what_a_changed_module_gives(subject):
    network, module, inputs = subject
    plan = qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(W4)))
    before = network.run(inputs.numpy())
    np.testing.assert_array_equal(before, module(inputs))
    expected = quantized(module, network.layers())(inputs)
    np.testing.assert_array_equal(network.run(inputs.numpy(), plan), expected)
    np.testing.assert_array_equal(network.run(inputs.numpy()), before)


@torch.no_grad()
def test_static_inputs_are_calibrated_on_the_inputs_given(subject):
    network, module, inputs = subject
    names = [name for name, layer in network.layers().items() if layer.op != "embedding"]
    plan = qe.QuantizationPlan({name: qe.LayerPlan(activation=A8) for name in names})
    frozen = network.freeze(plan, inputs.numpy())
    received = network.capture(inputs.numpy(), names)
    for name in names:
        low, high = min(received[name].min(), 0), max(received[name].max(), 0)
        assert frozen[name].activation.scale.item() == pytest.approx((high - low) / 255, rel=1e-6)
    expected = quantized(module, [], {name: frozen[name].activation for name in names})(inputs)
    np.testing.assert_array_equal(network.run(inputs.numpy(), frozen), expected)


def test_a_saved_plan_keeps_the_names_of_nested_layers(subject, tmp_path):
    network, _, inputs = subject
    plan = network.freeze(qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(W4))))
    plan.save(tmp_path / "plan.json")
    loaded = qe.QuantizationPlan.load(tmp_path / "plan.json")
    np.testing.assert_array_equal(network.run(inputs.numpy(), loaded), network.run(inputs.numpy(), plan))


def test_what_a_network_lacks_is_refused_with_what_to_give(subject):
    network, module, inputs = subject
    static = qe.QuantizationPlan({list(network.layers())[-1]: qe.LayerPlan(activation=A8)})
    for ask in (network.evaluate, network.predict, network.data):
        with pytest.raises(qe.QuantError, match="give from_module a task"):
            ask()
    with pytest.raises(qe.QuantError, match=r"no calibration data .* give freeze\(plan, data=inputs\), or .* a task"):
        network.freeze(static)
    with pytest.raises(qe.QuantError, match="not a straight run of steps"):
        as_builtin(network.model)
    with pytest.raises(qe.QuantError, match="no layer 'nothing'"):
        network.weight("nothing")
    bare = from_module(module)
    if not isinstance(module, torch.nn.Sequential):
        with pytest.raises(qe.QuantError, match="an example of its inputs"):
            _ = bare.layers()[layers_of(module)[0]].input_shape
    broken = inputs.numpy().astype(np.float32) * np.float32(np.nan)
    with pytest.raises(qe.QuantError, match=r"has \d+ NaN and 0 infinite values"):
        network.freeze(static, broken)


def test_a_module_without_a_layer_is_refused():
    with pytest.raises(qe.QuantError, match="no layer to quantize"):
        from_module(torch.nn.Sequential(torch.nn.ReLU()))


def test_a_task_gives_data_and_accuracy():
    module, inputs = MODELS["residual"]
    labels = module(inputs).argmax(1).numpy()
    labels[0] = (labels[0] + 1) % 5
    network = from_module(module, Classification({"test": lambda: (inputs.numpy(), labels)}), inputs)
    assert network.evaluate().value == pytest.approx(5 / 6)
    assert network.task.splits == {"test"}
    with pytest.raises(qe.QuantError, match="'training' is unknown; choose one of test"):
        network.data("training")


def test_digests_tell_models_apart_by_their_values_alone(subject):
    network, module, inputs = subject
    assert from_module(copy.deepcopy(module), example=inputs).digest == network.digest
    name = next(iter(network.layers()))
    weight = network.weight(name) + np.float32(1e-3)
    changed = network.with_parameters({name: (weight, network.bias(name))})
    assert changed.digest != network.digest
    assert {n: layer.tied_to for n, layer in changed.layers().items() if layer.tied_to} == {
        n: layer.tied_to for n, layer in network.layers().items() if layer.tied_to
    }
    np.testing.assert_array_equal(module.get_submodule(name).weight.detach(), network.weight(name))
    assert not np.array_equal(changed.run(inputs.numpy()), network.run(inputs.numpy()))


class TwoTowers(torch.nn.Module):
    """Takes tokens and numbers by name, and gives two tensors and what is none."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.dense = torch.nn.Embedding(9, 4), torch.nn.Linear(3, 4)

    def forward(self, tokens, numbers, scale=1.0):
        words, numbers = self.words(tokens).sum(1), self.dense(numbers) * scale
        return {"sum": words + numbers, "words": words, "cache": None}


@torch.no_grad()
def test_inputs_and_outputs_by_name_are_those_of_the_module():
    torch.manual_seed(3)
    module, random = TwoTowers(), np.random.default_rng(3)
    inputs = {"tokens": random.integers(0, 9, (450, 5)), "numbers": random.standard_normal((450, 3), np.float32)}
    network = from_module(module, example={name: torch.from_numpy(array[:1]) for name, array in inputs.items()})
    expected = module(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    found = network.run(inputs)
    assert list(found) == ["sum", "words"]
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
    captured = network.capture(inputs, ["words", "dense"])
    np.testing.assert_array_equal(captured["words"], inputs["tokens"])
    assert captured["words"].dtype == np.int64
    np.testing.assert_array_equal(captured["dense"], inputs["numbers"])
    plan = qe.QuantizationPlan({"words": qe.LayerPlan(W4), "dense": qe.LayerPlan(W4, A8)})
    streamed = ({name: array[i : i + 50] for name, array in inputs.items()} for i in range(0, 450, 50))
    one, other = network.freeze(plan, inputs), network.freeze(plan, streamed)
    with pytest.raises(qe.QuantError, match="no batch of calibration data"):
        network.freeze(plan, iter(()))
    assert one["dense"].activation.scale == other["dense"].activation.scale
    scale = np.ptp(np.append(inputs["numbers"], 0)) / 255
    assert one["dense"].activation.scale.item() == pytest.approx(scale, rel=1e-6)


def test_inputs_that_a_model_does_not_take_are_refused():
    example = {"tokens": torch.zeros(1, 5, dtype=torch.int64), "numbers": torch.zeros(1, 3)}
    network = from_module(TwoTowers(), example=example)
    tokens, numbers = np.zeros((4, 5), np.int64), np.zeros((4, 3), np.float32)
    for inputs, reason in (
        ({"tokens": tokens}, r"takes forward\(tokens, numbers, scale=1.0\), not tokens: missing"),
        ({"tokens": tokens, "pixels": numbers}, "not tokens, pixels: "),
        ({"tokens": tokens, "numbers": numbers[:3]}, r"'tokens' \(4, 5\), 'numbers' \(3, 3\); give each the same"),
        ({"tokens": tokens, "numbers": numbers * np.nan}, "input 'numbers' of shape .* has 12 NaN"),
        ({"tokens": tokens, "numbers": "abc"}, "input 'numbers' has dtype"),
        ({}, "inputs have shapes {}"),
        ({"tokens": tokens + 9, "numbers": numbers}, "does not run on inputs of shape .*index out of range"),
        ({"tokens": tokens, "numbers": numbers[:, :2]}, r"does not run on .*shape \(4, 2\) and torch.float32: mat1"),
        (np.float32(1), r"must be a batch \(n, …\)"),
        (numbers[:0], r"inputs of shape \(0, 3\) must be a batch"),
    ):
        with pytest.raises(qe.QuantError, match=reason):
            network.run(inputs)


def test_layers_of_unknown_shape_take_weight_plans():
    module, inputs = MODELS["residual"]
    plan = qe.QuantizationPlan({"stem": qe.LayerPlan(W4)})
    blind, known = from_module(module), from_module(module, example=inputs)
    np.testing.assert_array_equal(blind.run(inputs.numpy(), plan), known.run(inputs.numpy(), plan))
