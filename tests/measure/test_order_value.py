"""The value of an order is the change of the loss on others that a swap really makes, to second order."""

from __future__ import annotations

from itertools import combinations, permutations

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


@pytest.mark.parametrize(("case", "longest"), list(zip(CASES, [1e-2, 4e-4], strict=True)))
def test_it_is_the_real_change_of_the_held_out_loss_as_the_steps_shrink(case: tuple, longest: float) -> None:
    """The rest is of first order in ε, as long as no step crosses a jump of the max-pool."""
    model, shape = case
    _, params, buffers, x, y = given = arguments(model, (3, *shape), 1)
    x_val, y_val = examples(model, (5, *shape), 7)
    loss, epsilons = loss_of(model, buffers, x_val, y_val), longest / 2.0 ** np.arange(3)
    value = lie_ref.order_value(*given, x_val, y_val)
    np.testing.assert_array_equal(value, -value.T)
    for pair in combinations(range(3), 2):
        swaps = []
        for e in epsilons:
            ends = [loss(after(model, params, buffers, x, y, order, e)) for order in (pair, pair[::-1])]
            swaps.append((ends[0] - ends[1]) / e**2)
        errors = np.abs(np.array(swaps) - value[pair])
        assert errors[0] < 0.1 * abs(value[pair])
        np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 1, atol=0.1)
        assert 2 * swaps[-1] - swaps[-2] == pytest.approx(value[pair], rel=1e-3)  # extrapolated to ε = 0


def test_the_sum_of_an_order_is_its_loss_minus_the_mean_over_all_orders() -> None:
    """Real losses after passes over four fields, extrapolated to ε = 0."""
    model, params, buffers, x, y = given = arguments(MLP, (4, 3), 2)
    x_val, y_val = examples(MLP, (5, 3), 7)
    value, loss = lie_ref.order_value(*given, x_val, y_val), loss_of(MLP, buffers, x_val, y_val)
    orders = list(permutations(range(4)))

    def real(e: float) -> np.ndarray:
        ends = np.array([loss(after(model, params, buffers, x, y, order, e)) for order in orders])
        return (ends - ends.mean()) / e**2

    sums = np.array([order_sum(value, np.array(order)) for order in orders])
    assert abs(sums.mean()) < 1e-12 * np.abs(sums).max()
    np.testing.assert_allclose(sums, 2 * real(5e-4) - real(1e-3), rtol=0, atol=1e-5 * np.abs(sums).max())


def test_the_sum_of_an_order_is_half_the_sum_of_its_pairs() -> None:
    values = np.array([[0.0, 2.0, -1.0], [-2.0, 0.0, 5.0], [1.0, -5.0, 0.0]])
    assert order_sum(values, np.array([0, 1, 2])) == (2 - 1 + 5) / 2
    assert order_sum(values, np.array([2, 0, 1])) == (1 - 5 + 2) / 2


@pytest.mark.parametrize("seed", range(5))
def test_the_best_order_is_the_best_of_all_where_values_are_differences_of_scores(seed: int) -> None:
    scores = np.random.default_rng(seed).standard_normal(5)
    value = scores[:, None] - scores
    sums = {order: order_sum(value, np.array(order)) for order in permutations(range(5))}
    assert tuple(best_order(value).tolist()) == min(sums, key=lambda order: sums[order])


def test_the_reverse_of_an_order_is_as_much_worse_as_the_order_is_better() -> None:
    matrix = np.random.default_rng(3).standard_normal((6, 6))
    value, order = matrix - matrix.T, np.array([3, 0, 5, 1, 4, 2])
    assert order_sum(value, order[::-1]) == pytest.approx(-order_sum(value, order))


def test_of_two_fields_the_best_order_is_the_one_with_the_lower_loss() -> None:
    assert best_order(np.array([[0.0, -1.0], [1.0, 0.0]])).tolist() == [0, 1]  # 0 first lowers the loss
    assert best_order(np.array([[0.0, 1.0], [-1.0, 0.0]])).tolist() == [1, 0]


def test_the_gradient_of_a_mean_loss_weights_all_examples_alike() -> None:
    model, params, buffers, x, y = arguments(MLP, (130, 3), 3)
    found = mean_gradient(checked_problem(model, params, buffers, x, y))
    for name, g in lie_ref.gradients(model, params, buffers, x, y).items():
        np.testing.assert_allclose(found[name], g.mean(axis=0), rtol=1e-11, atol=1e-15)


def test_held_out_examples_of_another_shape_are_refused_by_name() -> None:
    given = arguments(MLP, (2, 3), 0)
    with pytest.raises(ValueError, match=r"^x_val: expected shape"):
        lie_ref.order_value(*given, np.ones((2, 4)), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"^y_val: expected shape"):
        lie_ref.order_value(*given, np.ones((2, 3)), np.ones((2, 9)))


@pytest.mark.parametrize("seed", range(5))
def test_no_order_is_better_than_the_best(seed: int) -> None:
    a = np.random.default_rng(seed).standard_normal((6, 6))
    sums = {order: order_sum(a - a.T, np.array(order)) for order in permutations(range(6))}
    assert sums[tuple(best_order(a - a.T).tolist())] == pytest.approx(min(sums.values()))


def test_the_best_of_too_many_orders_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^values: expected those of at most 16 fields, got 17$"):
        best_order(np.zeros((17, 17)))
