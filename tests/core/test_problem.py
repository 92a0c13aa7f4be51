"""A problem and the first answers to it, from the definitions: logits and losses of examples and of mini-batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import generic_problem

import lie_ref
from lie_ref.core.engine import AUTOGRAD
from lie_ref.core.losses import LOSSES
from lie_ref.core.problem import NO_PAIRS, Engine, Solution
from lie_ref.fast import engine as fast_engine

NET = lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1)


@pytest.mark.parametrize(("lead", "training"), [((3,), False), ((3, 2), False), ((3, 2), True)])
def test_logits_and_losses_are_those_of_each_example_or_mini_batch(lead: tuple[int, ...], training: bool) -> None:
    p = generic_problem(NET, (*lead, 1, 9, 9), 1, loss=replace(LOSSES["bce"], weight_decay=0.3), training=training)
    found = Solution(p, AUTOGRAD)
    z = np.stack([NET.apply(p.params, p.buffers, x if len(lead) > 1 else x[None], training) for x in p.x])
    losses = np.logaddexp(0, z) - p.y.reshape(z.shape) * z
    np.testing.assert_allclose(found.logits, z.reshape(*lead, 3), rtol=1e-12)
    decay = 0.15 * sum((a**2).sum() for a in p.params.values())
    np.testing.assert_allclose(found.loss, losses.reshape(3, -1).mean(axis=1) + decay, rtol=1e-12)


@pytest.mark.parametrize("loss", ["bce", "softmax"])
def test_a_problem_in_another_dtype_has_all_its_numbers_in_it_but_not_its_labels(loss: str) -> None:
    p = generic_problem(NET, (2, 1, 9, 9), 1, loss=loss).astype(np.float32)
    assert p.y.dtype == (np.int64 if loss == "softmax" else np.float32)
    assert {a.dtype for a in (*p.params.values(), *p.buffers.values(), p.x, p.x_eval)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("engine", [AUTOGRAD, fast_engine], ids=["autograd", "fast"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_pairs_have_no_products_and_no_brackets(engine: Engine, dtype: type) -> None:
    found = Solution(replace(generic_problem(NET, (3, 1, 9, 9), 1), pairs=NO_PAIRS).astype(dtype), engine)
    for name, p in found.problem.params.items():
        for answer, shape in ((found.bracket[name], (0, *p.shape)), (found.hvp[name], (0, 2, *p.shape))):
            assert (answer.shape, answer.dtype) == (shape, dtype)
    assert (found.logit_delta.shape, found.logit_delta.dtype) == ((0, len(found.problem.x_eval), 3), dtype)


@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_the_inputs_that_are_watched_may_be_pictures_of_another_size(lead: tuple[int, ...]) -> None:
    p = generic_problem(NET, (*lead, 1, 9, 9), 1)
    other = Solution(replace(p, x_eval=np.ones((3, 1, 5, 6))), AUTOGRAD)
    np.testing.assert_array_equal(other.logits, Solution(p, AUTOGRAD).logits)
    np.testing.assert_array_equal(other.loss, Solution(p, AUTOGRAD).loss)
