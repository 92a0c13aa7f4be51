"""Losses: gradients in the logits against autograd, and their values where naive forms fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from autograd import grad, make_jvp

from lie_ref.dual import Dual
from lie_ref.losses import LOSSES


def logits_and_targets(name: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    z = scale * rng.standard_normal((3, 4))
    return z, rng.integers(0, 4, 3) if name == "softmax" else rng.integers(0, 2, (3, 4)).astype(float)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_and_its_derivative_are_those_of_the_definition(name):
    z, y = logits_and_targets(name)
    loss = LOSSES[name]
    gradient = grad(lambda z: loss.definition(z, y).sum())
    np.testing.assert_allclose(loss.gradient(z, y), gradient(z), rtol=1e-14, atol=1e-16)
    directions = np.random.default_rng(2).standard_normal((5, *z.shape))
    found = loss.gradient(Dual(z, directions), y).tangent
    expected = [make_jvp(gradient)(z)(d)[1] for d in directions]
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


@pytest.mark.parametrize("name", LOSSES)
def test_logits_of_a_thousand_give_finite_values_gradients_and_curvatures(name):
    z, y = logits_and_targets(name)
    z = 1000 * np.sign(z)
    dual = Dual(z, np.ones((1, *z.shape)))
    with np.errstate(over="raise", invalid="raise"):
        value, gradient = LOSSES[name].definition(z, y), LOSSES[name].gradient(dual, y)
        by_autograd = grad(lambda z: LOSSES[name].definition(z, y).sum())(z)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient.tangent).all()
    np.testing.assert_allclose(gradient.value, by_autograd, rtol=1e-15, atol=0)


def test_saturated_gradients_keep_their_digits():
    z, tail = np.array([[40.0, -40.0]]), math.exp(-40) / (1 + math.exp(-40))
    right = LOSSES["bce"].gradient(z, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(right, [[-tail / 2, tail / 2]], rtol=1e-15)
    confident = LOSSES["softmax"].gradient(np.array([[40.0, 0.0]]), np.array([0]))
    np.testing.assert_allclose(confident, [[-tail, tail]], rtol=1e-15)


def test_softmax_keeps_its_digits_where_the_label_is_nearly_certain_or_nearly_impossible():
    """With two logits p − one-hot is (−t, t), t = 1 / (1 + e^z), and dt = −t (1 − t) dz."""
    for z in (70.0, -70.0):
        dual = Dual(np.array([[z, 0.0]]), np.array([[[1.0, 0.0]]]))
        gradient = LOSSES["softmax"].gradient(dual, np.array([0]))
        t, complement = 1 / (1 + math.exp(z)), 1 / (1 + math.exp(-z))
        np.testing.assert_allclose(gradient.value, [[-t, t]], rtol=1e-15)
        np.testing.assert_allclose(gradient.tangent[0], [[t * complement, -t * complement]], rtol=1e-15)


@pytest.mark.parametrize("margin", [1.0, 40.0, 300.0])
def test_definition_of_softmax_keeps_its_digits_for_confident_right_answers(margin):
    z, y = np.array([[margin, 0.0, -1.0]]), np.array([0])
    tail = math.exp(-margin) + math.exp(-margin - 1)
    definition = LOSSES["softmax"].definition
    assert definition(z, y) == pytest.approx([math.log1p(tail)], rel=1e-14)
    gradient = grad(lambda z: definition(z, y).sum())
    np.testing.assert_allclose(gradient(z), LOSSES["softmax"].gradient(z, y), rtol=1e-13)
    d = np.array([[0.3, -1.0, 0.7]])
    exact = LOSSES["softmax"].gradient(Dual(z, d[None]), y).tangent[0]
    np.testing.assert_allclose(make_jvp(gradient)(z)(d)[1], exact, rtol=1e-13)


def test_softmax_of_one_output_is_zero():
    z, y = np.array([[3.0], [-2.0]]), np.array([0, 0])
    assert LOSSES["softmax"].definition(z, y).tolist() == [0, 0]
    assert not LOSSES["softmax"].gradient(z, y).any()
