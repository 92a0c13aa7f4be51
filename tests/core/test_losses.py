"""Tests of the losses: values by hand, gradients against autograd, and digits kept where naive forms lose them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from autograd import grad, make_jvp

from lie_ref.core.losses import LOSSES, loss_function
from lie_ref.experiment.exclusive import exclusive
from lie_ref.fast.dual import Dual
from lie_ref.fast.scalar_rules import gradient

EVERY = LOSSES | {"exclusive": exclusive([0, 2]), "exclusive, all": exclusive(range(4))}


def logits_and_targets(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    z = rng.standard_normal((3, 4))
    return z, rng.integers(0, 4, 3) if name == "softmax" else rng.integers(0, 2, (3, 4)).astype(float)


@pytest.mark.parametrize("name", EVERY)
def test_gradient_and_its_derivative_equal_those_of_the_definition(name):
    z, y = logits_and_targets(name)
    loss = EVERY[name]
    by_autograd = grad(lambda z: loss.definition(z, y).sum())
    np.testing.assert_allclose(gradient(loss)(z, y), by_autograd(z), rtol=1e-14, atol=1e-16)
    directions = np.random.default_rng(2).standard_normal((5, *z.shape))
    found = gradient(loss)(Dual(z, directions), y).tangent
    expected = [make_jvp(by_autograd)(z)(d)[1] for d in directions]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize(
    ("name", "z", "y", "expected"),
    [
        ("bce", [math.log(9), math.log(1 / 4)], [1.0, 1.0], -(math.log(0.9) + math.log(0.2)) / 2),
        ("softmax", [math.log(0.7), math.log(0.2), math.log(0.1)], 1, -math.log(0.2)),
        ("softmax", [3.0], 0, 0),
        ("mse", [1.0, 3.0], [0.0, 1.0], 2.5),
    ],
)
def test_losses_are_negative_log_likelihoods_or_squared_errors_averaged_over_outputs(name, z, y, expected):
    assert LOSSES[name].definition(np.array([z]), np.array([y])) == pytest.approx([expected], rel=1e-15, abs=0)


@pytest.mark.parametrize("name", EVERY)
def test_logits_of_a_thousand_give_finite_values_gradients_and_curvatures(name):
    z, y = logits_and_targets(name)
    z = 1000 * np.sign(z)
    dual = Dual(z, np.ones((1, *z.shape)))
    with np.errstate(over="raise", invalid="raise"):
        value, found = EVERY[name].definition(z, y), gradient(EVERY[name])(dual, y)
        by_autograd = grad(lambda z: EVERY[name].definition(z, y).sum())(z)
    assert np.isfinite(value).all()
    assert np.isfinite(found.tangent).all()
    np.testing.assert_allclose(found.value, by_autograd, rtol=1e-15, atol=0)


def test_gradients_keep_their_digits_where_the_loss_saturates():
    z, tail = np.array([[40.0, -40.0]]), math.exp(-40) / (1 + math.exp(-40))
    right = gradient(LOSSES["bce"])(z, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(right, [[-tail / 2, tail / 2]], rtol=1e-15)
    z, y, loss = np.array([[40.0, 40.0]]), np.array([[1.0, 1.0]]), exclusive([0])
    assert loss.definition(z, y) == pytest.approx([math.log1p(math.exp(-40))], rel=1e-14)
    np.testing.assert_allclose(gradient(loss)(z, y), [[-tail / 2, -tail / 2]], rtol=1e-14)
    np.testing.assert_allclose(grad(lambda z: loss.definition(z, y).sum())(z), [[-tail / 2, -tail / 2]], rtol=1e-13)


@pytest.mark.parametrize("z", [70.0, -70.0])
def test_softmax_keeps_its_digits_where_the_label_is_nearly_certain_or_nearly_impossible(z):
    """For two logits p − one-hot is (−t, t) with t = 1 / (1 + e^z), and dt = −t (1 − t) dz."""
    dual = Dual(np.array([[z, 0.0]]), np.array([[[1.0, 0.0]]]))
    found = gradient(LOSSES["softmax"])(dual, np.array([0]))
    t, complement = 1 / (1 + math.exp(z)), 1 / (1 + math.exp(-z))
    np.testing.assert_allclose(found.value, [[-t, t]], rtol=1e-15)
    np.testing.assert_allclose(found.tangent[0], [[t * complement, -t * complement]], rtol=1e-15)


@pytest.mark.parametrize("margin", [1.0, 40.0, 300.0])
def test_the_definition_of_softmax_keeps_its_digits_for_confident_right_answers(margin):
    z, y = np.array([[margin, 0.0, -1.0]]), np.array([0])
    tail = math.exp(-margin) + math.exp(-margin - 1)
    definition = LOSSES["softmax"].definition
    assert definition(z, y) == pytest.approx([math.log1p(tail)], rel=1e-14)
    by_autograd = grad(lambda z: definition(z, y).sum())
    np.testing.assert_allclose(by_autograd(z), gradient(LOSSES["softmax"])(z, y), rtol=1e-13)
    d = np.array([[0.3, -1.0, 0.7]])
    exact = gradient(LOSSES["softmax"])(Dual(z, d[None]), y).tangent[0]
    np.testing.assert_allclose(make_jvp(by_autograd)(z)(d)[1], exact, rtol=1e-13)


def test_softmax_of_a_single_output_has_no_gradient():
    assert not gradient(LOSSES["softmax"])(np.array([[3.0], [-2.0]]), np.array([0, 0])).any()


def test_a_loss_can_be_given_by_name_or_as_a_function():
    loss = exclusive([0])
    assert loss_function(loss) is loss
    assert loss_function("bce") is LOSSES["bce"]
    with pytest.raises(ValueError, match="loss: expected one of bce, softmax, mse, got 3"):
        loss_function(3)
