"""The cross-checks themselves: they pass on right brackets, fail on wrong ones, and the shipped networks pass them.

Seeds: weights `generic_state(model, seed)`, inputs `examples(model, shape, seed)`, for the seeds that a test names.
"""

from __future__ import annotations

import numpy as np
import pytest
from networks import BOTTLENECK, MLPS, at, examples, generic_state

import lie_ref
from lie_ref.core.optimizers import AdamState, Momentum
from lie_ref.measure.crosschecks import (
    bracket_by_differences,
    check_bracket,
    check_swaps,
    hvp_by_differences,
    largest_relative_error,
    order_swap,
    order_swap_convergence,
    relative_error,
)

NETWORKS = [
    ("tanh", MLPS[0], (5,)),
    ("mish", MLPS[1], (5,)),
    ("mxresnet-tiny", lie_ref.preset("mxresnet-tiny"), (3, 64, 64)),
    ("mxresnet-tiny odd", lie_ref.preset("mxresnet-tiny"), (3, 33, 47)),
    ("mxresnet-small", lie_ref.preset("mxresnet-small"), (3, 32, 32)),
    ("bottleneck", lie_ref.mxresnet(**BOTTLENECK), (3, 32, 32)),
]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "model", "shape"), NETWORKS, ids=[name for name, _, _ in NETWORKS])
def test_brackets_pass_all_three_checks(name, model, shape, seed):
    params, buffers = generic_state(model, seed)
    x, y = examples(model, (2, *shape), seed)
    bracket = at(lie_ref.brackets(model, params, buffers, x, y, [(0, 1)]), 0)
    check = check_bracket(model, params, buffers, x, y, bracket)
    assert check.hvp_modes < 1e-12
    assert check.richardson < 1e-7
    assert abs(check.order_swap.observed_order - 1) < 0.05


@pytest.mark.parametrize("factor", [1.001, -1.0, 0.5])
def test_wrong_brackets_show_order_zero_and_large_errors(factor):
    model = MLPS[1]
    params, buffers = generic_state(model, 3)
    x, y = examples(model, (2, 5), 3)
    bracket = at(lie_ref.brackets(model, params, buffers, x, y, [(0, 1)]), 0)
    check = check_bracket(model, params, buffers, x, y, {name: factor * b for name, b in bracket.items()})
    assert abs(check.order_swap.observed_order) < 0.1
    assert min(check.hvp_modes, check.richardson, *check.order_swap.error) > 5e-4


def test_extrapolated_differences_are_exact_on_cubic_gradients():
    theta, d = np.array([1.0, -2.0]), np.array([0.5, 1.0])
    found = hvp_by_differences(lambda t: t**4, theta, d, steps=(1e-3,))
    np.testing.assert_allclose(found, 4 * theta**3 * d, rtol=1e-11)


def test_differences_step_below_a_kink():
    """|t| bends at 0; from 3e-6 the two larger steps reach across, the smaller ones do not."""
    theta = np.array([3e-6, 1.0])
    found = hvp_by_differences(lambda t: np.abs(t) * t, theta, np.array([1.0, 1.0]))
    np.testing.assert_allclose(found, 2 * np.abs(theta), rtol=1e-6)


def test_order_swap_is_exact_for_quadratics_at_any_epsilon():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 4))
    a, b, theta = a + a.T, b + b.T, rng.standard_normal(4)
    for epsilon in (1e-3, 0.1, 10.0):
        found = order_swap(lambda t: a @ t, lambda t: b @ t, theta, epsilon)
        np.testing.assert_allclose(found, b @ a @ theta - a @ b @ theta, rtol=1e-10, atol=1e-10)


def test_dicts_and_arrays_give_the_same_checks():
    def cubic(t):
        return t**3

    def inverse(t):
        return 1 / t

    theta = np.array([1.0, 2.0])
    expected = bracket_by_differences(cubic, inverse, theta)
    exact = -theta  # H_y g_x − H_x g_y = −t⁻² t³ − 3 t² t⁻¹, entry by entry, is −4 t
    found = bracket_by_differences(lambda d: {"a": cubic(d["a"])}, lambda d: {"a": inverse(d["a"])}, {"a": theta})
    np.testing.assert_array_equal(found["a"], expected)
    np.testing.assert_allclose(expected, 4 * exact, rtol=1e-9)
    swap = order_swap_convergence(cubic, inverse, theta, 4 * exact)
    assert swap.observed_order == pytest.approx(1, abs=0.01)
    assert swap.epsilon == sorted(swap.epsilon, reverse=True)


def test_relative_errors_are_over_all_arrays_or_of_the_worst():
    a, b = {"p": np.array([3.0]), "q": np.array([1.0])}, {"p": np.array([3.0]), "q": np.array([2.0])}
    assert relative_error(a, b) == pytest.approx(1 / np.sqrt(13))
    assert largest_relative_error(a, b) == 0.5
    zero = {"p": np.zeros(2)}
    assert largest_relative_error(zero, zero) == 0
    assert largest_relative_error({"p": np.ones(2)}, zero) == np.inf
    assert np.isnan(largest_relative_error(a | {"q": np.array([np.nan])}, b))


def test_degenerate_points_give_zeros_and_no_order_instead_of_nan():
    zero = np.zeros(2)
    np.testing.assert_array_equal(hvp_by_differences(lambda t: t**3, np.ones(2), zero), zero)
    np.testing.assert_allclose(hvp_by_differences(np.sin, zero, np.ones(2)), np.ones(2), rtol=1e-9)
    still = order_swap_convergence(np.zeros_like, np.zeros_like, np.ones(2), zero)
    assert (still.error, still.observed_order) == ([0.0] * 4, None)
    claimed_zero = order_swap_convergence(lambda t: t**2, np.ones_like, np.ones(2), zero)
    assert (claimed_zero.error, claimed_zero.observed_order) == ([np.inf] * 4, None)


def test_a_bracket_in_float32_is_checked_in_float64():
    model = MLPS[1]
    params, buffers = generic_state(model, 4)
    x, y = examples(model, (2, 5), 4)
    single = {name: p.astype(np.float32) for name, p in params.items()}
    bracket = at(lie_ref.brackets(model, single, buffers, x.astype(np.float32), y, [(0, 1)]), 0)
    check = check_bracket(model, single, buffers, x.astype(np.float32), y, bracket)
    assert 1e-8 < check.richardson < 1e-4
    assert check.richardson == pytest.approx(check.hvp_modes, rel=1e-2)


def test_a_jump_that_four_swaps_cross_alike_is_noticed_in_the_first_order():
    """The gradient of y jumps 1e-7 away; with momentum μ the swap does −μ (g_x − g_y) to first order."""
    theta, state = np.array([1.0]), Momentum(np.zeros(1), momentum=0.5)
    g_x, g_y = (lambda t: t**2), (lambda t: 3 * t + (t < 1 - 1e-7))
    limit = -0.5 * (g_x(theta) - g_y(theta))
    found = order_swap_convergence(g_x, g_y, theta, limit, state, order=1)
    assert found.epsilon[0] < 1e-7
    assert found.observed_order == pytest.approx(1, abs=0.01)
    misled = order_swap_convergence(g_x, g_y, theta, limit, state, order=1, steps=[1e-5])
    assert misled.observed_order < 0.1


def test_swaps_with_optimizers_tell_a_wrong_formula_from_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lie_ref.preset("mxresnet-tiny")
    params, buffers = generic_state(model, seed=2)
    x, y = examples(model, (2, 3, 32, 32), seed=2)
    rng = np.random.default_rng(8)
    mean, square = ({name: rng.uniform(0.5, 2, p.shape) for name, p in params.items()} for _ in range(2))
    adam = AdamState(mean, square, count=9, betas=(0.8, 0.999))
    right = check_swaps(model, params, buffers, x, y, adam)
    assert right.keys() == {"preconditioned", "sgd-momentum", "adam"}
    assert all(abs(swap.observed_order - 1) < 0.02 for swap in right.values())

    def scaled(*given):
        return [{name: 1.01 * a for name, a in effect.items()} for effect in lie_ref.swap_effects(*given)]

    monkeypatch.setattr("lie_ref.measure.crosschecks.swap_effects", scaled)
    wrong = check_swaps(model, params, buffers, x, y, adam)
    assert all(abs(swap.observed_order) < 0.2 for swap in wrong.values())
