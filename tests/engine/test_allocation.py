"""Bit allocation: the exact least cost under a budget, the whole front, and greedy steps beside it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quant_engine import QuantError
from quant_engine.allocation import allocate, greedy, pareto
from tests import reference

shapes = st.tuples(st.integers(1, 5), st.integers(1, 4))


@st.composite
def problems(draw):
    """Return whole costs (also negative) and sizes, with many ties, and a budget that some choice fits."""
    shape = draw(shapes)
    costs, sizes = (draw(hnp.arrays(np.int64, shape, elements=st.integers(low, 12))) for low in (-3, 0))
    least, most = sizes.min(axis=1).sum(), sizes.max(axis=1).sum()
    return costs, sizes, draw(st.integers(int(least), int(most) + 1))


def sums(choice, costs, sizes):
    layers = np.arange(len(costs))
    return costs[layers, choice].sum(), sizes[layers, choice].sum()


def network_like(rng, layers, choices):
    """Return costs that fall about fourfold a bit and sizes in bytes, of layers of very different sizes."""
    bits = np.sort(rng.choice(np.arange(2, 17), choices, replace=False))
    sizes = np.ceil(rng.integers(10, 4000, layers)[:, None] * bits / 8).astype(int)
    return rng.lognormal(0, 2, layers)[:, None] * 4.0**-bits * rng.uniform(0.3, 3, sizes.shape), sizes


@given(problems())
def test_the_cost_is_the_least_of_all_choices_that_fit(problem):
    costs, sizes, budget = problem
    cost, size = sums(allocate(costs, sizes, budget), costs, sizes)
    assert size <= budget
    assert cost == reference.best_choice(costs, sizes, budget)


@given(problems(), st.integers(0, 2**32 - 1))
def test_fractions_are_allocated_as_well_as_whole_numbers(problem, seed):
    costs, sizes, budget = problem
    costs = costs + np.random.default_rng(seed).standard_normal(costs.shape)
    cost, size = sums(allocate(costs, sizes / 8, budget / 8), costs, sizes / 8)
    assert size <= budget / 8
    assert cost == pytest.approx(reference.best_choice(costs, sizes / 8, budget / 8), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_sixty_layers_cost_what_an_independent_dynamic_programme_finds(seed):
    rng = np.random.default_rng(seed)
    costs, sizes = network_like(rng, 60, 6)
    budgets = rng.integers(sizes.min(axis=1).sum(), sizes.max(axis=1).sum(), 3)
    best = reference.best_cost_by_budget(costs, sizes, int(budgets.max()))
    for budget in budgets:
        cost, size = sums(allocate(costs, sizes, budget), costs, sizes)
        assert size <= budget
        assert cost == pytest.approx(best[budget], rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unit", [1, 0.1])
def test_no_uniform_choice_that_fits_is_better(seed, unit):
    costs, whole = network_like(np.random.default_rng(seed), 200, 8)
    sizes = whole * unit
    for choice in range(8):
        budget = sizes[:, choice].sum()  # added up in another order than the engine's
        cost, size = sums(allocate(costs, sizes, budget), costs, sizes)
        assert size <= budget * (1 + 1e-11)
        assert cost <= costs[:, choice].sum() * (1 + 1e-12)


@given(problems())
def test_of_equal_costs_the_smaller_is_chosen_and_always_the_same(problem):
    costs, sizes, budget = problem
    choice = allocate(costs, sizes, budget)
    cost, size = sums(choice, costs, sizes)
    np.testing.assert_array_equal(allocate(costs, sizes, budget), choice)
    if size:
        smaller = reference.best_choice(costs, sizes, size - 1)
        assert smaller is None or smaller > cost


@given(problems())
def test_the_front_is_the_best_at_every_budget_and_nothing_else(problem):
    costs, sizes, _ = problem
    front = pareto(costs, sizes)
    for point in front:
        assert sums(np.array(point.choice), costs, sizes) == (point.cost, point.size)
    most = int(sizes.max(axis=1).sum())
    best = [reference.best_choice(costs, sizes, budget) for budget in range(most + 1)]
    steps = [b for b in range(most + 1) if best[b] is not None and (b == 0 or best[b] != best[b - 1])]
    assert [(point.size, point.cost) for point in front] == [(budget, best[budget]) for budget in steps]


@given(problems())
def test_greedy_fits_and_never_beats_the_exact_allocation(problem):
    costs, sizes, budget = problem
    cost, size = sums(greedy(costs, sizes, budget), costs, sizes)
    assert size <= budget
    assert cost >= sums(allocate(costs, sizes, budget), costs, sizes)[0]


def test_greedy_takes_the_largest_gain_for_its_size_first():
    costs, sizes = np.array([[10, 0], [9, 3], [9, 3]]), np.array([[0, 5], [0, 4], [0, 4]])
    assert greedy(costs, sizes, 8).tolist() == [1, 0, 0]  # 2 a unit of size; the others 1.5
    assert allocate(costs, sizes, 8).tolist() == [0, 1, 1]


def test_a_budget_without_a_limit_gives_each_layer_its_cheapest_choice():
    assert allocate([[3, 1], [0, 2]], [[1, 9], [5, 1]], np.inf).tolist() == [1, 0]


@pytest.mark.parametrize("call", [allocate, greedy])
def test_a_budget_that_nothing_fits_is_refused_with_the_least_size(call):
    with pytest.raises(QuantError, match=r"budget=6: .* takes 7 together; raise the budget"):
        call([[3, 1], [0, 2]], [[9, 3], [5, 4]], 6)


def test_one_layer_and_one_choice_are_allocations():
    assert allocate([[4, 2, 9]], [[1, 2, 3]], 2).tolist() == [1]
    assert allocate([[4], [2]], [[1], [2]], 3).tolist() == [0, 0]


def test_no_layers_need_no_budget():
    assert allocate(np.empty((0, 3)), np.empty((0, 3)), 0).tolist() == []
    assert pareto([], []) == [(0.0, 0.0, ())]


@pytest.mark.parametrize(
    ("costs", "sizes", "message"),
    [
        ([[1, np.nan]], [[1, 2]], r"costs\[0, 1\] is nan; give finite"),
        ([[1, 2]], [[1, np.inf]], r"sizes\[0, 1\] is inf; give finite"),
        ([[1, 2]], [[1, -2]], r"sizes\[0, 1\] is -2; a size is 0 or more"),
        ([[1, 2]], [[1, 2, 3]], r"costs have shape \(1, 2\), sizes \(1, 3\)"),
        ([1, 2], [1, 2], r"costs have shape \(2,\); give \(layers, choices\)"),
        ([[], []], [[], []], r"costs have shape \(2, 0\).*at least one choice"),
        ([[1], [1, 2]], [[1], [1, 2]], r"costs are no matrix of numbers.*repeat a choice"),
        ([["a"]], [[1]], r"costs are no matrix of numbers"),
    ],
)
@pytest.mark.parametrize("call", [pareto, lambda *problem: allocate(*problem, 9), lambda *problem: greedy(*problem, 9)])
def test_numbers_that_make_no_sense_are_refused(call, costs, sizes, message):
    with pytest.raises(QuantError, match=message):
        call(costs, sizes)


@pytest.mark.parametrize("budget", [np.nan, None, "8", True])
def test_a_budget_that_is_no_number_is_refused(budget):
    with pytest.raises(QuantError, match=r"budget=.* is no number"):
        allocate([[1, 2]], [[1, 2]], budget)


def test_more_sums_than_memory_holds_are_refused_with_the_remedy():
    sizes = np.random.default_rng(0).uniform(1, 2, (40, 8))
    with pytest.raises(QuantError, match=r"more than memory holds; round sizes to whole bytes"):
        pareto(-sizes, sizes)
