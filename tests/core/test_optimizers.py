"""Tests of the effect of an order swap under an optimizer: the formulas against swaps that are carried out."""

from __future__ import annotations

from collections.abc import Callable

import autograd.numpy as anp
import numpy as np
import pytest
from networks import generic_problem

import lie_ref
from lie_ref import swap_effects
from lie_ref.core.differences import order_swap, relative_error
from lie_ref.core.engine import Autograd
from lie_ref.core.fields import grad, hvp_reverse_over_reverse, tree_map
from lie_ref.core.optimizers import (
    AdamState,
    FixedPreconditioner,
    Momentum,
    Optimizer,
    WeightDecay,
    first_order_effect,
    second_order_effect,
)
from lie_ref.core.types import Arrays
from lie_ref.study.training import Adam

RNG = np.random.default_rng(5)
THETA = RNG.normal(size=7)
A, B = RNG.normal(size=(2, 7, 7))
STATES: dict[str, Optimizer] = {
    "gradient descent": Optimizer(),
    "fixed preconditioner": FixedPreconditioner(RNG.uniform(0.5, 2, 7)),
    "momentum": Momentum(RNG.normal(size=7), momentum=0.9),
    "momentum at rest": Momentum(np.zeros(7), momentum=0.5),
    "adam": AdamState(RNG.normal(size=7), RNG.uniform(0.5, 2, 7), count=30, betas=(0.8, 0.999)),
    "adam at rest": AdamState(np.zeros(7), np.zeros(7), count=0),
}
STATES |= {
    "sgd with decay": WeightDecay(Optimizer(), l2=0.3),
    "sgd with decoupled decay": WeightDecay(Optimizer(), decoupled=0.3),
    "momentum with decay": WeightDecay(STATES["momentum"], l2=0.3),
    "adam with decay": WeightDecay(STATES["adam"], l2=0.3),
    "adam at rest with decay": WeightDecay(STATES["adam at rest"], l2=0.3),
    "adamw": WeightDecay(STATES["adam"], decoupled=0.3),
    "adamw with decay": WeightDecay(STATES["adam"], l2=0.2, decoupled=0.3),
}


def loss_i(t: np.ndarray) -> float:
    return anp.sum(anp.tanh(A @ t) ** 2) + 0.1 * anp.sum(t**3)


def loss_j(t: np.ndarray) -> float:
    return anp.sum(anp.sin(B @ t)) + anp.sum(t**2)


G_I, G_J = grad(loss_i)(THETA), grad(loss_j)(THETA)


def effects(optimizer: Optimizer) -> tuple[np.ndarray, np.ndarray]:
    """The first- and second-order effects of swapping the two losses, with products by reverse over reverse."""
    u_i, u_j = optimizer.step(G_I, THETA)[0], optimizer.step(G_J, THETA)[0]
    products = hvp_reverse_over_reverse(loss_j, THETA, u_i), hvp_reverse_over_reverse(loss_i, THETA, u_j)
    given = optimizer, THETA, G_I, G_J
    return first_order_effect(*given), second_order_effect(*given, *products)


@pytest.mark.parametrize("name", STATES)
def test_the_first_two_orders_leave_an_error_of_third_order(name: str) -> None:
    first, second = effects(STATES[name])
    epsilons = 2.0 ** -np.arange(9, 13)
    swaps = [e * order_swap(grad(loss_i), grad(loss_j), THETA, e, STATES[name], order=1) for e in epsilons]
    errors = [np.linalg.norm(s - e * first - e**2 * second) for s, e in zip(swaps, epsilons, strict=True)]
    np.testing.assert_allclose(np.diff(np.log(errors)) / np.diff(np.log(epsilons)), 3, atol=0.1)


@pytest.mark.parametrize("name", ["gradient descent", "fixed preconditioner"])
def test_plain_and_preconditioned_effects_are_lie_brackets_of_the_fields(name: str) -> None:
    p = STATES[name].step(np.ones(7), THETA)[0]  # the diagonal of the preconditioner, or ones
    bracket = lie_ref.lie_bracket(lambda t: -p * grad(loss_i)(t), lambda t: -p * grad(loss_j)(t))(THETA)
    first, second = effects(STATES[name])
    assert not first.any()
    assert relative_error(second, bracket) < 1e-14


@pytest.mark.parametrize("name", ["sgd with decay", "sgd with decoupled decay"])
def test_decay_without_memory_gives_the_lie_bracket_of_the_fields_with_the_regulariser(name: str) -> None:
    fields = [lambda t, loss=loss: -grad(loss)(t) - 0.3 * t for loss in (loss_i, loss_j)]
    first, second = effects(STATES[name])
    assert not first.any()
    assert relative_error(second, lie_ref.lie_bracket(*fields)(THETA)) < 1e-14


def test_the_effect_of_momentum_is_minus_mu_times_the_difference_of_the_gradients() -> None:
    assert relative_error(effects(STATES["momentum"])[0], -0.9 * (G_I - G_J)) < 1e-14


def test_later_steps_cancel_the_first_order_effect_of_momentum() -> None:
    """After the swap the buffers differ by (μ − 1)(g_i − g_j), which later moves θ by μ (g_i − g_j) ε."""
    state = Momentum(RNG.normal(size=7), momentum=0.5)

    def far_ahead(order: list[np.ndarray]) -> np.ndarray:
        moved, buffer = np.zeros(7), state
        for gradient in [*order, *[np.zeros(7)] * 60]:
            update, buffer = buffer.step(gradient, THETA)
            moved = moved - update
        return moved

    assert np.linalg.norm(far_ahead([G_I, G_J]) - far_ahead([G_J, G_I])) < 1e-14 * np.linalg.norm(G_I)


@pytest.mark.parametrize("name", STATES)
def test_the_change_is_the_derivative_of_the_update(name: str) -> None:
    (gradient, along, to), h = RNG.normal(size=(3, 7)), 1e-6
    ahead, behind = (STATES[name].step(gradient + s * h * along, THETA + s * h * to)[0] for s in (1, -1))
    found = STATES[name].change(gradient, THETA, along, to)
    np.testing.assert_allclose(found, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-9)


def test_the_change_under_adam_is_finite_if_every_gradient_was_zero() -> None:
    adam = AdamState(np.zeros(2), np.zeros(2), count=0)
    slope = adam.change(np.array([0.0, 1.0]), np.ones(2), np.ones(2), np.ones(2))
    np.testing.assert_allclose(slope[0], 1e8)  # u = g / (|g| + ε)
    assert np.isfinite(slope).all()


def test_adam_state_takes_the_same_steps_as_the_training() -> None:
    params = {"w": RNG.normal(size=(3, 2)), "b": RNG.normal(size=3)}
    training = Adam(params, lr=0.01, betas=(0.8, 0.999))
    state = AdamState(*(tree_map(np.zeros_like, params) for _ in range(2)), count=0, betas=(0.8, 0.999))
    theta = tree_map(np.copy, params)
    for _ in range(5):
        gradient = tree_map(lambda p: RNG.normal(size=p.shape), params)
        training.step(params, gradient)
        update, state = state.step(gradient, theta)
        theta = tree_map(lambda t, u: t - 0.01 * u, theta, update)
    assert max(relative_error(theta[name], params[name]) for name in params) < 1e-14


def test_the_defaults_are_those_of_pytorch() -> None:
    one, g = np.ones(1), np.array([2.0])
    assert Momentum(one).step(g, one)[0] == pytest.approx(2.9)
    m, v = (0.9 + 0.2) / (1 - 0.9**2), (0.999 + 0.004) / (1 - 0.999**2)
    assert AdamState(one, one, count=1).step(g, one)[0] == pytest.approx(m / (v**0.5 + 1e-8), rel=1e-13)
    assert AdamState(0 * one, 0 * one, count=0).step(1e-8 * one, one)[0] == pytest.approx(0.5)  # ε is 1e-8


def test_adam_has_no_preconditioner_before_its_first_step() -> None:
    with pytest.raises(ValueError, match="count: expected at least 1"):
        AdamState(np.zeros(2), np.zeros(2), count=0).preconditioner()


@pytest.mark.parametrize(
    "optimizer_at",
    [lambda p: Momentum(p, 0.9), lambda p: WeightDecay(AdamState(p, p, 7), 0.1, 0.2), FixedPreconditioner],
    ids=["momentum", "adam with both decays", "preconditioned"],
)
def test_effects_on_a_network_equal_the_formulas_by_autograd(optimizer_at: Callable[[Arrays], Optimizer]) -> None:
    model, pairs = lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1), [(1, 0), (1, 1)]
    problem = generic_problem(model, (2, 1, 9, 9), 1, pairs)
    optimizer = optimizer_at({name: RNG.uniform(0.5, 2, p.shape) for name, p in problem.params.items()})
    reverse = Autograd(hvp_reverse_over_reverse)
    g = reverse.gradients(problem)
    products = reverse.products(problem, optimizer.step(g, problem.params)[0])  # H_j u_i and H_i u_j
    g_i, g_j = (tree_map(lambda a, side=side: a[problem.pairs[:, side]], g) for side in (0, 1))
    h_j_u_i, h_i_u_j = (tree_map(lambda h, side=side: h[:, side], products) for side in (0, 1))
    given = optimizer, problem.params, g_i, g_j
    expected = first_order_effect(*given), second_order_effect(*given, h_j_u_i, h_i_u_j)
    found = swap_effects(model, problem.params, problem.buffers, problem.x, problem.y, pairs, optimizer)
    for effect, of in zip(found, expected, strict=True):
        size = np.sqrt(sum((e**2).reshape(len(pairs), -1).sum(axis=1) for e in of.values()))
        for name, e in of.items():
            errors = np.linalg.norm((effect[name] - e).reshape(len(pairs), -1), axis=1)
            assert (errors <= 1e-12 * size + 1e-300).all(), name
