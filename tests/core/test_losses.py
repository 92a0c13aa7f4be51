"""Losses: gradients in the logits against autograd, and their values where naive forms fail."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from autograd import grad, make_jvp

from lie_ref.core.losses import LOSSES, attribute_probabilities, exclusive, loss_function
from lie_ref.fast.dual import Dual

EVERY = LOSSES | {"exclusive": exclusive([0, 2]), "exclusive, all": exclusive(range(4))}


def logits_and_targets(name: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    z = scale * rng.standard_normal((3, 4))
    return z, rng.integers(0, 4, 3) if name == "softmax" else rng.integers(0, 2, (3, 4)).astype(float)


@pytest.mark.parametrize("name", EVERY)
def test_gradient_and_its_derivative_are_those_of_the_definition(name):
    z, y = logits_and_targets(name)
    loss = EVERY[name]
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


@pytest.mark.parametrize("name", EVERY)
def test_logits_of_a_thousand_give_finite_values_gradients_and_curvatures(name):
    z, y = logits_and_targets(name)
    z = 1000 * np.sign(z)
    dual = Dual(z, np.ones((1, *z.shape)))
    with np.errstate(over="raise", invalid="raise"):
        value, gradient = EVERY[name].definition(z, y), EVERY[name].gradient(dual, y)
        by_autograd = grad(lambda z: EVERY[name].definition(z, y).sum())(z)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient.tangent).all()
    np.testing.assert_allclose(gradient.value, by_autograd, rtol=1e-15, atol=0)


def test_saturated_gradients_keep_their_digits():
    z, tail = np.array([[40.0, -40.0]]), math.exp(-40) / (1 + math.exp(-40))
    right = LOSSES["bce"].gradient(z, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(right, [[-tail / 2, tail / 2]], rtol=1e-15)
    confident = LOSSES["softmax"].gradient(np.array([[40.0, 0.0]]), np.array([0]))
    np.testing.assert_allclose(confident, [[-tail, tail]], rtol=1e-15)
    z, y, loss = np.array([[40.0, 40.0]]), np.array([[1.0, 1.0]]), exclusive([0])
    assert loss.definition(z, y) == pytest.approx([math.log1p(math.exp(-40))], rel=1e-14)
    np.testing.assert_allclose(loss.gradient(z, y), [[-tail / 2, -tail / 2]], rtol=1e-14)
    np.testing.assert_allclose(grad(lambda z: loss.definition(z, y).sum())(z), [[-tail / 2, -tail / 2]], rtol=1e-13)


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


def test_exclusive_is_minus_log_likelihood_of_the_class_and_of_each_other_attribute():
    """Classes none, first and third of odds 1 : 2 : 3, and a second attribute of probability 0.8."""
    z = np.array([[math.log(2), math.log(4), math.log(3)]])
    for y, p in (([1.0, 1.0, 0.0], 2 / 6 * 0.8), ([0.0, 0.0, 1.0], 3 / 6 * 0.2), ([0.0, 1.0, 0.0], 1 / 6 * 0.8)):
        found = exclusive([0, 2]).definition(z, np.array([y]))
        assert found == pytest.approx([-math.log(p) / 3], rel=1e-14)


def test_exclusive_shares_an_example_among_the_classes_that_it_is_labelled_with():
    z, loss = np.array([[0.3, -1.0, 0.7]]), exclusive([0, 1, 2])
    one, other, both = (loss.definition(z, np.array([y])) for y in ([1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]))
    assert both == pytest.approx((one + other) / 2, rel=1e-14)


def test_exclusive_of_one_attribute_is_binary_cross_entropy():
    z, y = logits_and_targets("bce")
    np.testing.assert_allclose(exclusive([2]).definition(z, y), LOSSES["bce"].definition(z, y), rtol=1e-14)
    np.testing.assert_allclose(exclusive([2]).gradient(z, y), LOSSES["bce"].gradient(z, y), rtol=1e-13)


def test_exclusive_leaves_the_gradient_of_the_other_attributes_as_it_was():
    z, y = logits_and_targets("bce")
    found, bce = exclusive([0, 2]).gradient(z, y), LOSSES["bce"].gradient(z, y)
    np.testing.assert_array_equal(found[:, [1, 3]], bce[:, [1, 3]])


def test_exclusive_travels_to_another_process():
    z, y = logits_and_targets("bce")
    loss = exclusive([0, 2])
    assert pickle.loads(pickle.dumps(loss)).definition(z, y).tolist() == loss.definition(z, y).tolist()


@pytest.mark.parametrize("columns", [(), (0, 2)])
def test_changes_of_probabilities_are_the_derivative_of_probabilities(columns):
    z, d = np.random.default_rng(3).standard_normal((2, 3, 4))
    found = attribute_probabilities(Dual(z, d[None]), columns)
    h = 1e-6
    ahead, behind = (attribute_probabilities(z + s * h * d, columns) for s in (1, -1))
    np.testing.assert_allclose(found.tangent[0], (ahead - behind) / (2 * h), rtol=1e-8, atol=1e-10)
    assert (found.value[:, [0, 2]].sum(axis=1) < 1).all() or not columns


def test_a_loss_is_named_or_handed_in():
    loss = exclusive([0])
    assert loss_function(loss) is loss
    assert loss_function("bce") is LOSSES["bce"]
    with pytest.raises(ValueError, match="loss: expected one of bce, softmax, mse, got 3"):
        loss_function(3)
