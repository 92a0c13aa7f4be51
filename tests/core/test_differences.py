"""Tests of finite differences and of the order swap: exact for polynomials, and correct near kinks."""

from __future__ import annotations

import numpy as np
import pytest

from lie_ref.core.differences import STEPS, bracket_by_differences, hvp_by_differences, order_swap
from lie_ref.measure.crosschecks import order_swap_convergence


def test_extrapolated_differences_are_exact_for_cubic_gradients():
    theta, d = np.array([1.0, -2.0]), np.array([0.5, 1.0])
    found = hvp_by_differences(lambda t: t**4, theta, d, steps=(1e-3,))
    np.testing.assert_allclose(found, 4 * theta**3 * d, rtol=1e-11)


@pytest.mark.parametrize("step", [1e-5, 1e-6, 1e-7, 1e-8, 1e-9])
def test_the_chosen_step_is_the_largest_that_does_not_cross_a_kink(step):
    """The gradient |t| t has a kink at 0, which is three steps away."""
    theta, moved = np.array([3 * step, 1.0]), []

    def gradient(t):
        moved.append(abs(t[0] - theta[0]))
        return np.abs(t) * t

    found = hvp_by_differences(gradient, theta, np.array([2.0, 0.0]))
    np.testing.assert_allclose(found, [12 * step, 0.0], rtol=1e-6)
    np.testing.assert_allclose(sorted(moved)[:4], np.array([1, 1, 2, 2]) * step / 2, rtol=1e-6)
    assert len(moved) == 4 * STEPS.index(step) + 4
    assert max(moved) == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 10.0])
def test_the_order_swap_of_quadratics_is_the_bracket_at_any_epsilon(epsilon):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 4))
    a, b, theta = a + a.T, b + b.T, rng.standard_normal(4)
    found = order_swap(lambda t: a @ t, lambda t: b @ t, theta, epsilon)
    np.testing.assert_allclose(found, b @ a @ theta - a @ b @ theta, rtol=1e-10, atol=1e-10)


def test_dicts_and_arrays_give_the_same_bracket_and_the_order_swap_converges_to_it():
    def cubic(t):
        return t**3

    def inverse(t):
        return 1 / t

    theta = np.array([1.0, 2.0])
    exact = -4 * theta  # H_y g_x − H_x g_y = −t⁻² t³ − 3 t² t⁻¹ in each entry
    bracket = bracket_by_differences(cubic, inverse, theta)
    np.testing.assert_allclose(bracket, exact, rtol=1e-9)
    found = bracket_by_differences(lambda d: {"a": cubic(d["a"])}, lambda d: {"a": inverse(d["a"])}, {"a": theta})
    np.testing.assert_array_equal(found["a"], bracket)
    swap = order_swap_convergence(cubic, inverse, theta, exact)
    assert swap.observed_order == pytest.approx(1, abs=0.01)
    assert swap.epsilon == sorted(swap.epsilon, reverse=True)


def test_where_no_two_steps_agree_the_best_is_taken():
    """Noise of 1e-12 in the gradient spoils the smaller steps and a jump at 3e-7 the larger ones."""
    rng, theta = np.random.default_rng(0), np.array([0.0, 1.0])

    def gradient(t):
        return 3 * t + (t > 3e-7) + 1e-12 * rng.standard_normal(2)

    assert hvp_by_differences(gradient, theta, np.array([1.0, 0.0]))[0] == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("form", [lambda a: a, lambda a: {"w": a}])
def test_a_narrow_theta_and_a_direction_of_another_form_are_refused(form):
    narrow, wide = (form(np.array([1.0, 2.0, 3.0], dtype)) for dtype in (np.float32, np.float64))
    with pytest.raises(TypeError, match=r"theta.*: expected a floating-point array, got dtype float32, which is too n"):
        bracket_by_differences(lambda t: t, lambda t: t, narrow)
    with pytest.raises(ValueError, match="direction: expected the shape of theta"):
        hvp_by_differences(lambda t: t, wide, form(np.ones(1)))


def test_degenerate_points_give_zeros_and_no_order_instead_of_nan():
    zero = np.zeros(2)
    np.testing.assert_array_equal(hvp_by_differences(lambda t: t**3, np.ones(2), zero), zero)
    np.testing.assert_allclose(hvp_by_differences(np.sin, zero, np.ones(2)), np.ones(2), rtol=1e-9)
    still = order_swap_convergence(np.zeros_like, np.zeros_like, np.ones(2), zero)
    assert (still.error, still.observed_order) == ([0.0] * 4, None)
    claimed_zero = order_swap_convergence(lambda t: t**2, np.ones_like, np.ones(2), zero)
    assert (claimed_zero.error, claimed_zero.observed_order) == ([np.inf] * 4, None)
