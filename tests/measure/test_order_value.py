"""The value of an order is the change of the loss on others that a swap really makes, to second order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from networks import arguments, examples, loss_of

import lie_ref
from lie_ref.core.fields import inner
from lie_ref.core.networks import Model
from lie_ref.core.types import Arrays
from lie_ref.fast.arguments import checked_problem
from lie_ref.measure.order_value import best_order, mean_gradient, order_sum

MLP = lie_ref.mlp([3, 5, 2], activation="tanh")
NET = lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1)
CASES = [(MLP, (3,)), (NET, (1, 9, 9))]


def after(
    model: Model, params: Arrays, buffers: Arrays, x: np.ndarray, y: np.ndarray, order: tuple, e: float
) -> Arrays:
    """The parameters after steps of gradient descent on single examples in this order."""
    for i in order:
        g = lie_ref.gradients(model, params, buffers, x[i : i + 1], y[i : i + 1])
        params = {name: p - e * g[name][0] for name, p in params.items()}
    return params


@pytest.mark.parametrize("loss", ["bce", "mse"])
@pytest.mark.parametrize(("model", "shape"), CASES)
def test_it_is_the_bracket_along_the_gradient_of_the_mean_loss(model: Model, shape: tuple, loss: str) -> None:
    given = arguments(model, (4, *shape), 0)
    x_val, y_val = examples(model, (70, *shape), 5)  # more than are taken at a time
    value = lie_ref.order_value(*given, x_val, y_val, loss=loss)
    g = {name: a.mean(axis=0) for name, a in lie_ref.gradients(*given[:3], x_val, y_val, loss).items()}
    pairs = [(i, j) for i in range(4) for j in range(4)]
    b = lie_ref.brackets(*given, pairs, loss)
    expected = [inner(g, {name: a[k] for name, a in b.items()}) for k in range(len(pairs))]
    np.testing.assert_allclose(value.ravel(), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_it_is_the_real_change_of_the_held_out_loss_as_the_steps_shrink() -> None:
    model, params, buffers, x, y = given = arguments(MLP, (2, 3), 1)
    x_val, y_val = examples(MLP, (5, 3), 7)
    loss = loss_of(MLP, buffers, x_val, y_val)
    value = lie_ref.order_value(*given, x_val, y_val)[0, 1]
    errors = []
    for e in (1e-2, 5e-3, 2.5e-3):
        ends = [loss(after(model, params, buffers, x, y, order, e)) for order in ((0, 1), (1, 0))]
        errors.append(abs((ends[0] - ends[1]) / e**2 - value))
    assert errors[0] < 0.1 * abs(value)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(1, abs=0.1)


def test_the_sum_of_an_order_is_its_loss_minus_the_mean_over_all_orders() -> None:
    model, params, buffers, x, y = given = arguments(MLP, (4, 3), 2)
    x_val, y_val = examples(MLP, (5, 3), 7)
    value, loss, e = lie_ref.order_value(*given, x_val, y_val), loss_of(MLP, buffers, x_val, y_val), 1e-4
    orders = list(permutations(range(4)))
    real = np.array([loss(after(model, params, buffers, x, y, order, e)) for order in orders]) / e**2
    sums = np.array([order_sum(value, np.array(order)) for order in orders])
    assert abs(sums.mean()) < 1e-12 * np.abs(sums).max()
    np.testing.assert_allclose(sums, real - real.mean(), atol=2e-2 * np.abs(sums).max())
    best = best_order(value)
    assert order_sum(value, best) <= np.quantile(sums, 0.1)
    assert order_sum(value, best[::-1]) == pytest.approx(-order_sum(value, best))


def test_the_gradient_of_a_mean_loss_weights_all_examples_alike() -> None:
    model, params, buffers, x, y = arguments(MLP, (130, 3), 3)
    found = mean_gradient(checked_problem(model, params, buffers, x, y))
    for name, g in lie_ref.gradients(model, params, buffers, x, y).items():
        np.testing.assert_allclose(found[name], g.mean(axis=0), rtol=1e-11, atol=1e-15)


def test_held_out_examples_of_another_shape_are_refused_by_name() -> None:
    given = arguments(MLP, (2, 3), 0)
    with pytest.raises(ValueError, match=r"^x_val: expected shape"):
        lie_ref.order_value(*given, np.ones((2, 4)), np.ones((2, 2)))
