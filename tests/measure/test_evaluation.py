"""An evaluation has all brackets among the first inputs, and their effect on the logits of all inputs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref.core.networks import Arrays
from lie_ref.measure.evaluation import Evaluation, evaluate

MODEL = lie_ref.mlp([5, 7, 6, 3], activation="mish")
PARAMS, BUFFERS = generic_state(MODEL, seed=4)
X, Y = examples(MODEL, (9, 5), seed=4)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(MODEL, PARAMS, BUFFERS, X, Y, examples=4)


def test_pairs_logits_and_losses(evaluation: Evaluation) -> None:
    assert evaluation.pairs.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert evaluation.tensor_names.tolist() == list(PARAMS)
    logits = MODEL.apply(PARAMS, BUFFERS, X)
    np.testing.assert_allclose(evaluation.logits, logits, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(evaluation.loss, (np.logaddexp(0, logits) - Y * logits).mean(axis=1), rtol=1e-12)


def test_brackets_and_gradients_are_those_of_the_public_functions(evaluation: Evaluation) -> None:
    brackets = lie_ref.brackets(MODEL, PARAMS, BUFFERS, X, Y, list(combinations(range(4), 2)))
    gradients = lie_ref.gradients(MODEL, PARAMS, BUFFERS, X, Y)
    for name in PARAMS:
        np.testing.assert_allclose(evaluation.brackets[name], brackets[name], rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(evaluation.gradients[name], gradients[name][:4], rtol=1e-11, atol=1e-15)


def test_rms_is_taken_over_each_tensor_of_each_bracket_and_gradient(evaluation: Evaluation) -> None:
    for rms, arrays in ((evaluation.rms_bracket, evaluation.brackets), (evaluation.rms_gradient, evaluation.gradients)):
        for t, name in enumerate(evaluation.tensor_names):
            for k, array in enumerate(arrays[name]):
                assert rms[k, t] == pytest.approx(np.linalg.norm(array) / array.size**0.5, rel=1e-13)


def test_logit_delta_is_the_derivative_of_the_logits_along_the_bracket(evaluation: Evaluation) -> None:
    assert evaluation.logit_delta.shape == (6, 9, 3)

    def moved(p: int, h: float) -> Arrays:
        return MODEL.apply({name: a + h * evaluation.brackets[name][p] for name, a in PARAMS.items()}, BUFFERS, X)

    for p in range(6):
        coarse, fine = ((moved(p, h) - moved(p, -h)) / (2 * h) for h in (2e-3, 1e-3))
        np.testing.assert_allclose(evaluation.logit_delta[p], (4 * fine - coarse) / 3, rtol=1e-7, atol=1e-9)


def test_inputs_beyond_the_examples_change_no_bracket(evaluation: Evaluation) -> None:
    alone = evaluate(MODEL, PARAMS, BUFFERS, X[:4], Y[:4], examples=4)
    for name in PARAMS:
        np.testing.assert_allclose(alone.brackets[name], evaluation.brackets[name], rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(alone.logit_delta, evaluation.logit_delta[:, :4], rtol=1e-11, atol=1e-14)


def test_an_evaluation_can_use_another_loss() -> None:
    x, labels = examples(MODEL, (3, 5), seed=5, loss="softmax")
    found = evaluate(MODEL, PARAMS, BUFFERS, x, labels, examples=2, loss="softmax")
    z = MODEL.apply(PARAMS, BUFFERS, x)
    np.testing.assert_allclose(found.loss, -np.log(np.exp(z) / np.exp(z).sum(1, keepdims=True))[range(3), labels])


def test_the_targets_of_all_inputs_are_checked() -> None:
    model = lie_ref.mlp([2, 3])
    params, buffers = model.init(0)
    x = np.ones((3, 2))
    for y, loss in ((np.array([[0, 1, 0], [0, 1, 0], [5.0, 0, 0]]), "bce"), (np.array([0, 1, 7]), "softmax")):
        with pytest.raises(ValueError, match="y: expected"):
            lie_ref.evaluate(model, params, buffers, x, y, examples=2, loss=loss)
