"""Tests of the brackets of any loss: closed forms, the laws of a Lie algebra, and both orders of differentiation."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lie_ref.core.fields import (
    commutator,
    gradient_step,
    hvp_forward_over_reverse,
    hvp_reverse_over_reverse,
    lie_bracket,
    vector_field,
)

seeds = st.integers(0, 2**32 - 1)


def quadratic(seed: int, n: int = 5):
    """The loss L(θ) = θᵀAθ/2 + bᵀθ, A and b."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((n, n)), rng.standard_normal(n)
    a = a + a.T
    return (lambda t: anp.dot(t, anp.dot(a, t)) / 2 + anp.dot(b, t)), a, b


def smooth_fields(seed: int, n: int = 4):
    """Three fields that are not gradients, tanh of affine maps, and a point."""
    rng = np.random.default_rng(seed)
    maps = [(rng.standard_normal((n, n)), rng.standard_normal(n)) for _ in range(3)]
    return [lambda t, a=a, b=b: anp.tanh(anp.dot(a, t) + b) for a, b in maps], rng.standard_normal(n)


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@settings(max_examples=50, deadline=None)
@given(seeds, seeds)
def test_bracket_of_quadratics_equals_its_closed_form(seed_x, seed_y):
    (x, a, b), (y, c, d) = quadratic(seed_x), quadratic(seed_y + 1)
    theta = np.random.default_rng(seed_x).standard_normal(5)
    expected = c @ (a @ theta + b) - a @ (c @ theta + d)
    scale = np.linalg.norm(c @ (a @ theta + b)) + np.linalg.norm(a @ (c @ theta + d))
    error = lie_bracket(vector_field(x), vector_field(y))(theta) - expected
    assert np.linalg.norm(error) <= 1e-13 * scale


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(0.01, 2.0))
def test_order_swap_of_quadratics_is_epsilon_squared_times_the_bracket_at_any_epsilon(seed, epsilon):
    (x, a, _), (y, c, _) = quadratic(seed), quadratic(seed + 1)
    theta = np.random.default_rng(seed).standard_normal(5)
    swap = commutator(gradient_step(x, epsilon), gradient_step(y, epsilon))(theta)
    bracket = lie_bracket(vector_field(x), vector_field(y))(theta)
    # The rounding error is relative to the two points that are subtracted.
    size = (1 + epsilon * np.linalg.norm(a)) * (1 + epsilon * np.linalg.norm(c)) * (10 + np.linalg.norm(theta))
    assert np.linalg.norm(swap - epsilon**2 * bracket) <= 1e-13 * size


def test_bracket_of_logistic_regressions_equals_its_closed_form():
    rng = np.random.default_rng(3)
    theta, x, y = rng.standard_normal(6), rng.standard_normal((2, 6)), np.array([0.0, 1.0])

    def field(i):
        return vector_field(lambda t: anp.logaddexp(0.0, anp.dot(x[i], t)) - y[i] * anp.dot(x[i], t))

    s = 1 / (1 + np.exp(-x @ theta))
    e, h, gram = s - y, s * (1 - s), x[0] @ x[1]  # g_i = e_i x_i and H_i = h_i x_i x_iᵀ
    expected = h[1] * gram * e[0] * x[1] - h[0] * gram * e[1] * x[0]
    assert relative(lie_bracket(field(0), field(1))(theta), expected) < 1e-13


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_the_bracket_obeys_the_laws_of_a_lie_algebra(seed):
    """It is antisymmetric and zero with itself exactly; bilinearity and the Jacobi identity hold to rounding."""
    (u, v, w), theta = smooth_fields(seed)
    assert np.array_equal(lie_bracket(v, w)(theta), -lie_bracket(w, v)(theta))
    assert not lie_bracket(v, v)(theta).any()
    combined = lie_bracket(lambda t: 2 * u(t) - 3 * v(t), w)(theta)
    separate = 2 * lie_bracket(u, w)(theta) - 3 * lie_bracket(v, w)(theta)
    np.testing.assert_allclose(combined, separate, rtol=0, atol=1e-12 * (1 + np.abs(separate).max()))
    terms = [lie_bracket(a, lie_bracket(b, c))(theta) for a, b, c in ((u, v, w), (v, w, u), (w, u, v))]
    assert np.linalg.norm(sum(terms)) <= 1e-12 * sum(map(np.linalg.norm, terms))


def test_bracket_of_a_rotation_and_a_translation_is_the_rotated_translation():
    rotate, shift = (lambda t: anp.array([-t[1], t[0]])), (lambda t: anp.array([1.0, 0.0]))
    np.testing.assert_array_equal(lie_bracket(rotate, shift)(np.array([0.3, 0.7])), [0.0, -1.0])


def test_dicts_of_arrays_give_the_same_bracket_as_the_concatenated_array():
    losses, theta = [quadratic(seed)[0] for seed in (0, 1)], np.random.default_rng(0).standard_normal(5)
    on_dicts = [lambda d, f=f: f(anp.concatenate([anp.ravel(d["w"]), d["b"]])) for f in losses]
    whole = lie_bracket(*map(vector_field, losses))(theta)
    parts = lie_bracket(*map(vector_field, on_dicts))({"w": theta[:4].reshape(2, 2), "b": theta[4:]})
    assert parts["w"].shape == (2, 2)
    np.testing.assert_allclose(np.r_[parts["w"].ravel(), parts["b"]], whole, rtol=1e-13)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_both_hvp_modes_agree_and_are_symmetric(seed):
    rng = np.random.default_rng(seed)
    a, theta, d, e = rng.standard_normal((6, 4)), *rng.standard_normal((3, 4))

    def loss(t):
        return anp.sum(anp.logaddexp(0.0, anp.dot(a, t)) ** 2)

    forward, reverse = hvp_forward_over_reverse(loss, theta, d), hvp_reverse_over_reverse(loss, theta, d)
    assert relative(forward, reverse) < 1e-13
    other = hvp_forward_over_reverse(loss, theta, e)
    assert abs(forward @ e - other @ d) <= 1e-12 * np.linalg.norm(forward) * np.linalg.norm(e)


@pytest.mark.parametrize(
    ("theta", "came"),
    [
        (np.array([1, 2]), "theta: .*, got dtype int64"),
        ([1.0, 2.0], "theta: .*, got list"),
        ({"w": np.array([1, 2])}, r"theta\['w'\]: .*, got dtype int64"),
        (1.0, "theta: .*, got float"),
        (SimpleNamespace(dtype="torch.float32"), "theta: .*, got SimpleNamespace"),
    ],
)
def test_a_point_that_is_not_a_floating_array_is_refused(theta, came):
    loss = lambda t: anp.sum(t["w"] if isinstance(t, dict) else t)  # noqa: E731
    products = [lambda t, hvp=hvp: hvp(loss, t, t) for hvp in (hvp_forward_over_reverse, hvp_reverse_over_reverse)]
    field = vector_field(loss)
    for function in (field, lie_bracket(field, field), gradient_step(loss, 0.1), *products):
        with pytest.raises(TypeError, match=f"^{came}$"):
            function(theta)


@pytest.mark.parametrize("hvp", [hvp_forward_over_reverse, hvp_reverse_over_reverse])
def test_a_direction_of_another_shape_is_refused(hvp):
    with pytest.raises(ValueError, match=r"direction: expected the shape of theta, \(3,\), got \(1,\)"):
        hvp(lambda t: anp.sum(t**3), np.ones(3), np.ones(1))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (lambda t: t[:1], r"v\(theta\): expected the shape of theta, \(2,\), got \(1,\)"),
        (lambda t: anp.sum(t), r"v\(theta\): expected the shape of theta, \(2,\), got \(\)"),  # a loss, not its field
        (lambda t: {"w": t}, r"v\(theta\): expected the shape of theta, \(2,\), got {'w': \(2,\)}"),
    ],
)
def test_a_field_with_values_of_another_form_than_the_point_is_refused(field, message):
    with pytest.raises(ValueError, match=message):
        lie_bracket(field, lambda t: t**2)(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=message.replace("v", "w", 1)):
        lie_bracket(lambda t: t**2, field)(np.array([1.0, 2.0]))


def test_a_point_may_be_an_ordered_dict_as_a_state_dict_of_pytorch_is():
    theta = OrderedDict(w=np.array([1.0, 2.0]), b=np.array(3.0))
    loss = lambda t: anp.sum(t["w"] ** 3) * t["b"]  # noqa: E731
    v, w = vector_field(loss), vector_field(lambda t: t["b"] ** 2 + anp.sum(t["w"]))
    for function in (v, lie_bracket(v, w), gradient_step(loss, 0.1), lambda t: hvp_reverse_over_reverse(loss, t, t)):
        found, expected = function(theta), function(dict(theta))
        assert all(np.array_equal(found[name], expected[name]) for name in theta)
