"""The answers to a problem by their names, and how replacing one changes those that follow."""

from __future__ import annotations

import numpy as np
import pytest
from networks import BOTTLENECK, generic_problem

import lie_ref
from lie_ref.core.problem import Problem
from lie_ref.fast.arguments import checked_problem
from lie_ref.oracle.answers import Answers

CONV = {"stem": (3, 4, 4), "widths": (4, 6), "layers": (1, 1), "n_out": 3}
CASES = {
    "mlp": (lie_ref.mlp([4, 5, 3], "mish"), (3, 4), "softmax", False),
    "mlp-batches": (lie_ref.mlp([4, 5, 3], "softplus"), (3, 2, 4), "bce", False),
    "conv": (lie_ref.mxresnet(**CONV), (3, 3, 11, 8), "mse", False),
    "bottleneck": (lie_ref.mxresnet(**BOTTLENECK), (3, 3, 12, 12), "bce", False),
    "conv-batches": (lie_ref.mxresnet(**CONV), (3, 2, 3, 9, 9), "bce", False),
    "conv-batches-training": (lie_ref.mxresnet(**CONV), (3, 4, 3, 9, 9), "softmax", True),
}


def problem(name: str) -> Problem:
    model, shape, loss, training = CASES[name]
    return generic_problem(model, shape, 1, [(0, 1), (2, 0), (1, 1)], loss, training)


@pytest.mark.parametrize("name", CASES)
def test_the_answers_are_those_of_the_public_functions(name):
    p = problem(name)
    s = Answers(p)
    arguments = (p.model, p.params, p.buffers, p.x, p.y)
    if p.batches:
        brackets = lie_ref.batch_brackets(*arguments, p.pairs, p.loss, p.training)
    else:
        brackets = lie_ref.brackets(*arguments, p.pairs, p.loss)
        g = lie_ref.gradients(*arguments, p.loss)
        h = lie_ref.hvps(*arguments, g, p.loss)
        for k in g:
            np.testing.assert_array_equal(s["grad"][k], g[k])
            rows = [[h[k][i, j], h[k][j, i]] for i, j in p.pairs]  # direction g_i of the Hessian of j, and back
            np.testing.assert_allclose(s["hvp"][k], rows, rtol=0, atol=1e-13 * np.abs(rows).max())
    for k, b in brackets.items():
        np.testing.assert_allclose(s["bracket"][k], b, rtol=0, atol=1e-13 * np.abs(b).max())
    assert ("hvp" in vars(s)) is not p.batches  # brackets alone do not keep all products in memory
    changes = lie_ref.push_forward(p.model, p.params, p.buffers, p.x_eval, s["bracket"])
    np.testing.assert_array_equal(s["logit_delta"], changes)


def test_replacing_an_answer_changes_only_the_answers_after_it():
    exact = Answers(problem("mlp"))
    doubled = exact.replaced(hvp=lambda _: {name: 2 * h for name, h in exact["hvp"].items()})
    assert all(doubled[quantity] is exact[quantity] for quantity in ("logits", "loss", "grad"))
    for name, b in exact["bracket"].items():
        np.testing.assert_array_equal(doubled["bracket"][name], 2 * b)
    np.testing.assert_allclose(doubled["logit_delta"], 2 * exact["logit_delta"], rtol=1e-13)


def test_a_problem_is_answered_in_its_own_dtype():
    for dtype in (np.float32, np.float64, np.longdouble):
        assert {a.dtype for a in Answers(problem("conv").astype(dtype)).outputs().values()} == {np.dtype(dtype)}


def test_training_mode_of_single_examples_is_refused():
    p = problem("mlp")
    with pytest.raises(ValueError, match=r"training: expected mini-batches x \(b, m, …\) for it, got x of shape"):
        checked_problem(p.model, p.params, p.buffers, p.x, p.y, p.pairs, loss=p.loss, training=True)
