"""What an optimizer's swap does: every formula beside the swap that is carried out, at falling learning rates."""

from __future__ import annotations

from collections.abc import Callable

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad

import lie_ref
from lie_ref import swap_effects
from lie_ref.core.differences import order_swap, relative_error
from lie_ref.core.fields import grad, hvp_reverse_over_reverse, tree_map
from lie_ref.core.optimizers import (
    AdamState,
    FixedPreconditioner,
    GradientDescent,
    Momentum,
    Optimizer,
    first_order_effect,
    second_order_effect,
)
from lie_ref.measure.crosschecks import order_swap_convergence
from lie_ref.study.training import Adam

RNG = np.random.default_rng(5)
THETA = RNG.normal(size=7)
A, B = RNG.normal(size=(2, 7, 7))
STATES: dict[str, Optimizer] = {
    "gradient descent": GradientDescent(),
    "fixed preconditioner": FixedPreconditioner(RNG.uniform(0.5, 2, 7)),
    "momentum": Momentum(RNG.normal(size=7), momentum=0.9),
    "momentum at rest": Momentum(np.zeros(7), momentum=0.5),
    "adam": AdamState(RNG.normal(size=7), RNG.uniform(0.5, 2, 7), count=30, betas=(0.8, 0.999)),
    "adam at rest": AdamState(np.zeros(7), np.zeros(7), count=0),
}
WITH_MEMORY = [name for name, state in STATES.items() if isinstance(state, (Momentum, AdamState))]


def loss_i(t: np.ndarray) -> float:
    return anp.sum(anp.tanh(A @ t) ** 2) + 0.1 * anp.sum(t**3)


def loss_j(t: np.ndarray) -> float:
    return anp.sum(anp.sin(B @ t)) + anp.sum(t**2)


def effects(optimizer: Optimizer) -> tuple[np.ndarray, np.ndarray]:
    """Both orders of the swap of the two losses, by the formulas and autograd in reverse over reverse."""
    g_i, g_j = grad(loss_i)(THETA), grad(loss_j)(THETA)
    u_i, u_j = optimizer.step(g_i)[0], optimizer.step(g_j)[0]
    products = hvp_reverse_over_reverse(loss_j, THETA, u_i), hvp_reverse_over_reverse(loss_i, THETA, u_j)
    return first_order_effect(optimizer, g_i, g_j), second_order_effect(optimizer, g_i, g_j, *products)


def observed_orders(error: Callable[[float], float], epsilons: np.ndarray) -> np.ndarray:
    errors = np.array([error(epsilon) for epsilon in epsilons])
    return np.diff(np.log(errors)) / np.diff(np.log(epsilons))


@pytest.mark.parametrize("name", STATES)
def test_both_terms_leave_an_error_of_third_order(name: str) -> None:
    first, second = effects(STATES[name])

    def error(epsilon: float) -> float:
        carried_out = order_swap(grad(loss_i), grad(loss_j), THETA, epsilon, STATES[name], order=1)
        return float(np.linalg.norm(carried_out * epsilon - epsilon * first - epsilon**2 * second))

    np.testing.assert_allclose(observed_orders(error, 2.0 ** -np.arange(9, 13)), 3, atol=0.1)


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_a_state_that_remembers_has_an_effect_of_first_order(name: str) -> None:
    first, _ = effects(STATES[name])
    found = order_swap_convergence(grad(loss_i), grad(loss_j), THETA, first, STATES[name], order=1)
    assert found.observed_order == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", ["gradient descent", "fixed preconditioner"])
def test_without_memory_there_is_no_effect_of_first_order(name: str) -> None:
    first, second = effects(STATES[name])
    np.testing.assert_array_equal(first, np.zeros(7))
    found = order_swap_convergence(grad(loss_i), grad(loss_j), THETA, second, STATES[name])
    assert found.observed_order == pytest.approx(1, abs=0.02)


def test_plain_and_preconditioned_effects_are_lie_brackets_of_the_fields() -> None:
    for name, p in (("gradient descent", np.ones(7)), ("fixed preconditioner", STATES["fixed preconditioner"])):
        scale = p.preconditioner if isinstance(p, FixedPreconditioner) else p
        fields = [lambda t, f=f, scale=scale: -scale * grad(f)(t) for f in (loss_i, loss_j)]
        bracket = lie_ref.lie_bracket(*fields)(THETA)
        assert relative_error(effects(STATES[name])[1], bracket) < 1e-14


def test_momentum_swaps_to_minus_mu_times_the_difference_of_the_gradients() -> None:
    expected = -0.9 * (grad(loss_i)(THETA) - grad(loss_j)(THETA))
    assert relative_error(effects(STATES["momentum"])[0], expected) < 1e-14


def test_later_steps_undo_what_momentum_did_to_first_order() -> None:
    """The buffers differ by (μ − 1)(g_i − g_j) after the swap, which moves θ by μ (g_i − g_j) ε in the end."""
    state, (g_i, g_j) = Momentum(RNG.normal(size=7), momentum=0.5), (grad(loss_i)(THETA), grad(loss_j)(THETA))

    def far_ahead(order: list[np.ndarray]) -> np.ndarray:
        moved, buffer = np.zeros(7), state
        for gradient in [*order, *[np.zeros(7)] * 60]:
            update, buffer = buffer.step(gradient)
            moved = moved - update
        return moved

    assert np.linalg.norm(far_ahead([g_i, g_j]) - far_ahead([g_j, g_i])) < 1e-14 * np.linalg.norm(g_i)


@pytest.mark.parametrize("name", STATES)
def test_slope_is_the_derivative_of_the_update(name: str) -> None:
    gradient = RNG.normal(size=7)
    h = 1e-6
    differences = [(STATES[name].step(gradient + s * h)[0]) for s in (1, -1)]
    slope = np.broadcast_to(STATES[name].slope(gradient), 7)
    np.testing.assert_allclose(slope, (differences[0] - differences[1]) / (2 * h), rtol=1e-6, atol=1e-9)


def test_slope_of_adam_agrees_with_autograd() -> None:
    state, gradient = STATES["adam"], RNG.normal(size=7)
    assert isinstance(state, AdamState)

    def update(g: np.ndarray) -> np.ndarray:
        m, v = 0.8 * state.mean + 0.2 * g, 0.999 * state.square + 0.001 * g * g
        return m / (1 - 0.8**31) / (anp.sqrt(v / (1 - 0.999**31)) + 1e-8)

    np.testing.assert_allclose(state.slope(gradient), elementwise_grad(update)(gradient), rtol=1e-13)


def test_slope_of_adam_is_finite_where_no_gradient_ever_came() -> None:
    slope = AdamState(np.zeros(2), np.zeros(2), count=0).slope(np.array([0.0, 1.0]))
    np.testing.assert_allclose(slope[0], 1e8)  # u = g / (|g| + ε)
    assert np.isfinite(slope).all()


def test_adam_state_steps_as_the_training_does() -> None:
    params = {"w": RNG.normal(size=(3, 2)), "b": RNG.normal(size=3)}
    training, state = Adam(params, lr=0.01, betas=(0.8, 0.999)), None
    state = AdamState(*(tree_map(np.zeros_like, params) for _ in range(2)), count=0, betas=(0.8, 0.999))
    theta = tree_map(np.copy, params)
    for _ in range(5):
        gradient = tree_map(lambda p: RNG.normal(size=p.shape), params)
        training.step(params, gradient)
        update, state = state.step(gradient)
        theta = tree_map(lambda t, u: t - 0.01 * u, theta, update)
    assert max(relative_error(theta[name], params[name]) for name in params) < 1e-14


def test_adam_has_no_preconditioner_before_its_first_step() -> None:
    with pytest.raises(ValueError, match="count: expected at least 1"):
        AdamState(np.zeros(2), np.zeros(2), count=0).preconditioner()


@pytest.mark.parametrize("kind", ["momentum", "adam", "preconditioned"])
def test_effects_on_a_network_are_those_of_the_formulas_by_autograd(kind: str) -> None:
    model = lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1)
    params, buffers = model.init(seed=1)
    params = {name: p + 0.1 * RNG.normal(size=p.shape) for name, p in params.items()}
    x, y = RNG.normal(size=(3, 1, 9, 9)), (RNG.random((3, 3)) > 0.5).astype(float)
    positive = {name: RNG.uniform(0.5, 2, p.shape) for name, p in params.items()}
    optimizer: Optimizer = {
        "momentum": Momentum(positive, 0.9),
        "adam": AdamState(positive, positive, 7),
        "preconditioned": FixedPreconditioner(positive),
    }[kind]
    pairs = [(0, 1), (2, 0), (1, 1)]
    first, second = swap_effects(model, params, buffers, x, y, pairs, optimizer)

    def loss_of(i: int) -> Callable[[dict[str, np.ndarray]], float]:
        def loss(p: dict[str, np.ndarray]) -> float:
            z = model.apply(p, buffers, x[i : i + 1])
            return anp.mean(anp.logaddexp(0.0, z) - y[i] * z)

        return loss

    for k, (i, j) in enumerate(pairs):
        g_i, g_j = (grad(loss_of(n))(params) for n in (i, j))
        u_i, u_j = optimizer.step(g_i)[0], optimizer.step(g_j)[0]
        products = [hvp_reverse_over_reverse(loss_of(n), params, u) for n, u in ((j, u_i), (i, u_j))]
        for found, expected in (
            (first, first_order_effect(optimizer, g_i, g_j)),
            (second, second_order_effect(optimizer, g_i, g_j, *products)),
        ):
            size = np.sqrt(sum(np.sum(e**2) for e in expected.values()))
            for name, e in expected.items():
                assert np.linalg.norm(found[name][k] - e) <= 1e-12 * size + 1e-300, (name, i, j)
