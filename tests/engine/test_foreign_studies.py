"""Studies of models that are unlike the built-in ones, under every kind of task: effects, Fisher, mixed precision."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

import quant_engine as qe
from quant_engine.models import OnnxGraph, OnnxModel
from quant_engine.network import Network, from_module
from quant_engine.studies import (
    COSTS,
    effect,
    fisher,
    footprint,
    greedy_search,
    layer_costs,
    layer_sizes,
    mixed_plan,
    predict_sensitivity,
    sensitivities,
    trials,
)
from quant_engine.tasks import Agreement, Classification, NextToken
from tests import reference
from tests.engine.foreign import exported, foreign_models

SPECS = [qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel(0)) for bits in (2, 4, 8)]
CANDIDATES = [*SPECS, qe.QuantizerSpec(qe.FP16)]
A8 = qe.QuantizerSpec(qe.IntFormat(8), symmetric=False)
MODELS = foreign_models()
RNG = np.random.default_rng(11)
IMAGES = RNG.standard_normal((12, 3, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 5, 12)
TEXTS = {"input_ids": RNG.integers(1, 64, (6, 7)), "attention_mask": (np.arange(7) < RNG.integers(3, 8, (6, 1))) * 1}
WITH_LOSS = "decoder", "residual"


class Masked(torch.nn.Module):
    """The decoder, which takes its tokens and their mask by name, and gives its logits among others."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids, attention_mask):
        return {"hidden": self.decoder.embed(input_ids), "logits": self.decoder(input_ids)}


def network_of(name):
    """Return a foreign network whose only split is for calibration."""
    if name == "decoder":
        example = {key: torch.from_numpy(array[:1]) for key, array in TEXTS.items()}
        return from_module(Masked(MODELS["decoder"][0]), NextToken({"calibration": TEXTS}), example)
    module, example = MODELS["residual"]
    if name == "residual":
        return from_module(module, Classification({"calibration": (IMAGES, LABELS)}), example)
    if name == "unlabelled":
        return from_module(module, Agreement({"calibration": IMAGES}), example)
    model = OnnxModel(OnnxGraph(exported(module.eval(), example)), "residual", example.numpy())
    return Network(model, Classification({"calibration": (IMAGES, LABELS)}))


@pytest.fixture(scope="module", params=["decoder", "residual", "unlabelled", "onnx"])
def subject(request):
    return request.param, network_of(request.param)


def uniform(network, bits):
    return qe.QuantizationPlan.of(network.layers(), {"*": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(bits)))})


def outputs_of(name, network, plan):
    """Return the logits (rows, classes) in float64 and the classes, or None, written out for each model."""
    if name == "decoder":
        logits = network.run(TEXTS, plan)["logits"][:, :-1]
        counts = TEXTS["attention_mask"][:, 1:] == 1  # masks here end once, so that what counts follows what counts
        return torch.from_numpy(logits[counts]).double(), torch.from_numpy(TEXTS["input_ids"][:, 1:][counts])
    logits = torch.from_numpy(network.run(IMAGES, plan)).double()
    return logits, None if name == "unlabelled" else torch.from_numpy(LABELS)


def test_an_effect_is_what_torch_makes_of_the_outputs(subject):
    name, network = subject
    plan = uniform(network, 4)
    found = effect(network, plan)
    (plain, _), (logits, classes) = (outputs_of(name, network, given) for given in (None, plan))
    logs = [torch.log_softmax(part, dim=1) for part in (logits, plain)]
    divergence = functional.kl_div(*logs, reduction="batchmean", log_target=True).item()
    assert found.score == network.evaluate(plan, "calibration")
    assert found.divergence == pytest.approx(divergence, rel=1e-6)
    noise = (plain - logits).square().sum()
    assert found.sqnr_db == pytest.approx(10 * torch.log10(plain.square().sum() / noise).item(), rel=1e-6)
    if classes is None:
        assert math.isnan(found.loss)
    else:
        assert found.loss == pytest.approx(functional.cross_entropy(logits, classes).item(), rel=1e-6)
    assert (effect(network).divergence, effect(network).sqnr_db) == (0, math.inf)


def test_weights_and_inputs_of_every_layer_are_measured(subject):
    _, network = subject
    wanted = trials(network, [A8], ("weight", "activation"), ("only", "others"))
    found = {(one.trial.layer, one.trial.part, one.trial.scope): one.effect for one in sensitivities(network, wanted)}
    embeddings = {name for name, layer in network.layers().items() if layer.op == "embedding"}
    assert {layer for layer, part, _ in found if part == "activation"} == set(network.layers()) - embeddings
    assert {layer for layer, part, _ in found if part == "weight"} == set(network.layers())
    for layer in network.layers():
        assert 0 < found[layer, "weight", "only"].divergence < math.inf
        assert 0 < found[layer, "weight", "others"].divergence < math.inf


@pytest.mark.parametrize("cost", COSTS)
def test_a_mixed_plan_is_the_cheapest_within_the_budget_or_its_cost_is_refused(subject, cost):
    name, network = subject
    sizes = layer_sizes(network, CANDIDATES)
    budget = int(sizes[:, 1].sum() * 1.2)
    if (cost == "loss" and name == "unlabelled") or (cost == "predicted loss" and name not in WITH_LOSS):
        with pytest.raises(qe.QuantError, match=r"task with labels|Classification or NextToken|does not run in torch"):
            mixed_plan(network, CANDIDATES, budget, cost)
        return
    kept = {}
    costs = layer_costs(network, CANDIDATES, cost, kept)
    found = mixed_plan(network, CANDIDATES, budget, cost, kept)
    assert found.size_bytes == footprint(network, found.plan).size_bytes <= budget
    best = reference.best_cost_by_budget(costs, sizes.astype(int), budget)[budget]
    assert found.predicted == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert found.measured == effect(network, found.plan)


def test_a_greedy_search_goes_by_what_the_task_knows(subject):
    name, network = subject
    first, second = (step for step, _ in zip(greedy_search(network, CANDIDATES, 0, "divergence"), "ab", strict=False))
    assert second.size_bytes < first.size_bytes
    if name == "unlabelled":
        with pytest.raises(qe.QuantError, match="'loss' is not known by Agreement"):
            next(greedy_search(network, CANDIDATES))


def squared_gradients(name, network):
    """Return the mean over what is predicted of each sample's squared gradient, by autograd on the module itself."""
    samples = len(TEXTS["input_ids"]) if name == "decoder" else len(IMAGES)
    totals, count = {}, 0
    module = (Masked(MODELS["decoder"][0]) if name == "decoder" else MODELS["residual"][0]).eval()
    weights = {layer: module.get_submodule(layer).weight for layer in network.layers()}
    for row in range(samples):
        module.zero_grad()
        if name == "decoder":
            length = TEXTS["attention_mask"][row].sum()
            ids = torch.from_numpy(TEXTS["input_ids"][row : row + 1])
            logits, classes = module(ids, None)["logits"][0, : length - 1], ids[0, 1:length]
        else:
            logits, classes = module(torch.from_numpy(IMAGES[row : row + 1])), torch.from_numpy(LABELS[row : row + 1])
        sum(functional.cross_entropy(one, label) for one, label in zip(logits, classes, strict=True)).backward()
        count += len(classes)
        for layer, weight in weights.items():
            totals[layer] = totals.get(layer, 0) + weight.grad.double().numpy() ** 2
    return {layer: total / count for layer, total in totals.items()}


@pytest.mark.parametrize("name", WITH_LOSS)
def test_the_predicted_rise_is_that_of_a_loop_over_gradients(name):
    network = network_of(name)
    expected = squared_gradients(name, network)
    for layer, info in network.layers().items():
        np.testing.assert_allclose(
            fisher(network)[layer], expected[layer], rtol=1e-3, atol=1e-5 * expected[layer].max()
        )
        matrix = network.weight(layer).reshape(info.matrix_shape)
        error = (qe.fake_quantize(matrix, CANDIDATES[1]) - matrix).astype(np.float64) ** 2
        rise = (expected[layer].reshape(matrix.shape) * error).sum() / 2
        assert predict_sensitivity(network, layer, CANDIDATES[1]).loss_increase == pytest.approx(rise, rel=1e-3)


def test_fisher_information_without_gradients_or_labels_is_refused_with_the_remedy():
    with pytest.raises(qe.QuantError, match="give from_module the torch module that it was exported from"):
        fisher(network_of("onnx"))
    with pytest.raises(qe.QuantError, match=r"Agreement.*has no labels; give the network a task of Classification or"):
        fisher(network_of("unlabelled"))
