"""Losses: gradients in the logits against autograd, and their values where naive forms fail."""

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


def logits_and_targets(name: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    z = scale * rng.standard_normal((3, 4))
    return z, rng.integers(0, 4, 3) if name == "softmax" else rng.integers(0, 2, (3, 4)).astype(float)


@pytest.mark.parametrize("name", EVERY)
def test_gradient_and_its_derivative_are_those_of_the_definition(name):
    z, y = logits_and_targets(name)
    loss = EVERY[name]
    by_autograd = grad(lambda z: loss.definition(z, y).sum())
    np.testing.assert_allclose(gradient(loss)(z, y), by_autograd(z), rtol=1e-14, atol=1e-16)
    directions = np.random.default_rng(2).standard_normal((5, *z.shape))
    found = gradient(loss)(Dual(z, directions), y).tangent
    expected = [make_jvp(by_autograd)(z)(d)[1] for d in directions]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-16)


def test_bce_is_the_mean_over_outputs_of_minus_log_likelihood():
    p = np.array([[0.9, 0.2]])
    found = LOSSES["bce"].definition(np.log(p / (1 - p)), np.array([[1.0, 1.0]]))
    assert found == pytest.approx([-(math.log(0.9) + math.log(0.2)) / 2], rel=1e-15)


def test_softmax_is_minus_log_likelihood_of_the_label():
    z = np.log(np.array([[0.7, 0.2, 0.1]]))
    assert LOSSES["softmax"].definition(z, np.array([1])) == pytest.approx([-math.log(0.2)], rel=1e-15)


def test_mse_is_the_mean_over_outputs_of_the_squared_error():
    assert LOSSES["mse"].definition(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])).tolist() == [2.5]


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


def test_saturated_gradients_keep_their_digits():
    z, tail = np.array([[40.0, -40.0]]), math.exp(-40) / (1 + math.exp(-40))
    right = gradient(LOSSES["bce"])(z, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(right, [[-tail / 2, tail / 2]], rtol=1e-15)
    confident = gradient(LOSSES["softmax"])(np.array([[40.0, 0.0]]), np.array([0]))
    np.testing.assert_allclose(confident, [[-tail, tail]], rtol=1e-15)
    z, y, loss = np.array([[40.0, 40.0]]), np.array([[1.0, 1.0]]), exclusive([0])
    assert loss.definition(z, y) == pytest.approx([math.log1p(math.exp(-40))], rel=1e-14)
    np.testing.assert_allclose(gradient(loss)(z, y), [[-tail / 2, -tail / 2]], rtol=1e-14)
    np.testing.assert_allclose(grad(lambda z: loss.definition(z, y).sum())(z), [[-tail / 2, -tail / 2]], rtol=1e-13)


def test_softmax_keeps_its_digits_where_the_label_is_nearly_certain_or_nearly_impossible():
    """With two logits p − one-hot is (−t, t), t = 1 / (1 + e^z), and dt = −t (1 − t) dz."""
    for z in (70.0, -70.0):
        dual = Dual(np.array([[z, 0.0]]), np.array([[[1.0, 0.0]]]))
        found = gradient(LOSSES["softmax"])(dual, np.array([0]))
        t, complement = 1 / (1 + math.exp(z)), 1 / (1 + math.exp(-z))
        np.testing.assert_allclose(found.value, [[-t, t]], rtol=1e-15)
        np.testing.assert_allclose(found.tangent[0], [[t * complement, -t * complement]], rtol=1e-15)


@pytest.mark.parametrize("margin", [1.0, 40.0, 300.0])
def test_definition_of_softmax_keeps_its_digits_for_confident_right_answers(margin):
    z, y = np.array([[margin, 0.0, -1.0]]), np.array([0])
    tail = math.exp(-margin) + math.exp(-margin - 1)
    definition = LOSSES["softmax"].definition
    assert definition(z, y) == pytest.approx([math.log1p(tail)], rel=1e-14)
    by_autograd = grad(lambda z: definition(z, y).sum())
    np.testing.assert_allclose(by_autograd(z), gradient(LOSSES["softmax"])(z, y), rtol=1e-13)
    d = np.array([[0.3, -1.0, 0.7]])
    exact = gradient(LOSSES["softmax"])(Dual(z, d[None]), y).tangent[0]
    np.testing.assert_allclose(make_jvp(by_autograd)(z)(d)[1], exact, rtol=1e-13)


def test_softmax_of_one_output_is_zero():
    z, y = np.array([[3.0], [-2.0]]), np.array([0, 0])
    assert LOSSES["softmax"].definition(z, y).tolist() == [0, 0]
    assert not gradient(LOSSES["softmax"])(z, y).any()


def test_a_loss_is_named_or_handed_in():
    loss = exclusive([0])
    assert loss_function(loss) is loss
    assert loss_function("bce") is LOSSES["bce"]
    with pytest.raises(ValueError, match="loss: expected one of bce, softmax, mse, got 3"):
        loss_function(3)
