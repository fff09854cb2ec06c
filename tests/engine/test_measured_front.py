"""Plans along a budget: against trying all plans there are, and the scores against the network's own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine import studies
from quant_engine.network import Network, from_module, load
from quant_engine.studies import CostStep, Damage, FrontPoint, MeasuredFront, attribute, footprint, measured_front
from quant_engine.tasks import Classification, NextToken, Score
from tests.engine.foreign import Decoder

SPECS = [qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel()) for bits in (2, 4, 8)]


def small() -> Network:
    network, data = load("fashion-cnn"), {}
    for split in ("calibration", "search"):
        images, labels = network.data(split)
        data[split] = images[:100], labels[:100]
    return Network(network.model, Classification(data))


def run(*given, **named) -> tuple[list[CostStep], list[FrontPoint], MeasuredFront]:
    *steps, front = measured_front(*given, **named)
    costs = [step for step in steps if isinstance(step, CostStep)]
    return costs, [step for step in steps if isinstance(step, FrontPoint)], front


def test_each_budgets_plan_costs_the_least_of_all_plans_that_fit_and_is_measured_on_the_search_split() -> None:
    network, bits = small(), [2.5, 4.0, 6.0]
    costs, points, front = run(network, SPECS, budgets=bits)
    owners = list(network.layers())
    table = {(step.layer, step.spec): step.damage.measure.value for step in costs}
    *_, alone = attribute(network, qe.QuantizationPlan(dict.fromkeys(owners, qe.LayerPlan(SPECS[0]))))
    assert table["conv1", SPECS[0]] == alone.alone["conv1"].measure.value
    sizes = {(name, spec): -(-spec.storage(network.layers()[name].matrix_shape).bits // 8) for name, spec in table}
    parameters = sum(layer.parameters for layer in network.layers().values())
    every = [dict(zip(owners, chosen, strict=True)) for chosen in itertools.product(SPECS, repeat=len(owners))]
    for budget, point in zip(bits, points, strict=False):
        fits = [plan for plan in every if 8 * sum(sizes[item] for item in plan.items()) <= budget * parameters]
        least = min(sum(table[item] for item in plan.items()) for plan in fits)
        assert point.predicted == pytest.approx(least)
        assert sum(table[name, layer.weight] for name, layer in point.plan.layers.items()) == pytest.approx(least)
        assert point.size_bytes == footprint(network, point.plan).size_bytes
        assert point.bits_per_weight == 8 * point.size_bytes / parameters <= budget
    for point in points:
        assert point.measured.score == network.evaluate(point.plan, "search")
        assert point.measured.change.value == point.measured.score.value - network.evaluate(None, "search").value
    assert [point.uniform for point in points[-3:]] == SPECS
    done = [step.done for step in [*costs, *points]]
    assert done == sorted({*done})
    assert done[-1] == points[-1].total
    assert (front.split, set(front.points)) == ("search", set(points))


def test_the_pick_is_the_best_measured_score_under_the_budget_or_the_smallest_that_loses_little() -> None:
    network = small()
    _, points, front = run(network, SPECS, budgets=4, cost="predicted loss")
    picked = front.best_within(4.2)
    assert picked.bits_per_weight <= 4.2
    assert picked.measured.score.value == max(p.measured.score.value for p in points if p.bits_per_weight <= 4.2)
    assert front.smallest_within(1).size_bytes == min(point.size_bytes for point in points)
    small_drop = front.smallest_within(0.02)
    plain = network.evaluate(None, "search").value
    assert small_drop.size_bytes == min(p.size_bytes for p in points if p.measured.score.value >= plain - 0.02 - 1e-9)
    with pytest.raises(qe.QuantError, match=r"the smallest takes 2\.\d+; raise the budget"):
        front.best_within(1.5)


def test_of_equal_scores_the_nearest_to_floating_point_is_picked_not_the_smallest() -> None:
    """Where a few bits leave nothing of the score, the smallest plan would be as good as any."""

    def point(bits: float, divergence: float) -> FrontPoint:
        score, change, moved = (Score("s", value, 9, (value, value)) for value in (0.0, -0.9, divergence))
        return FrontPoint(qe.QuantizationPlan(), int(bits), bits, 0.0, Damage(score, change, None, moved), None, 1, 1)

    front = MeasuredFront((point(2, 40.0), point(3, 5.0), point(4, 9.0)), "search")
    assert front.best_within(4).bits_per_weight == 3


def test_a_pick_is_no_worse_than_one_from_fewer_candidates_however_little_the_smallest_do_alone() -> None:
    network, bits, kept = small(), [3.8, 4.2], {}
    specs = [qe.QuantizerSpec(qe.IntFormat(width), qe.PerChannel()) for width in (2, 3, 4, 8)]
    _, _, front = run(network, specs, bits, "predicted loss", kept=kept)
    for fewer in (specs[1:], specs[2:]):
        _, _, chosen = run(network, fewer, bits[-1:], "predicted loss", kept=kept)
        best, other = (one.best_within(bits[-1]).measured for one in (front, chosen))
        assert (best.lost.value, best.measure.value) <= (other.lost.value, other.measure.value)
    table, sizes = studies.layer_costs(network, specs, "predicted loss"), studies.layer_sizes(network, specs)
    room = bits[-1] * sum(layer.parameters for layer in network.layers().values()) / 8
    proposed = qe.allocation.allocate(table, sizes, room)
    plan = qe.QuantizationPlan({n: qe.LayerPlan(specs[at]) for n, at in zip(network.layers(), proposed, strict=True)})
    assert front.best_within(bits[-1]).plan.key != plan.key  # the one of least predicted loss
    assert network.evaluate(plan, "search").value < front.best_within(bits[-1]).measured.score.value


def test_locked_layers_keep_their_plan_and_layers_that_share_a_weight_get_one() -> None:
    torch.manual_seed(0)
    tokens = np.random.default_rng(0).integers(0, 64, (16, 7))
    network = from_module(Decoder(), NextToken(tokens), torch.from_numpy(tokens[:1]))
    locked = qe.QuantizationPlan.of(
        network.layers(), {"blocks.0.*": qe.LayerPlan(SPECS[2]), "blocks.1.up": qe.LayerPlan()}
    )
    costs, points, _ = run(network, SPECS[:2], budgets=[8.0], locked=locked)
    assert not {step.layer for step in costs} & set(locked.layers)
    for point in points:
        assert all(point.plan[name] is layer for name, layer in locked.layers.items())
        assert point.plan["head"].weight == point.plan["embed"].weight
        assert point.size_bytes == footprint(network, point.plan).size_bytes
    assert points[0].measured.divergence.value > 0


def test_layers_that_are_fused_get_one_candidate_and_of_all_such_plans_the_best() -> None:
    network, budget = small(), 4.0
    alike = [["conv1", "conv2"], ["conv2", "fc2"]]  # one group of three
    costs, points, _ = run(network, SPECS, [budget], "predicted error", alike=alike)
    table = studies.layer_costs(network, SPECS, "predicted error")
    sizes, owners = studies.layer_sizes(network, SPECS), list(network.layers())
    chosen = [SPECS.index(points[0].plan[name].weight) for name in owners]
    group = [owners.index(name) for name in ("conv1", "conv2", "fc2")]
    assert not costs
    assert len({chosen[row] for row in group}) == 1
    room, rows = budget * sum(layer.parameters for layer in network.layers().values()) / 8, range(len(owners))
    every = [one for one in itertools.product(range(3), repeat=5) if len({one[row] for row in group}) == 1]
    fitting = [one for one in every if sizes[rows, one].sum() <= room]
    assert points[0].predicted == pytest.approx(min(table[rows, one].sum() for one in fitting))
    mixed = studies.mixed_plan(network, SPECS, room, "predicted error", alike=alike)
    assert [mixed.choices[name] for name in owners] == [points[0].plan[name].weight for name in owners]


def test_inputs_are_quantized_in_every_plan_by_ranges_found_once_on_the_calibration_data() -> None:
    network = small()
    inputs = qe.QuantizerSpec(qe.IntFormat(3, signed=False), symmetric=False)
    fitted = network.freeze(qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(activation=inputs))))
    costs, points, _ = run(network, SPECS[2:], [8.5], activation=inputs)
    _, plain, _ = run(network, SPECS[2:], [8.5])
    for name, layer in points[0].plan.layers.items():
        assert layer.activation.scale == fitted[name].activation.scale
    assert points[0].measured.score == network.evaluate(points[0].plan, "search")
    assert points[0].measured.divergence.value > 2 * plain[0].measured.divergence.value
    assert all(step.damage.divergence.value > 0 for step in costs)


def test_test_data_and_what_does_not_fit_are_refused() -> None:
    network = small()
    only_test = Network(network.model, Classification({"test": network.data("search")}))
    for wrong, word in (
        (lambda: measured_front(network, SPECS, split="test"), "search on another split"),
        (lambda: measured_front(only_test, SPECS), "test data alone"),
        (lambda: measured_front(network, []), "no candidates"),
        (lambda: measured_front(network, SPECS, budgets=[1]), "raise the budget"),
        (lambda: measured_front(network, SPECS, cost="predicted error", alike=[["y"]]), "alike names y"),
        (lambda: measured_front(network, SPECS, cost="luck"), "cost='luck' is unknown"),
        (lambda: measured_front(network, SPECS, locked=qe.QuantizationPlan({"x": qe.LayerPlan()})), "locked names x"),
    ):
        with pytest.raises(qe.QuantError, match=word):
            next(wrong())
