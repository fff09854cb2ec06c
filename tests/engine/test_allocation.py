"""Bit allocation: the exact least cost under a budget, the whole front, and greedy steps beside it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import Bounds, LinearConstraint, milp

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


@pytest.mark.parametrize("seed", range(3))
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


BUDGETS = (np.nan, None, "8", True, 8j, np.complex64(8), 10**400, -np.inf, [8], np.array([8]), np.datetime64("now"))


@pytest.mark.parametrize("call", [allocate, greedy])
def test_a_budget_that_is_no_number_is_refused(call):
    for budget in BUDGETS:
        with pytest.raises(QuantError, match=r"budget=.* must be a finite number"):
            call([[1, 2]], [[1, 2]], budget)


def test_every_real_number_is_a_budget():
    for budget in (8, 8.0, np.int8(8), np.uint64(8), np.float16(8), np.longdouble(8), 10**300, np.float32(np.inf)):
        assert allocate([[2, 1]], [[1, 8]], budget).tolist() == [1]


# --- numbers of any size ----------------------------------------------------------------------------------------------


def best_by_milp(costs, sizes, budget):
    """Return the least cost by HiGHS: one of 0 and 1 for every choice, of which each layer has one."""
    costs, sizes = np.asarray(costs, float), np.asarray(sizes, float)
    layers, choices = costs.shape
    one = np.kron(np.eye(layers), np.ones(choices))
    rows = [LinearConstraint(one, 1, 1), LinearConstraint(sizes.reshape(1, -1), -np.inf, budget)]
    found = milp(costs.ravel(), integrality=np.ones(costs.size), bounds=Bounds(0, 1), constraints=rows)
    chosen = found.x.reshape(costs.shape).argmax(axis=1)
    return sums(chosen, costs, sizes)[0]


@pytest.mark.parametrize("seed", range(2))
def test_the_cost_is_that_of_an_integer_programme(seed):
    rng = np.random.default_rng(seed)
    costs, sizes = network_like(rng, 7, 4)
    problems = {
        "a network's": (costs, sizes),
        "of any scale": (np.exp(rng.uniform(-15, 5, costs.shape)) * rng.choice([-1, 1], costs.shape), sizes),
        "cost as size": (-sizes - rng.uniform(0, 3, sizes.shape), sizes),
        "fractions": (costs, sizes * rng.uniform(0.9, 1.1, sizes.shape)),
    }
    for name, (c, s) in problems.items():
        for share in (0.05, 0.4, 0.9):
            budget = s.min(axis=1).sum() * (1 - share) + s.max(axis=1).sum() * share
            (cost, size), best = sums(allocate(c, s, budget), c, s), best_by_milp(c, s, budget)
            assert size <= budget * (1 + 1e-11), name
            assert cost <= best + 1e-9 * np.abs(c).max(), name
            assert cost == pytest.approx(best, rel=1e-3, abs=1e-5), name  # HiGHS stops at a gap of 1e-4


@pytest.mark.parametrize("value", [1e12, 1e30, 1e300, np.finfo(float).max])
def test_a_forbidden_choice_is_as_if_it_were_not_there(value):
    """Within the partial sums that are allowed, which stand for time."""
    costs, sizes = network_like(np.random.default_rng(3), 200, 8)
    budget = (sizes.min(axis=1).sum() * 2 + sizes.max(axis=1).sum()) // 3
    for places in ([(17, 0)], [(17, 4)], [(17, 7)], [(layer, 0) for layer in range(0, 200, 3)]):
        forbidden, without, without_sizes = costs.copy(), costs.copy(), sizes.copy()
        for layer, choice in places:
            forbidden[layer, choice] = value
            without[layer, choice] = costs[layer, choice - 1 if choice else 1]  # the neighbour twice
            without_sizes[layer, choice] = sizes[layer, choice - 1 if choice else 1]
        found = sums(allocate(forbidden, sizes, budget), forbidden, sizes)
        assert found == pytest.approx(sums(allocate(without, without_sizes, budget), without, without_sizes))


def test_a_forbidden_choice_that_must_be_taken_hides_no_other_cost():
    costs = [[1e300, 0.0], [3e-9, 1e-9], [5e-9, 2e-9]]
    assert allocate(costs, [[0, 9], [0, 2], [0, 2]], 2).tolist() == [0, 0, 1]


@given(problems(), st.integers(-1070, 900), st.integers(-1070, 900))
def test_the_choice_is_the_same_in_every_unit(problem, cost_unit, size_unit):
    costs, sizes, budget = problem
    ours = allocate(costs, sizes, budget)
    scaled = np.ldexp(costs, cost_unit), np.ldexp(sizes, size_unit), np.ldexp(float(budget), size_unit)
    np.testing.assert_array_equal(allocate(*scaled), ours)
    np.testing.assert_array_equal(greedy(*scaled), greedy(costs, sizes, budget))


WIDE = st.one_of(
    st.sampled_from([0.0, 5e-324, 1e-320, 1e-9, 1.0, 3.0, 1e12, 1e308, np.finfo(float).max]),
    st.floats(0, allow_infinity=False, allow_nan=False),
)


@given(st.data(), shapes)
def test_any_finite_numbers_give_a_plan_that_fits(data, shape):
    """Exactly added up: within 1e-11 of the budget, and of the costs together."""
    costs, sizes = (data.draw(hnp.arrays(np.float64, shape, elements=WIDE)) for _ in range(2))
    costs = costs * data.draw(hnp.arrays(np.int8, shape, elements=st.sampled_from([-1, 1])))
    exact = [[[Fraction(float(one)) for one in row] for row in rows] for rows in (costs, sizes)]
    budget = float(data.draw(st.one_of(WIDE, st.just(np.inf))))
    if sum(min(row) for row in exact[1]) > (np.inf if np.isinf(budget) else Fraction(budget)):
        budget = np.inf
    allowed = np.inf if np.isinf(budget) else Fraction(budget)
    choice, by_gain = allocate(costs, sizes, budget).tolist(), greedy(costs, sizes, budget).tolist()
    best = reference.best_choice(*exact, allowed)
    spent = sum(sum(abs(one) for one in row) for row in exact[0])
    for found in (choice, by_gain):
        size = sum(row[one] for row, one in zip(exact[1], found, strict=True))
        assert size <= (allowed if np.isinf(budget) else allowed * (1 + Fraction(1, 10**11)))
    cost = sum(row[one] for row, one in zip(exact[0], choice, strict=True))
    assert cost <= best + spent / 10**12


def test_a_size_beyond_the_budget_is_not_taken_beside_one_that_makes_it_vanish():
    sizes, costs = [[5e-324, 0.0], [1e307, 0.0]], [[-1.0, 0.0], [-1.0, 0.0]]
    for call in (allocate, greedy):
        assert call(costs, sizes, 0.0).tolist() == [1, 1]
        assert call(costs, sizes, 5e-324).tolist() == [0, 1]
        several = call([*costs, [-1.0, 0.0]], [sizes[0], *sizes], 5e-324).tolist()
        assert sorted(several[:2]) == [0, 1]


def test_integers_that_float64_does_not_hold_are_refused_with_a_unit_that_is():
    sizes = np.array([[2**53 + 1, 1], [2**52, 2**10]])
    for given_sizes in (sizes, sizes.tolist(), sizes.astype(object), sizes.astype(np.uint64)):
        for call in (allocate, greedy):
            with pytest.raises(QuantError, match=r"sizes sum up to .* beyond 2\^53.*sizes / 1024"):
                call([[0, 1], [0, 1]], given_sizes, 2**53)
    assert allocate([[0, 1], [0, 1]], sizes / 1024, 2**53 / 1024).tolist() == [1, 0]
    assert allocate([[0, 1]], [[2**53, 2**53 - 1]], 2**53 - 1).tolist() == [1]  # to the last integer


def test_arrays_of_other_types_are_refused():
    for wrong in (np.array([[1 + 0j]]), np.array([["1"]]), np.array([[True]]), [[""]], [[10**400]]):
        for call in (allocate, greedy):
            with pytest.raises(QuantError, match="no matrix of numbers"):
                call(wrong, [[1]], 1)
            with pytest.raises(QuantError, match="no matrix of numbers"):
                call([[1]], wrong, 1)


def test_sums_of_a_front_that_overflow_are_refused():
    for problem in (([[1e308], [-1e308]], [[1], [1]]), ([[1], [1]], [[1e308], [1e308]])):
        with pytest.raises(QuantError, match="overflow when they are added up; divide"):
            pareto(*problem)


def test_more_sums_than_memory_holds_are_refused_and_each_remedy_helps():
    sizes = np.random.default_rng(0).uniform(1, 2, (40, 8))
    for call in (lambda: pareto(-sizes, sizes), lambda: allocate(-sizes, sizes, 60.0)):
        with pytest.raises(QuantError, match=r"more than memory and time allow; round sizes up to whole .* greedy"):
            call()
    whole = np.ceil(sizes * 1000)
    assert len(pareto(-sizes, whole)) > 1
    cost, size = sums(allocate(-sizes, whole, 60_000), sizes, whole)
    assert size <= 60_000
    assert cost == pytest.approx(60, rel=1e-3)
    assert sums(greedy(-sizes, sizes, 60.0), sizes, sizes)[1] <= 60
