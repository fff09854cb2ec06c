"""Every method of the table on models that are unlike the built-in ones: it runs to its end, or says what it needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import quant_engine as qe
from quant_engine.execution import LayerInputs, planned_weight
from quant_engine.methods import (
    METHODS,
    Setting,
    available,
    compensate,
    compensated,
    gaussian_images,
    layerwise,
    scaling_pairs,
    synthetic_images,
)
from quant_engine.methods.layer_by_layer import layer_by_layer
from quant_engine.models import OnnxGraph, OnnxModel
from quant_engine.network import Network, from_module
from quant_engine.tasks import Classification
from tests.engine.foreign import exported, foreign_models

W4 = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0), clipping=qe.MinMSE())
A8 = qe.QuantizerSpec(qe.IntFormat(8), qe.PerTensor(), symmetric=False)
SETTING = Setting(W4, A8)
BUILT_IN_ONLY = {"zeroq", "gaussian_data", "batch_norm_ranges", "bias_correction_analytic", "dfq", "dfq_zeroq"}
NO_PAIRS = {"cross_layer_equalization", "smoothquant", "awq"}
LACKING = {  # what each model has no statistics of, and no scale to move for
    "sequential": BUILT_IN_ONLY,
    "residual": BUILT_IN_ONLY | NO_PAIRS,
    "decoder": BUILT_IN_ONLY,
    "encoder": BUILT_IN_ONLY,
    "pre-norm": BUILT_IN_ONLY,
    "normed": BUILT_IN_ONLY - {"zeroq"} | NO_PAIRS,
    "onnx": BUILT_IN_ONLY | NO_PAIRS | {"qat", "pact"},
}


class PreNormBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.o(nn.functional.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h)))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class PreNormEncoder(nn.Module):
    """LayerNorm before each part, as in ViT and GPT: nothing but linear layers reads what it gives."""

    def __init__(self, vocabulary: int = 64, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(PreNormBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def pre_norm_encoder():
    torch.manual_seed(1)
    return PreNormEncoder(), torch.randint(0, 64, (6, 7))


class NormedBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, 1, 1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + self.norm2(self.second(nn.functional.relu(self.norm1(self.first(x)))))


class NormedCNN(nn.Module):
    """A residual CNN whose BatchNorms, behind convolutions, have seen data."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([NormedBlock(8), NormedBlock(8)])
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def normed_cnn():
    torch.manual_seed(2)
    module, images = NormedCNN(), torch.randn(6, 3, 8, 8)
    for _ in range(40):
        module(1.5 * torch.randn(64, 3, 8, 8))
    return module, images


MODELS = {**foreign_models(), "pre-norm": pre_norm_encoder(), "normed": normed_cnn()}


def inputs_like(example):
    rng = np.random.default_rng(0)
    if example.dtype == torch.int64:
        return rng.integers(1, 64, (24, 7))
    return rng.standard_normal((24, 3, 8, 8), np.float32)


def task_of(many):
    """Return a task with the same data in every split; the labels do not matter."""
    return Classification(
        {split: lambda: (many, np.zeros(len(many), int)) for split in ("calibration", "training", "test")}
    )


def network_of(name):
    """Return a foreign network with a few seeded inputs."""
    module, example = MODELS["residual" if name == "onnx" else name]
    task = task_of(inputs_like(example))
    if name == "onnx":
        return Network(OnnxModel(OnnxGraph(exported(module.eval(), example)), "residual", example.numpy()), task)
    return from_module(module, task, example)


@pytest.fixture(scope="module", params=LACKING)
def subject(request):
    return request.param, network_of(request.param)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(layerwise, "ADAROUND", replace(layerwise.ADAROUND, iterations=20, every=10, batch=64))


def error_of(network, plan):
    inputs = network.data("test")[0]
    return float(np.square(network.run(inputs, plan) - network.run(inputs)).mean())


def test_images_are_made_to_fit_the_batch_norms_of_any_model():
    module, example = MODELS["normed"]
    network, found = from_module(module, example=example), []

    def watch(norm, given, _):
        values = given[0]
        mean, deviation = values.mean((0, 2, 3)), values.var((0, 2, 3), unbiased=False).sqrt()
        wanted = norm.running_mean, (norm.running_var + norm.eps).sqrt()
        found.extend(float((one - other).square().mean()) for one, other in zip((mean, deviation), wanted, strict=True))

    def distance(images):
        found.clear()
        with torch.inference_mode():
            module(torch.from_numpy(images))
        return sum(found)

    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(watch) for norm in norms]
    steps = [*synthetic_images(network, count=32, steps=40)]
    start = gaussian_images(network, count=32)
    assert steps[0].loss == pytest.approx(distance(start), rel=1e-4)
    assert distance(steps[-1].images) < 0.2 * distance(start)
    for hook in hooks:
        hook.remove()
    with pytest.raises(qe.QuantError, match="not known to have mean 0 and deviation 1; calibrate on data instead"):
        compensate(network, "batch_norm_ranges", SETTING)


def check_method(network, key, setting=SETTING):
    """Check what every method owes to every network: stages that count, and a frozen plan that can be used."""
    before = network.digest
    stages = list(compensate(network, key, setting))
    plan = stages[-1].plan
    assert [stage.done for stage in stages] == list(range(stages[0].done, stages[-1].total + 1))
    assert len({stage.total for stage in stages}) == 1
    assert plan.frozen
    assert list(plan.layers) == list(network.layers())
    for name, layer in plan.layers.items():
        assert replace(layer.weight.spec, clipping=setting.weight.clipping) == setting.weight
        assert (layer.activation is None) == (network.layers()[name].op == "embedding" or setting.activation is None)
    network.freeze(plan)  # shared weights are the same, and all shapes fit
    assert np.isfinite(network.run(network.data("test")[0], plan)).all()
    assert network.digest == before
    return plan


def test_every_method_runs_or_says_what_it_needs(subject):
    name, network = subject
    at_once = {key for key, reason in available(network, probing=False).items() if reason}
    assert at_once == {key for key in LACKING[name] if not any(need.probing for need in METHODS[key].needs)}
    reasons = available(network)
    assert {key for key, reason in reasons.items() if reason} == LACKING[name]
    rounded = error_of(network, compensated(network, "nearest", SETTING))
    for key, reason in reasons.items():
        if reason is None:
            assert error_of(network, check_method(network, key)) < 2 * rounded, key
            continue
        assert reason.startswith(f"{METHODS[key].title} needs ")
        assert network.name in reason
        with pytest.raises(qe.QuantError) as refused:
            compensate(network, key, SETTING)
        assert str(refused.value) == reason


def test_without_data_methods_ask_for_it():
    module, inputs = MODELS["decoder"]
    reasons = available(from_module(module, example=inputs))
    assert {key for key, reason in reasons.items() if reason is None} == {"nearest", "clipped"}
    assert "give from_module a task with a calibration split" in reasons["gptq"]
    only = from_module(module, Classification({"test": lambda: (inputs.numpy(), np.zeros(6, int))}), inputs)
    assert "has only test; give it a calibration split" in available(only)["adaround"]


@torch.no_grad()
def test_what_a_layer_receives_times_its_weight_is_what_it_gives():
    """Against torch's own convolutions: any stride, padding, dilation and groups, one axis or two; and tokens."""
    conv1d, conv2d = nn.Conv1d, nn.Conv2d
    cases = [
        (conv2d(4, 6, 3, padding=1), (4, 9, 9)),
        (conv2d(4, 6, (3, 2), stride=(2, 3), padding=(0, 2), groups=2), (4, 9, 9)),
        (conv2d(4, 8, 3, dilation=2, padding="same", groups=4, bias=False), (4, 9, 9)),
        (conv1d(4, 6, 5, stride=2, padding=3, groups=2), (4, 11)),
        (conv1d(4, 6, 4, padding="same", dilation=2), (4, 11)),
        (nn.Linear(5, 3), (5,)),
        (nn.Linear(5, 3, bias=False), (2, 7, 5)),
    ]
    for part, shape in cases:
        x = torch.randn(6, *shape)
        layer = from_module(nn.Sequential(part), example=x).layers()["0"]
        inputs = LayerInputs(layer, [x[:4], x[4:]])
        rows = torch.cat([*inputs.rows()], 1).double()
        weight = part.weight.double().reshape(layer.groups, len(part.weight) // layer.groups, -1)
        found = (rows @ weight.transpose(1, 2)).transpose(0, 1).reshape(rows.shape[1], -1)
        outputs = part.double()(x.double()) - (0 if part.bias is None else part(0 * x.double()))
        expected = outputs.movedim(-1 if layer.op == "linear" else 1, -1).reshape(found.shape)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(inputs.hessian(), rows.transpose(1, 2) @ rows / rows.shape[1], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(inputs.means(), rows.mean(1), atol=1e-6)
        channels = x.movedim(layer.channel_axis, -1).reshape(-1, layer.input_channels).abs()
        np.testing.assert_allclose(inputs.magnitude(layer.input_channels), channels.mean(0), rtol=1e-5)
        np.testing.assert_array_equal(inputs.largest(layer.input_channels), channels.amax(0))


def test_layers_come_in_order_with_what_they_receive(subject):
    """In floating point as `capture` has it, and behind quantized layers as it has under their plan."""
    name, network = subject
    plan = compensated(network, "clipped", Setting(W4))
    visited = []
    for visit in layer_by_layer(network, plan.layers):
        visited.append(visit.name)
        inputs = network.data("calibration")[0]
        for found, expected in ((visit.x, None), (visit.x_hat, plan)):
            received = network.capture(inputs, [visit.name], expected)[visit.name]
            np.testing.assert_array_equal(torch.cat([*found.batches]), received)
    assert visited == [key for key, layer in network.layers().items() if layer.op != "embedding"]
    assert any(visit.relu for visit in layer_by_layer(network, plan.layers)) == (name == "sequential")


def test_gptq_and_adaround_beat_rounding_where_weights_are_coarse(subject):
    _, network = subject
    setting = Setting(replace(W4, format=qe.IntFormat(3)))
    found = {key: error_of(network, compensated(network, key, setting)) for key in ("clipped", "gptq", "gptaq")}
    print(found)
    assert min(found["gptq"], found["gptaq"]) < found["clipped"]


def test_shared_weights_stay_one_and_embeddings_are_rounded():
    network = network_of("decoder")
    for key in ("gptq", "adaround", "qat"):
        plan = compensated(network, key, SETTING)
        np.testing.assert_array_equal(
            *(planned_weight(network.model, name, plan[name]) for name in ("embed", "head")), err_msg=key
        )
        assert plan["embed"].activation is None
        if key != "qat":
            nearest = qe.fit(network.weight("embed"), W4).fake_quantize(network.weight("embed"))
            np.testing.assert_array_equal(planned_weight(network.model, "embed", plan["embed"]), nearest)
        assert all(layer.bias is None for layer in plan.layers.values())  # there was none


def test_pairs_are_where_a_scale_can_move():
    pairs = {name: {(p.producer, p.consumers) for p in scaling_pairs(network_of(name))} for name in MODELS}
    assert pairs["residual"] == set()  # ReLU6 bends, sums are read by others
    assert pairs["sequential"] == {("0.0", ("0.2",)), ("0.2", ("3",))}
    assert pairs["decoder"] == {
        (f"blocks.{i}.{producer}", tuple(f"blocks.{i}.{name}" for name in readers))
        for i in range(3)
        for producer, readers in (("norm1", "qkv"), ("v", "o"), ("norm2", ("gate", "up")), ("up", ("down",)))
    }
    assert pairs["encoder"] == {(f"blocks.{i}.value", (f"blocks.{i}.output",)) for i in range(2)}  # sums read the norms
    assert pairs["pre-norm"] == {
        (f"blocks.{i}.{producer}", tuple(f"blocks.{i}.{name}" for name in readers))
        for i in range(2)
        for producer, readers in (("norm1", "qkv"), ("v", "o"), ("norm2", ("up",)))
    }


def test_moved_scales_change_nothing_at_16_bits_and_save_channels_that_stand_out():
    module, inputs = pre_norm_encoder()
    with torch.no_grad():
        module.blocks[0].norm1.weight[3] = 60.0
        module.blocks[1].norm2.weight[5] = 40.0
    many = np.random.default_rng(1).integers(0, 64, (32, 7))
    network = from_module(module, task_of(many), inputs)
    plain = network.run(many)
    fine, coarse = Setting(replace(W4, format=qe.IntFormat(16))), Setting(replace(W4, format=qe.IntFormat(8)), A8)
    for key in ("smoothquant", "awq", "cross_layer_equalization"):
        plan = compensated(network, key, fine)
        np.testing.assert_allclose(network.run(many, plan), plain, atol=1e-3 * np.abs(plain).max())
        scales = [name for name, layer in plan.layers.items() if layer.input_scale is not None]
        assert (scales == []) == (key == "cross_layer_equalization")
    clipped, smooth = (error_of(network, compensated(network, key, coarse)) for key in ("clipped", "smoothquant"))
    assert smooth < 0.5 * clipped


def test_a_plan_with_input_scales_is_saved_and_patched_as_it_runs(tmp_path):
    network = network_of("pre-norm")
    inputs = network.data("test")[0]
    plan = compensated(network, "smoothquant", SETTING)
    plan.save(tmp_path / "plan.json")
    back = qe.QuantizationPlan.load(tmp_path / "plan.json")
    assert back.key == plan.key
    expected = network.run(inputs, plan)
    np.testing.assert_array_equal(network.run(inputs, back), expected)
    with network.patched(plan) as module:
        np.testing.assert_array_equal(module(torch.from_numpy(inputs)).detach(), expected)
    layer = plan["blocks.0.q"]
    for wrong, message in (
        ({"input_scale": layer.input_scale[:-1]}, "reads 16 channels, its plan has an input_scale of 15"),
        ({"input_scale": -layer.input_scale}, "give positive numbers"),
        ({"activation": A8}, "give a fitted Quantizer, or dynamic=True"),
    ):
        with pytest.raises(qe.QuantError, match=message):
            network.freeze(qe.QuantizationPlan({"blocks.0.q": replace(layer, **wrong)}))
