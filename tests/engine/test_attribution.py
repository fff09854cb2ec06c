"""Each layer alone: against a loop over copies of the torch module, whose weights numpy has quantized."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.special
import torch

import quant_engine as qe
from quant_engine.network import Network, from_module, load
from quant_engine.studies import Attribution, additivity, attribute, equal_noise
from quant_engine.tasks import Agreement, Classification, NextToken
from quant_engine.tasks.score import mean, share
from tests.engine.foreign import foreign_models

RNG = np.random.default_rng(5)
IMAGES = RNG.standard_normal((24, 3, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 5, 24)
TOKENS = RNG.integers(0, 64, (8, 7))
MODULES = foreign_models()
SPEC = qe.QuantizerSpec(qe.IntFormat(3))


def network_of(name: str) -> Network:
    if name == "fashion-cnn":
        return load(name)
    module, example = MODULES[name]
    data = TOKENS if name == "decoder" else (IMAGES, LABELS)
    task = NextToken if name == "decoder" else Classification
    return from_module(module, task({"calibration": data}), example)


def plan_of(network: Network) -> qe.QuantizationPlan:
    return qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(SPEC)))


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in 3 bits with one scale, in numpy's words."""
    x = weight.detach().numpy()
    scale = np.float32(np.abs(x.astype(np.float64)).max() / 3)
    return torch.from_numpy(np.clip(np.rint(x / scale), -4, 3) * scale)


def changed(module: torch.nn.Module, layers: dict[str, torch.Tensor]) -> torch.nn.Module:
    other = copy.deepcopy(module)
    with torch.no_grad():
        for name, weight in layers.items():
            other.get_submodule(name).weight.copy_(weight)
    return other


def losses_and_divergences(
    name: str, network: Network, module: torch.nn.Module, plain: torch.nn.Module
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cross entropy and KL(plain ‖ module) of each sample or token."""
    inputs = torch.from_numpy(TOKENS if name == "decoder" else network.data("calibration")[0])
    targets = TOKENS[:, 1:].ravel() if name == "decoder" else network.data("calibration")[1]
    with torch.no_grad():
        outputs = [one(part) for one in (plain, module) for part in [inputs]]
    if name == "decoder":
        outputs = [each[:, :-1].flatten(0, 1) for each in outputs]
    p, q = (scipy.special.log_softmax(each.double().numpy(), axis=1) for each in outputs)
    return -q[np.arange(len(q)), targets], (np.exp(p) * (p - q)).sum(axis=1)


@pytest.mark.parametrize("name", ["fashion-cnn", "residual", "decoder"])
def test_what_a_layer_does_alone_is_what_a_copy_of_the_module_does_that_differs_in_it(name: str) -> None:
    network = network_of(name)
    module = network.model.module
    *steps, found = attribute(network, plan_of(network))
    own = [layer for layer, info in network.layers().items() if info.tied_to is None]
    assert isinstance(found, Attribution)
    assert [step.layer for step in steps] == [*own, ""] == [*found.alone, ""]
    assert [(step.done, step.total) for step in steps] == [(n + 1, len(own) + 1) for n in range(len(own) + 1)]
    before, _ = losses_and_divergences(name, network, module, module)
    weights = {layer: rounded(module.get_submodule(layer).weight) for layer in own}
    for layer, damage in [*found.alone.items(), ("", found.together)]:
        part = {layer: weights[layer]} if layer else weights
        losses, moved = losses_and_divergences(name, network, changed(module, part), module)
        for score, expected in ((damage.loss, losses - before), (damage.divergence, moved)):
            assert score.value == pytest.approx(expected.mean(), rel=1e-6, abs=1e-12)
            reach = 1.96 * expected.std(ddof=1) / len(expected) ** 0.5
            assert score.interval[1] - score.value == pytest.approx(reach, rel=1e-3)
        assert damage.measure is damage.divergence
        assert damage.change.value == damage.score.value - found.plain[damage.score.name].value


def test_the_ratio_is_together_over_the_sum_of_the_parts_with_the_interval_of_paired_samples() -> None:
    alone = [RNG.gamma(1, 1, 4000), RNG.gamma(1, 2, 4000)]
    together = 1.5 * sum(alone) + RNG.normal(0, 0.1, 4000)
    found = additivity({"a": mean("a", alone[0]), "b": mean("b", alone[1])}, mean("both", together))
    assert found.total.value == pytest.approx(sum(map(np.mean, alone)))
    assert found.ratio.value == pytest.approx(together.mean() / sum(alone).mean())
    draws = RNG.integers(0, 4000, (400, 4000))
    ratios = together[draws].mean(axis=1) / sum(alone)[draws].mean(axis=1)
    width = found.ratio.interval[1] - found.ratio.interval[0]
    assert width == pytest.approx(2 * 1.96 * ratios.std(), rel=0.15)
    assert additivity({"a": mean("a", RNG.normal(0, 1, 100))}, mean("b", together[:100])).ratio is None
    assert additivity({"a": share("a", 1, 9)}, share("b", 2, 9)).total is None


@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannel(0), qe.PerGroup(5, remainder="short")])
def test_noise_has_the_norm_of_the_error_in_each_block_and_nothing_else_of_it(granularity: object) -> None:
    spec = qe.QuantizerSpec(qe.IntFormat(4), granularity)
    error = RNG.standard_normal((6, 12)).astype(np.float32) * np.arange(1, 7, dtype=np.float32)[:, None]
    noise, other = (equal_noise(error, spec, np.random.default_rng(seed)) for seed in (0, 1))
    grid = granularity.blocks(error.shape)
    for block in map(grid.slices, range(grid.count)):
        assert np.linalg.norm(noise[block]) == pytest.approx(np.linalg.norm(error[block]), rel=1e-6)
    assert abs(np.corrcoef(noise.ravel(), error.ravel())[0, 1]) < 0.5
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.5


def test_noise_in_a_layers_place_is_measured_on_five_draws() -> None:
    network, layer = network_of("residual"), "blocks.0.second"
    *steps, found = attribute(network, plan_of(network), noise=[layer])
    module, weight = network.model.module, network.weight(layer)
    error = (rounded(torch.from_numpy(weight.copy())).numpy() - weight).reshape(len(weight), -1)
    expected = []
    for draw in range(5):
        noise = equal_noise(error, SPEC, np.random.default_rng([draw, *layer.encode()]))
        noisy = changed(module, {layer: torch.from_numpy(weight + noise.reshape(weight.shape))})
        expected.append(losses_and_divergences("residual", network, noisy, module)[1].mean())
    assert found.noise[layer].draws == pytest.approx(expected, rel=1e-6)
    assert found.noise[layer].mean == pytest.approx(np.mean(expected), rel=1e-6)
    assert found.noise[layer].spread == pytest.approx(np.std(expected, ddof=1), rel=1e-4)
    assert [step.draw for step in steps[-5:]] == list(range(5))


def test_each_layer_is_run_from_where_it_is_and_nothing_twice() -> None:
    """Of n layers in a row: n in float, those from each on, and n together; what is stopped goes on where it was."""
    runs = []

    class Counted(torch.nn.Linear):
        def forward(self, x):
            runs.append(1)
            return super().forward(x)

    count, kept = 6, {}
    module = torch.nn.Sequential(*(Counted(5, 5) for _ in range(count)))
    rows = RNG.standard_normal((24, 5)).astype(np.float32)
    network = from_module(module, Classification(rows, LABELS), torch.from_numpy(rows[:1]))
    plan = plan_of(network)
    for _ in network.results():  # the test split, which attribution does not look at
        runs.clear()
    stopped = attribute(network, plan, kept=kept)
    for _ in range(2):
        next(stopped)
    *_, found = attribute(network, plan, kept=kept)
    assert sum(runs) <= count + count * (count + 1) // 2 + count
    runs.clear()
    *_, again = attribute(network, plan, kept=kept)
    assert (sum(runs), again) == (0, found)


def test_a_task_without_probabilities_is_compared_by_its_score_and_one_without_data_is_refused() -> None:
    class Positive(Agreement):
        def scores(self, results):
            right = [row.mean() > 0 for _, outputs, _ in results for row in outputs]
            return {"positive": share("positive", int(sum(right)), len(right))}

    module, example = MODULES["residual"]
    network = from_module(module, Positive({"test": IMAGES}), example)
    *_, found = attribute(network, plan_of(network))
    damage = found.together
    assert (damage.loss, damage.divergence, found.additivity.ratio) == (None, None, None)
    assert damage.measure.value == -damage.change.value
    assert damage.measure.interval[0] <= damage.measure.value <= damage.measure.interval[1]
    with pytest.raises(qe.QuantError, match="give from_module a task"):
        next(attribute(from_module(module), plan_of(network)))
    with pytest.raises(qe.QuantError, match="noise names nowhere"):
        next(attribute(network, plan_of(network), noise=["nowhere"]))
