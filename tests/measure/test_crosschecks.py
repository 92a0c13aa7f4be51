"""The cross-checks pass on right brackets, among them those of the presets, and fail on wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
from networks import BOTTLENECK, MLPS, at, generic_problem

import lie_ref
from lie_ref.core.differences import relative_error
from lie_ref.core.optimizers import AdamState, Momentum
from lie_ref.core.problem import Problem
from lie_ref.core.types import Arrays
from lie_ref.fast import engine
from lie_ref.measure.crosschecks import (
    check_bracket,
    check_swaps,
    largest_relative_error,
    mini_batch_error,
    order_swap_convergence,
)

TINY = lie_ref.preset("mxresnet-tiny")
NETWORKS = [
    (MLPS[0], (5,)),
    (MLPS[1], (5,)),
    (TINY, (3, 64, 64)),
    (TINY, (3, 33, 47)),
    (lie_ref.preset("mxresnet-small"), (3, 32, 32)),
    (lie_ref.mxresnet(**BOTTLENECK), (3, 32, 32)),
]


def bracket_of(problem: Problem) -> Arrays:
    return at(engine.brackets(problem, engine.gradients(problem)), 0)


@pytest.mark.parametrize(("model", "shape"), NETWORKS)
def test_brackets_pass_all_three_checks(model, shape):
    problem = generic_problem(model, (2, *shape), 0)
    check = check_bracket(problem, bracket_of(problem))
    assert check.hvp_modes < 1e-12
    assert check.richardson < 1e-7
    assert abs(check.order_swap.observed_order - 1) < 0.05


@pytest.mark.parametrize("factor", [1.001, -1.0, 0.5])
def test_wrong_brackets_show_order_zero_and_large_errors(factor):
    problem = generic_problem(MLPS[1], (2, 5), 3)
    check = check_bracket(problem, {name: factor * b for name, b in bracket_of(problem).items()})
    assert abs(check.order_swap.observed_order) < 0.1
    assert min(check.hvp_modes, check.richardson, *check.order_swap.error) > 5e-4


def test_relative_errors_are_over_all_arrays_or_for_the_worst_one():
    a, b = {"p": np.array([3.0]), "q": np.array([1.0])}, {"p": np.array([3.0]), "q": np.array([2.0])}
    assert relative_error(a, b) == pytest.approx(1 / np.sqrt(13))
    assert largest_relative_error(a, b) == 0.5
    zero = {"p": np.zeros(2)}
    assert np.isnan(largest_relative_error(zero, zero))  # nothing was compared
    assert largest_relative_error({"p": np.ones(2)}, zero) == np.inf
    assert np.isnan(largest_relative_error(a | {"q": np.array([np.nan])}, b))


def test_a_bracket_in_float32_is_checked_in_float64():
    problem = generic_problem(MLPS[1], (2, 5), 4).astype(np.float32)
    check = check_bracket(problem, bracket_of(problem))
    assert 1e-8 < check.richardson < 1e-4
    assert check.richardson == pytest.approx(check.hvp_modes, rel=1e-2)


def test_swaps_with_optimizers_distinguish_a_wrong_formula_from_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = generic_problem(TINY, (2, 3, 32, 32), 2)
    rng = np.random.default_rng(8)
    mean, square = ({name: rng.uniform(0.5, 2, p.shape) for name, p in problem.params.items()} for _ in range(2))
    adam = AdamState(mean, square, count=9, betas=(0.8, 0.999))
    right = check_swaps(problem, adam)
    assert right.keys() == {"preconditioned", "sgd-momentum", "adam"}
    assert all(abs(swap.observed_order - 1) < 0.02 for swap in right.values())

    effect = lie_ref.measure.derivatives.swap_effect
    wrong = lambda *given: {name: 1.01 * a for name, a in effect(*given).items()}  # noqa: E731
    monkeypatch.setattr("lie_ref.measure.crosschecks.swap_effect", wrong)
    assert all(abs(swap.observed_order) < 0.2 for swap in check_swaps(problem, adam).values())


def test_the_error_of_mini_batches_is_rounding_and_would_show_a_wrong_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = generic_problem(TINY, (2, 2, 3, 16, 16), 5)
    assert mini_batch_error(problem) < 1e-13
    products = engine.brackets

    def wrong(p: Problem, directions: Arrays) -> Arrays:
        return {name: (1.001 if p.batches else 1) * b for name, b in products(p, directions).items()}

    monkeypatch.setattr(engine, "brackets", wrong)
    assert mini_batch_error(problem) == pytest.approx(1e-3, rel=0.01)


def test_swaps_of_first_order_are_checked_with_steps_that_do_not_cross_a_jump():
    """The gradient of y jumps 1e-7 away; with momentum μ the swap does −μ (g_x − g_y) to first order."""
    theta, state = np.array([1.0]), Momentum(np.zeros(1), momentum=0.5)
    g_x, g_y = (lambda t: t**2), (lambda t: 3 * t + (t < 1 - 1e-7))
    limit = -0.5 * (g_x(theta) - g_y(theta))
    found = order_swap_convergence(g_x, g_y, theta, limit, state, order=1)
    assert found.epsilon[0] < 1e-7
    assert found.observed_order == pytest.approx(1, abs=0.01)
    misled = order_swap_convergence(g_x, g_y, theta, limit, state, order=1, steps=[1e-5])
    assert misled.observed_order < 0.1
