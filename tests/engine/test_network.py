"""The built-in networks against torch: folded weights, accuracy under a plan, what is kept and what is imported."""

import gc
import hashlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine import models, studies
from quant_engine import network as networks
from quant_engine.execution import STAGE_INPUTS
from quant_engine.execution.prefix import CACHE_BYTES
from quant_engine.models import Layer, as_builtin
from quant_engine.network.files import BUILTIN
from tests import reference
from tests.engine.trained import folded, run, trained_module

ROOT = pathlib.Path(__file__).parents[2]
FOUR_BITS = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
GROUPS = qe.QuantizerSpec(qe.IntFormat(3), qe.PerGroup(32, remainder="short"), symmetric=False, clipping=qe.MinMSE())


@pytest.fixture(scope="module", params=models.ARCHITECTURES)
def network(request):
    return networks.load(request.param)


@pytest.fixture(scope="module")
def module(network):
    return trained_module(network.name)


def labels_with(module, network, spec, names, split="test"):
    """Return the labels of an independent copy whose weights are replaced one by one."""
    layers, whole = folded(module)
    for name in names:
        weight = layers[name].weight
        matrix = torch.from_numpy(network.weight(name).copy()).reshape(weight.shape[0], -1)
        with torch.no_grad():
            layers[name].weight = torch.nn.Parameter(
                torch.from_numpy(qe.fake_quantize(matrix, spec)).reshape(weight.shape), requires_grad=False
            )
    return run(whole, network.data(split)[0]).argmax(axis=1)


def test_folded_weights_are_those_torch_fuses(network, module):
    layers, _ = folded(module)
    assert list(layers) == list(network.layers())
    for name, layer in layers.items():
        np.testing.assert_allclose(network.weight(name), layer.weight.detach().numpy(), rtol=2e-6, atol=1e-9)


def test_folding_changes_no_output(network, module):
    images = network.data("calibration")[0]
    expected = run(module, images)
    np.testing.assert_allclose(network.run(images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_layers_are_named_and_shaped_as_in_torch(network, module):
    for name, info in network.layers().items():
        weight = dict(module.named_children())[name].weight
        assert info.shape == tuple(weight.shape) == network.weight(name).shape
        assert info.parameters == weight.numel()
        assert info.matrix_shape == (weight.shape[0], weight.numel() // weight.shape[0])


def test_only_a_convolution_with_one_channel_a_group_is_depthwise():
    layers = networks.load("fashion-depthwise").layers()
    assert [name for name, info in layers.items() if info.depthwise] == ["dw1", "dw2", "dw3", "dw4"]
    assert {name: info.op for name, info in layers.items() if info.op != "conv2d"} == {"fc": "linear"}
    assert {info.groups for info in layers.values() if not info.depthwise} == {1}


def test_multiplications_count_each_weight_once_for_every_place_of_the_output():
    def layer(op, shape, output_shape, groups=1):
        return Layer("a", op, shape, "a.weight", True, ((), output_shape), groups)

    assert layer("linear", (384, 384), (77, 384)).multiplications == 77 * 384 * 384  # 11.4 M, of 77 tokens
    assert layer("linear", (10, 96), (10,)).multiplications == 960
    assert layer("conv2d", (8, 3, 3, 3), (8, 14, 14)).multiplications == 8 * 27 * 14 * 14  # of stride 2 on 28 × 28
    assert layer("conv2d", (8, 1, 3, 3), (8, 7, 7), 8).multiplications == 8 * 9 * 49
    assert layer("conv1d", (4, 2, 5), (4, 30)).multiplications == 4 * 10 * 30
    assert layer("embedding", (30522, 384), (77, 384)).multiplications == 0


def test_data_are_what_is_documented(network):
    for split, count in (("test", 2000), ("calibration", 512), ("search", 2000), ("training", 6000)):
        images, labels = network.data(split)
        assert (images.shape, images.dtype, labels.shape) == ((count, 1, 28, 28), np.float32, (count,))
        assert set(labels) == set(range(10))
        pixels = (images * 0.3530 + 0.2860) * 255
        np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-3)


def test_splits_are_balanced_and_no_image_is_in_two(network):
    assert np.bincount(network.data("training")[1]).tolist() == [600] * 10
    assert np.bincount(network.data("search")[1]).tolist() == [200] * 10
    images = [image.tobytes() for split in network.task.splits for image in network.data(split)[0]]
    assert len(set(images)) == len(images) == 2000 + 512 + 2000 + 6000


def test_the_search_images_are_those_that_were_drawn():
    content = (BUILTIN / "fashion-mnist-search.npz").read_bytes()
    drawn = "1710d7f1205d9d3894978aa4261c173057589a5bb5d7a79aa381cde236affc73"  # by tools/draw_subsets.py
    assert hashlib.sha256(content).hexdigest() == drawn


def test_batch_norms_are_those_of_the_trained_modules(network, module):
    children = dict(module.named_children())
    norms = {name.removesuffix("_bn"): child for name, child in children.items() if name.endswith("_bn")}
    assert list(as_builtin(network.model).norms) == list(norms)
    for name, norm in as_builtin(network.model).norms.items():
        there = norms[name]
        pairs = (
            (norm.weight, children[name].weight),
            (norm.gamma, there.weight),
            (norm.beta, there.bias),
            (norm.mean, there.running_mean),
            (norm.variance, there.running_var),
        )
        for ours, theirs in pairs:
            np.testing.assert_array_equal(ours, theirs.detach().numpy())


def test_without_a_plan_the_labels_are_those_of_the_trained_modules(network, module):
    np.testing.assert_array_equal(network.predict(), run(module, network.data()[0]).argmax(axis=1))


@pytest.mark.choice(3)
@pytest.mark.parametrize("spec", [FOUR_BITS, GROUPS], ids=["4 bits a channel", "3 bits a group"])
def test_one_quantized_layer_gives_the_labels_of_an_independent_module(network, module, spec):
    names = list(network.layers())
    for name in (names[0], names[len(names) // 2], names[-1]):
        plan = qe.QuantizationPlan({name: qe.LayerPlan(spec)})
        np.testing.assert_array_equal(network.predict(plan), labels_with(module, network, spec, [name]))


@pytest.mark.parametrize("split", ["test", "calibration"])
def test_every_layer_quantized_gives_the_accuracy_of_an_independent_module(network, module, split):
    plan = qe.QuantizationPlan({name: qe.LayerPlan(FOUR_BITS) for name in network.layers()})
    labels = network.data(split)[1]
    expected = labels_with(module, network, FOUR_BITS, network.layers(), split)
    found = network.evaluate(plan, split)
    assert (found.correct, found.total) == (int((expected == labels).sum()), labels.size)


def test_resuming_from_the_changed_layer_gives_the_labels_of_a_fresh_network(network):
    names = list(network.layers())
    plans = [
        {names[-1]: FOUR_BITS},
        {names[1]: GROUPS, names[-1]: FOUR_BITS},
        {names[1]: GROUPS},
        dict.fromkeys(names, FOUR_BITS),
        {names[0]: FOUR_BITS},
        {},
    ]
    for layers in plans:
        plan = qe.QuantizationPlan({name: qe.LayerPlan(spec) for name, spec in layers.items()})
        fresh = networks.load(network.name).predict(plan, "calibration")
        np.testing.assert_array_equal(network.predict(plan, "calibration"), fresh)


def test_a_network_that_is_gone_leaves_nothing_that_its_stages_received():
    networks.load("fashion-cnn").predict(split="calibration")
    gc.collect()
    before = STAGE_INPUTS.size_bytes
    assert before <= CACHE_BYTES
    fresh = networks.load("fashion-cnn")
    fresh.predict(split="calibration")
    assert STAGE_INPUTS.size_bytes <= before


def test_a_frozen_plan_gives_the_same_labels_before_and_after_it_is_saved(network, tmp_path):
    plan = qe.QuantizationPlan({name: qe.LayerPlan(GROUPS) for name in network.layers()})
    frozen = network.freeze(plan)
    assert frozen.frozen
    frozen.save(tmp_path / "plan.json")
    expected = network.predict(plan, "calibration")
    for other in (frozen, qe.QuantizationPlan.load(tmp_path / "plan.json")):
        np.testing.assert_array_equal(network.predict(other, "calibration"), expected)


def test_weights_cannot_be_written(network):
    for name in network.layers():
        with pytest.raises(ValueError, match="read-only"):
            network.weight(name)[...] = 0


def test_an_unknown_layer_is_refused_with_the_layers_there_are(network):
    plan = qe.QuantizationPlan({"conv9": qe.LayerPlan(FOUR_BITS)})
    for ask in (lambda: network.weight("conv9"), lambda: network.freeze(plan), lambda: network.evaluate(plan)):
        with pytest.raises(qe.QuantError, match=rf"'conv9'.*{next(iter(network.layers()))}"):
            ask()


def test_what_a_network_cannot_do_is_refused(network):
    name = next(iter(network.layers()))
    with pytest.raises(qe.QuantError, match=r"'train'.*calibration, search, test"):
        network.data("train")
    with pytest.raises(qe.QuantError, match=r"does not divide axis 1"):
        network.freeze(qe.QuantizationPlan({name: qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(7)))}))
    with pytest.raises(qe.QuantError, match="fit it anew"):
        network.predict(qe.QuantizationPlan({name: qe.LayerPlan(qe.fit(np.ones((3, 3)), FOUR_BITS))}))


def test_an_unknown_network_is_refused_with_the_built_in_ones():
    with pytest.raises(qe.QuantError, match=r"'resnet'.*fashion-cnn, fashion-depthwise"):
        networks.load("resnet")


@pytest.mark.parametrize(("correct", "total"), [(1830, 2000), (0, 20), (20, 20), (1, 3), (999, 2000)])
def test_the_interval_is_wilsons(correct, total):
    low, high = networks.Accuracy(correct, total).interval
    assert (low, high) == pytest.approx(reference.wilson(correct, total), abs=1e-12)
    assert low <= networks.Accuracy(correct, total).value <= high


def test_the_interval_of_ten_in_ten_starts_at_the_published_value():
    assert networks.Accuracy(10, 10).interval[0] == pytest.approx(0.7225, abs=1e-4)  # Newcombe 1998, method 3


def imported(code):
    told = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in told.stdout.split()}


def test_importing_the_engine_imports_neither_torch_nor_a_user_interface():
    assert not imported("import quant_engine") & {"torch", "streamlit", "plotly", "explorer", "onnx"}


def test_quantizing_and_describing_a_tensor_import_no_torch():
    code = "import quant_engine as q; q.quantize([0.5, 1.0], q.QuantizerSpec(q.IntFormat(4))); q.Distribution([1.0])"
    assert "torch" not in imported(code)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_listing_layers_and_reading_weights_imports_no_torch(name):
    code = (
        f"from quant_engine.network import load; n = load({name!r}); [n.weight(l) for l in n.layers()]; n.data('test')"
    )
    assert "torch" not in imported(code)


def test_codes_and_a_bias_of_its_own_take_the_place_of_a_layers():
    """The fully connected head, worked out in numpy from what it receives."""
    network = networks.load("fashion-cnn")
    rng = np.random.default_rng(3)
    spec = qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel())
    other = qe.quantize(rng.standard_normal((10, 96)), spec)
    bias = rng.standard_normal(10).astype(np.float32)
    plan = qe.QuantizationPlan({"fc2": qe.LayerPlan(other, bias=bias)})
    x = network.activations(["fc2"], "test")["fc2"].astype(np.float64)
    expected = x @ other.dequantize().T.astype(np.float64) + bias
    np.testing.assert_allclose(network.logits(plan), expected, rtol=1e-4, atol=1e-3)
    assert network.freeze(plan)["fc2"].weight is other
    assert studies.footprint(network, plan).layers["fc2"].size_bytes == 960 + 40


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (qe.LayerPlan(qe.quantize(np.ones((10, 95)), qe.QuantizerSpec(qe.IntFormat(8)))), "codes of \\(10, 95\\)"),
        (qe.LayerPlan(bias=np.ones(9, np.float32)), "a bias of 9"),
    ],
)
def test_codes_and_biases_of_another_shape_are_refused(plan, said):
    with pytest.raises(qe.QuantError, match=said):
        networks.load("fashion-cnn").evaluate(qe.QuantizationPlan({"fc2": plan}))


def test_a_bias_of_two_axes_is_refused():
    with pytest.raises(qe.QuantError, match="one value for each output channel"):
        qe.LayerPlan(bias=np.ones((2, 2), np.float32))


class CountedReads(dict):
    """Weights and biases by layer, with how often any was asked for."""

    count = 0

    def __getitem__(self, layer):
        self.count += 1
        return super().__getitem__(layer)


def test_a_plan_of_specs_is_fitted_once_for_all_runs_and_scores():
    def plan(bits):
        return qe.QuantizationPlan({"fc2": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(bits), clipping=qe.MinMSE()))})

    network = networks.load("fashion-cnn")
    images = network.data()[0][:8]
    model = network.model
    model.parameters = weights = CountedReads(model.parameters)
    reads = []
    for bits in (4, 4, 5, 4):
        before = weights.count
        network.run(images, plan(bits))
        reads.append(weights.count - before)
    assert reads[1] == reads[3] < reads[0] == reads[2]
    frozen = network.freeze(plan(4))
    assert network.freeze(plan(4)) is frozen is network.freeze(frozen)
    assert network.freeze(plan(5)) is not frozen


def test_plans_of_one_spec_are_fitted_for_each_number_of_calibration_samples():
    plan = qe.QuantizationPlan({"fc2": qe.LayerPlan(None, qe.QuantizerSpec(qe.IntFormat(8, signed=False)))})
    network = networks.load("fashion-cnn")
    few, many = (network.freeze(plan, count)["fc2"].activation.scale.item() for count in (1, 64))
    assert few < many
    assert network.freeze(plan, network.data("calibration")[0][:1])["fc2"].activation.scale.item() == few
