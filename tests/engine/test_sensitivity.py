"""Sensitivity of layers and mixed precision: measured against torch, and never on test images."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine import network as networks
from quant_engine import studies
from quant_engine.models.architectures import Architecture, Conv, Flatten, Linear, MaxPool
from quant_engine.models.builtin_model import BuiltinModel
from quant_engine.network.images import FASHION_MNIST
from quant_engine.studies import effect, fisher
from quant_engine.tasks import Classification
from tests import reference
from tests.engine.trained import folded, trained_module

SPECS = [qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel(0)) for bits in (2, 4, 8)]
CANDIDATES = [*SPECS, qe.QuantizerSpec(qe.FP16)]


@pytest.fixture(scope="module")
def network():
    return networks.load("fashion-cnn")


@pytest.fixture(scope="module")
def kept():
    return {}


def test_an_effect_is_what_torch_makes_of_the_logits(network):
    plan = studies.Trial("conv2", SPECS[0]).plan(network)
    plain, logits = (torch.from_numpy(network.logits(p, "calibration")).double() for p in (None, plan))
    labels = torch.from_numpy(network.data("calibration")[1])
    found = effect(network, plan)
    logs = [torch.log_softmax(part, dim=1) for part in (logits, plain)]
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-12)
    assert found.divergence == pytest.approx(
        torch.nn.functional.kl_div(*logs, reduction="batchmean", log_target=True).item(), rel=1e-9
    )
    noise = (plain - logits).square().sum()
    assert found.sqnr_db == pytest.approx(10 * torch.log10(plain.square().sum() / noise).item(), rel=1e-12)
    assert found.score == network.evaluate(plan, "calibration")


def test_floating_point_has_no_divergence_and_no_noise(network):
    found = effect(network)
    assert (found.divergence, found.sqnr_db) == (0, np.inf)


def test_one_layer_or_all_others_are_quantized(network):
    names = set(network.layers())
    assert set(studies.Trial("fc1", SPECS[0]).plan(network).layers) == {"fc1"}
    others = studies.Trial("fc1", SPECS[0], "activation", "others").plan(network)
    assert set(others.layers) == names - {"fc1"}
    assert all(plan.weight is None and plan.activation == SPECS[0] for plan in others.layers.values())


def test_a_stopped_measurement_goes_on_where_it_was(network):
    wanted, results = studies.trials(network, [qe.QuantizerSpec(qe.IntFormat(4))], studies.sensitivity.PARTS), {}
    assert len({trial.key for trial in wanted}) == len(wanted) == 2 * len(network.layers())
    for progress in studies.sensitivities(network, wanted, results):
        if progress.done == 3:
            break
    assert len(results) == 3
    results |= dict.fromkeys(results, "measured before")
    done, found = zip(*[(one.done, one.effect) for one in studies.sensitivities(network, wanted, results)], strict=True)
    assert list(done) == list(range(1, len(wanted) + 1))
    assert list(found[:3]) == ["measured before"] * 3
    assert all(isinstance(one, studies.Effect) for one in found[3:])


def test_the_fisher_diagonal_is_the_mean_squared_gradient_of_the_trained_modules(network):
    layers, whole = folded(trained_module(network.name))
    images, labels = (torch.from_numpy(part) for part in network.data("calibration"))
    for layer in layers.values():
        layer.weight.requires_grad_()
    totals = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    for image, label in zip(images, labels, strict=True):
        whole.zero_grad()
        torch.nn.functional.cross_entropy(whole(image[None]), label[None]).backward()
        for name, layer in layers.items():
            totals[name] += layer.weight.grad.square()
    for name, found in fisher(network).items():
        expected = (totals[name] / len(images)).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-5 * expected.max())


def test_the_prediction_is_half_the_weighted_squared_error(network):
    found = studies.predict_sensitivity(network, "conv3", SPECS[1])
    matrix = network.weight("conv3").reshape(64, -1)
    error = (qe.fake_quantize(matrix, SPECS[1]) - matrix).astype(np.float64) ** 2
    assert found.weight_mse == pytest.approx(error.mean(), rel=1e-9)
    expected = (fisher(network)["conv3"].reshape(64, -1) * error).sum() / 2
    assert found.loss_increase == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cost", ["divergence", "loss", "predicted loss"])
def test_the_mixed_plan_has_the_least_summed_cost_of_all_plans_that_fit(network, kept, cost):
    costs, sizes = studies.layer_costs(network, CANDIDATES, cost, kept), studies.layer_sizes(network, CANDIDATES)
    for budget in (30_000, 40_000, 60_000):
        found = studies.mixed_plan(network, CANDIDATES, budget, cost, kept)
        assert found.size_bytes == studies.footprint(network, found.plan).size_bytes <= budget
        assert found.predicted == pytest.approx(reference.best_choice(costs, sizes, budget), rel=1e-12)
        assert found.measured == effect(network, found.plan)


def test_a_mixed_plan_costs_no_more_than_a_uniform_one_of_its_bytes(network, kept):
    costs, sizes = studies.layer_costs(network, CANDIDATES, kept=kept), studies.layer_sizes(network, CANDIDATES)
    for index in range(len(CANDIDATES)):
        found = studies.mixed_plan(network, CANDIDATES, sizes[:, index].sum(), kept=kept)
        assert found.predicted <= costs[:, index].sum() * (1 + 1e-12)


def test_greedy_search_steps_down_one_layer_at_a_time_to_the_budget(network):
    budget = 34_000
    steps = list(studies.greedy_search(network, CANDIDATES, budget))
    assert set(steps[0].choices.values()) == {CANDIDATES[-1]}
    for before, after in pairwise(steps):
        changed = [name for name in after.choices if after.choices[name] != before.choices[name]]
        assert changed == [after.changed]
        assert budget < before.size_bytes > after.size_bytes
        assert after.size_bytes == studies.footprint(network, after.plan).size_bytes
    assert steps[-1].size_bytes <= budget


def test_the_best_steps_are_those_that_no_other_beats(network):
    def step(size, loss):
        return studies.SearchStep(None, {}, size, effect(network)._replace(loss=loss))

    steps = [step(9, 0.1), step(7, 0.3), step(6, 0.2), step(6, 0.4), step(2, 0.9)]
    assert studies.best_steps(steps) == [steps[4], steps[2], steps[0]]


def test_nothing_but_calibration_images_is_used_to_search(network):
    fresh = networks.Network(network.model, Classification({"calibration": network.data("calibration")}))
    assert studies.mixed_plan(fresh, SPECS[1:], 60_000).size_bytes <= 60_000
    assert next(studies.greedy_search(fresh, SPECS[1:])).measured.loss > 0
    assert studies.predict_sensitivity(fresh, "fc2", SPECS[0]).loss_increase > 0


def test_what_is_unknown_is_refused_with_the_choices(network):
    with pytest.raises(qe.QuantError, match=r"cost='x' is unknown; choose one of divergence"):
        studies.mixed_plan(network, SPECS, 1e6, "x")
    for call in (studies.greedy_search, lambda *_, measure: studies.best_steps([], measure)):
        with pytest.raises(qe.QuantError, match=r"measure='x' is unknown; choose one of loss"):
            call(network, SPECS, measure="x")
    with pytest.raises(qe.QuantError, match=r"part='bias' is unknown"):
        studies.Trial("fc1", SPECS[0], "bias")
    with pytest.raises(qe.QuantError, match=r"has no layer 'fc9'"):
        list(studies.sensitivities(network, [studies.Trial("fc9", SPECS[0])]))
    with pytest.raises(qe.QuantError, match=r"there are no candidates"):
        studies.mixed_plan(network, [], 1e6)
    with pytest.raises(qe.QuantError, match=r"no choice fits budget=9: .* raise the budget"):
        studies.mixed_plan(network, SPECS, 9, "predicted error")


@pytest.fixture
def one_layer():
    """A network of one layer with an unusual name, and random weights."""
    name = "läyer/1 weight"
    weight = np.random.default_rng(3).standard_normal((10, 784)).astype(np.float32) / 28
    stored = {f"{name}.weight": weight, f"{name}.bias": np.zeros(10, np.float32)}
    architecture = Architecture("One", (Flatten("flat"), Linear(name, 784, 10, relu=False)))
    return networks.Network(BuiltinModel("one", architecture, stored), FASHION_MNIST)


def test_a_network_of_one_layer_with_an_unusual_name_gets_a_plan(one_layer, tmp_path):
    sizes = studies.layer_sizes(one_layer, CANDIDATES)
    found = studies.mixed_plan(one_layer, CANDIDATES, sizes[0, 1])
    assert found.choices == {"läyer/1 weight": CANDIDATES[1]}
    assert found.predicted == found.measured.divergence  # nothing to add up
    others = studies.Trial("läyer/1 weight", SPECS[0], scope="others")
    (progress,) = studies.sensitivities(one_layer, [others])
    assert progress.effect == effect(one_layer)
    one_layer.freeze(found.plan).save(tmp_path / "plan.json")
    assert effect(one_layer, qe.QuantizationPlan.load(tmp_path / "plan.json")) == found.measured


@pytest.fixture
def tied():
    """A network whose convolutions `c2` and `c3` are one weight, with random weights."""
    rng = np.random.default_rng(4)
    shapes = {"c1": (4, 1, 3, 3), "c2": (4, 4, 3, 3), "fc": (10, 196)}
    stored = {f"{name}.weight": rng.standard_normal(shape).astype(np.float32) / 3 for name, shape in shapes.items()}
    stored |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    steps = (
        Conv("c1", 1, 4),
        MaxPool("p1"),
        Conv("c2", 4, 4),
        Conv("c3", 4, 4, shares="c2"),
        MaxPool("p2"),
        Flatten("flat"),
        Linear("fc", 196, 10, relu=False),
    )
    return networks.Network(BuiltinModel("tied", Architecture("Tied", steps), stored), FASHION_MNIST)


def test_a_weight_that_layers_share_is_quantized_in_both_and_counted_once(tied):
    assert [bool(info.tied_to) for info in tied.layers().values()] == [False, False, True, False]
    sizes = studies.layer_sizes(tied, CANDIDATES)
    assert sizes.shape == studies.layer_costs(tied, CANDIDATES, "predicted loss").shape == (3, len(CANDIDATES))
    assert set(studies.Trial("c3", SPECS[0]).plan(tied).layers) == {"c2", "c3"}
    assert set(studies.Trial("c2", SPECS[0], "activation").plan(tied).layers) == {"c2"}
    budget = sizes[:, 1].sum()
    steps = list(studies.greedy_search(tied, SPECS, budget))
    for found in (studies.mixed_plan(tied, CANDIDATES, budget), *steps):
        assert found.choices["c2"] == found.choices["c3"]
        assert found.size_bytes == studies.footprint(tied, found.plan).size_bytes
    assert steps[-1].size_bytes <= budget
    assert studies.footprint(tied).size_bytes == 4 * (36 + 144 + 1960)


def test_layers_that_share_a_weight_are_not_given_different_ones(tied, tmp_path):
    refused = {
        r"'c2' .*\"bits\":4.* and 'c3' floating point; give both the same": {"c2": qe.LayerPlan(SPECS[1])},
        r"layers 'c2' and 'c3' share one weight": {"c2": qe.LayerPlan(SPECS[1]), "c3": qe.LayerPlan(SPECS[2])},
    }
    for message, layers in refused.items():
        for call in (tied.freeze, tied.evaluate, lambda plan: studies.footprint(tied, plan)):
            with pytest.raises(qe.QuantError, match=message):
                call(qe.QuantizationPlan(layers))
    same = studies.weight_plan({"c2": SPECS[1], "c3": SPECS[1]})
    tied.freeze(same).save(tmp_path / "plan.json")
    again = qe.QuantizationPlan.load(tmp_path / "plan.json")  # two copies of the same arrays
    assert effect(tied, again) == effect(tied, same)


def test_the_fisher_diagonal_of_a_shared_weight_is_that_of_one_weight(tied):
    from torch.nn import functional

    images, labels = (torch.from_numpy(part) for part in tied.data("calibration"))
    first, shared, last = (torch.from_numpy(tied.weight(name).copy()) for name in ("c1", "c2", "fc"))
    shared.requires_grad_()
    total = torch.zeros_like(shared)
    for image, label in zip(images, labels, strict=True):
        x = functional.max_pool2d(functional.conv2d(image[None], first, padding=1).relu(), 2)
        x = functional.conv2d(functional.conv2d(x, shared, padding=1).relu(), shared, padding=1).relu()
        x = functional.linear(functional.max_pool2d(x, 2).flatten(1), last)
        total += torch.autograd.grad(functional.cross_entropy(x, label[None]), shared)[0].square()
    for name in ("c2", "c3"):
        np.testing.assert_allclose(fisher(tied)[name], total / len(images), rtol=1e-3, atol=1e-6 * float(total.max()))
