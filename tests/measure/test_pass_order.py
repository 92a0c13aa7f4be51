"""A pass in another order: the prediction is the sum of Lie brackets, and small steps really make that change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from networks import generic_problem, loss_of

import lie_ref
from lie_ref.core.fields import vector_field
from lie_ref.core.problem import Problem
from lie_ref.experiment.expansion import variant
from lie_ref.measure.pass_order import compare_passes, pass_displacement, predicted_change, turned_pairs

MLP = lie_ref.mlp([3, 5, 2], activation="tanh")
NET = lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1)


def mini_batches(model: lie_ref.core.networks.Model, k: int) -> Problem:
    """k mini-batches of four, in training mode."""
    return generic_problem(model, (k, 4, *((1, 9, 9) if model.pictures else (3,))), 2, [(0, 0)], training=True)


def test_the_prediction_is_the_sum_of_the_brackets_of_the_pairs_that_change_places() -> None:
    """Autograd differentiates each field from the definition of the network."""
    p = mini_batches(NET, 3)
    fields = [vector_field(loss_of(NET, p.buffers, p.x[b], p.y[b], training=True)) for b in range(3)]
    brackets = {(a, b): lie_ref.lie_bracket(fields[b], fields[a])(p.params) for a, b in combinations(range(3), 2)}
    orders = np.array([(1, 0, 2), (2, 1, 0), (1, 2, 0), (0, 1, 2)])
    found = predicted_change(p, orders)
    for o, order in enumerate(orders.tolist()):
        turned = [(a, b) for a, b in brackets if order.index(a) > order.index(b)]
        assert len(turned) == (1, 3, 2, 0)[o]
        for name, array in found.items():
            expected = sum((brackets[pair][name] for pair in turned), np.zeros_like(p.params[name]))
            size = max(np.linalg.norm(b[name]) for b in brackets.values())
            assert np.linalg.norm(array[o] - expected) <= 1e-12 * size


def test_a_pass_is_one_step_of_gradient_descent_after_another() -> None:
    p = mini_batches(MLP, 3)
    theta = p.params
    for batch in (2, 0, 1):
        g = lie_ref.gradients(MLP, theta, p.buffers, p.x[batch], p.y[batch])
        theta = {name: t - 0.1 * g[name].mean(axis=0) for name, t in theta.items()}
    moved = pass_displacement(p, (2, 0, 1), 0.1)
    for name, t in theta.items():
        np.testing.assert_allclose(p.params[name] + moved[name], t, rtol=1e-13)


@pytest.mark.parametrize("problem", [mini_batches(MLP, 4), variant(mini_batches(NET, 4), "average pool")])
def test_truth_and_prediction_differ_by_a_term_of_first_order(problem: Problem) -> None:
    epsilons = 1e-3 / 2.0 ** np.arange(4)
    found = [p for p in compare_passes(problem, epsilons, np.random.default_rng(0)) if p["mini_batches"] == 4]
    errors = np.abs(np.array([p["ratio"] for p in found]) - 1)  # two orders
    assert errors.max() < 0.05
    slopes = np.diff(np.log(errors), axis=0) / np.diff(np.log(epsilons))[:, None]
    np.testing.assert_allclose(slopes, 1, atol=0.1)
    assert all(cosine > 0.999 for p in found for cosine in p["cosine"])


def test_passes_over_2_4_and_more_mini_batches_are_compared_in_reverse_and_random_order() -> None:
    found = compare_passes(mini_batches(MLP, 5), [1e-2, 1e-3], np.random.default_rng(3))
    assert [(p["mini_batches"], p["epsilon"], len(p["cosine"])) for p in found] == [
        (k, epsilon, 1 if k == 2 else 2) for k in (2, 4) for epsilon in (1e-2, 1e-3)
    ]
    assert compare_passes(mini_batches(MLP, 1), [0.1], np.random.default_rng(0)) == []


def test_cosines_and_ratios_are_those_of_steps_in_the_reverse_and_in_an_order_of_the_generator() -> None:
    p, e = mini_batches(MLP, 4), 0.05
    (found,) = (of for of in compare_passes(p, [e], np.random.default_rng(3)) if of["mini_batches"] == 4)

    def after(order: Sequence[int]) -> np.ndarray:
        theta = p.params
        for b in order:
            g = lie_ref.gradients(MLP, theta, p.buffers, p.x[b], p.y[b])
            theta = {name: t - e * g[name].mean(axis=0) for name, t in theta.items()}
        return np.concatenate([t.ravel() for t in theta.values()])

    for n, order in enumerate(([3, 2, 1, 0], np.random.default_rng(3).permutation(4).tolist())):
        assert order != [0, 1, 2, 3]
        pairs = [(b, a) for a, b in combinations(range(4), 2) if order.index(a) > order.index(b)]
        brackets = lie_ref.batch_brackets(MLP, p.params, p.buffers, p.x, p.y, pairs)
        predicted = np.concatenate([b.sum(axis=0).ravel() for b in brackets.values()])
        truth = (after(order) - after(range(4))) / e**2
        sizes = np.linalg.norm(truth), np.linalg.norm(predicted)
        assert found["cosine"][n] == pytest.approx(truth @ predicted / sizes[0] / sizes[1], rel=1e-9)
        assert found["ratio"][n] == pytest.approx(sizes[0] / sizes[1], rel=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_is_in_the_mode_of_the_problem(training: bool) -> None:
    p = replace(mini_batches(NET, 2), training=training)
    field = vector_field(loss_of(NET, p.buffers, p.x[1], p.y[1], training=training))
    moved = pass_displacement(p, (1,), 0.5)
    brackets = lie_ref.batch_brackets(NET, p.params, p.buffers, p.x, p.y, [(1, 0)], training=training)
    predicted = predicted_change(p, np.array([[1, 0]]))
    for name, v in field(p.params).items():
        np.testing.assert_allclose(moved[name], 0.5 * v, rtol=1e-9, atol=1e-12 * np.abs(v).max())
        size = np.abs(brackets[name]).max()
        np.testing.assert_allclose(predicted[name], brackets[name], rtol=1e-9, atol=1e-12 * size)


def test_orders_that_come_out_as_given_are_not_compared() -> None:
    class Given:
        def permutation(self, k: int) -> np.ndarray:
            return np.arange(k)

    found = compare_passes(mini_batches(MLP, 4), [0.1], Given())  # type: ignore[arg-type]
    assert [len(of["cosine"]) for of in found] == [len(of["ratio"]) for of in found] == [1, 1]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_turned_pairs_are_those_in_reverse_order(order: tuple[int, ...]) -> None:
    signs = turned_pairs(order)
    for a, b in combinations(range(3), 2):
        assert signs[a, b] == -signs[b, a] == int(order.index(a) > order.index(b))
    assert not signs.diagonal().any()


def test_a_pass_of_an_optimizer_carries_its_state_from_step_to_step() -> None:
    p = mini_batches(MLP, 3)
    theta, buffer = dict(p.params), {name: np.full_like(a, 0.01) for name, a in p.params.items()}
    momentum = lie_ref.optimizers.Momentum(buffer, momentum=0.5)
    for batch in (2, 0, 1):
        g = lie_ref.gradients(MLP, theta, p.buffers, p.x[batch], p.y[batch])
        buffer = {name: 0.5 * b + g[name].mean(axis=0) for name, b in buffer.items()}
        theta = {name: t - 0.1 * buffer[name] for name, t in theta.items()}
    moved = pass_displacement(p, (2, 0, 1), 0.1, momentum)
    for name, t in theta.items():
        np.testing.assert_allclose(p.params[name] + moved[name], t, rtol=1e-13)
