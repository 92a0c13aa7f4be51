"""The loss for attributes that exclude each other, and its probabilities."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from lie_ref.core.losses import LOSSES
from lie_ref.experiment.exclusive import exclusive
from lie_ref.fast.scalar_rules import gradient


def logits_and_targets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((3, 4)), rng.integers(0, 2, (3, 4)).astype(float)


def test_exclusive_is_the_negative_log_likelihood_of_the_class_and_of_every_other_attribute():
    """Classes none, first and third have odds 1 : 2 : 3, and the second attribute has probability 0.8."""
    z = np.array([[math.log(2), math.log(4), math.log(3)]])
    for y, p in (([1.0, 1.0, 0.0], 2 / 6 * 0.8), ([0.0, 0.0, 1.0], 3 / 6 * 0.2), ([0.0, 1.0, 0.0], 1 / 6 * 0.8)):
        found = exclusive([0, 2]).definition(z, np.array([y]))
        assert found == pytest.approx([-math.log(p) / 3], rel=1e-14)


def test_exclusive_averages_over_the_classes_of_an_example_with_two_labels():
    z, loss = np.array([[0.3, -1.0, 0.7]]), exclusive([0, 1, 2])
    one, other, both = (loss.definition(z, np.array([y])) for y in ([1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]))
    assert both == pytest.approx((one + other) / 2, rel=1e-14)


def test_exclusive_of_one_attribute_is_binary_cross_entropy():
    z, y = logits_and_targets()
    np.testing.assert_allclose(exclusive([2]).definition(z, y), LOSSES["bce"].definition(z, y), rtol=1e-14)
    np.testing.assert_allclose(gradient(exclusive([2]))(z, y), gradient(LOSSES["bce"])(z, y), rtol=1e-13)


def test_exclusive_does_not_change_the_gradient_of_the_other_attributes():
    z, y = logits_and_targets()
    found, bce = gradient(exclusive([0, 2]))(z, y), gradient(LOSSES["bce"])(z, y)
    np.testing.assert_array_equal(found[:, [1, 3]], bce[:, [1, 3]])


def test_exclusive_can_be_pickled_for_another_process():
    z, y = logits_and_targets()
    loss = exclusive([0, 2])
    assert pickle.loads(pickle.dumps(loss)).definition(z, y).tolist() == loss.definition(z, y).tolist()
