"""Exact derivatives of the networks: the laws that they obey, and what the public functions promise.

Seeds: weights `generic_state(model, seed)` and inputs `examples(model, shape, seed)` with the seed that a test names.
That they are those of autograd is tested with the engines, in `tests/fast/test_engine.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from autograd import grad
from networks import MLPS, at, bracket_reverse_over_reverse, examples, generic_problem, generic_state, loss_of

import lie_ref
from lie_ref.fast import engine, sweeps
from lie_ref.measure import derivatives
from lie_ref.measure.crosschecks import largest_relative_error
from lie_ref.measure.derivatives import logits

TINY = lie_ref.preset("mxresnet-tiny")


def test_mini_batch_bracket_is_the_mean_over_all_pairs_in_evaluation_mode():
    params, buffers = generic_state(TINY, 4)
    x, y = examples(TINY, (2, 3, 3, 24, 24), 4)
    batch = at(lie_ref.batch_brackets(TINY, params, buffers, x, y, [(0, 1)]), 0)
    pairs = [(i, 3 + j) for i in range(3) for j in range(3)]
    single = lie_ref.brackets(TINY, params, buffers, x.reshape(6, *x.shape[2:]), y.reshape(6, -1), pairs)
    assert largest_relative_error({name: b.mean(axis=0) for name, b in single.items()}, batch) < 1e-12


def test_batches_of_one_are_the_examples_themselves():
    params, buffers = generic_state(TINY, 5)
    x, y = examples(TINY, (3, 3, 20, 20), 5)
    pairs = [(0, 1), (2, 0)]
    one = lie_ref.batch_brackets(TINY, params, buffers, x[:, None], y[:, None], pairs)
    assert all(np.array_equal(one[n], b) for n, b in lie_ref.brackets(TINY, params, buffers, x, y, pairs).items())


def test_swapped_pairs_are_exact_negatives_and_equal_ones_exact_zeros():
    params, buffers = generic_state(TINY, 6)
    x, y = examples(TINY, (3, 3, 20, 20), 6)
    for b in lie_ref.brackets(TINY, params, buffers, x, y, [(0, 2), (2, 0), (1, 1), (0, 2)]).values():
        assert np.array_equal(b[0], -b[1])
        assert not b[2].any()
        assert np.array_equal(b[0], b[3])


def test_bracket_is_the_difference_of_the_hvps_along_each_others_gradients():
    params, buffers = generic_state(TINY, 7)
    x, y = examples(TINY, (2, 3, 20, 20), 7)
    g = lie_ref.gradients(TINY, params, buffers, x, y)
    h = lie_ref.hvps(TINY, params, buffers, x, y, g)
    b = lie_ref.brackets(TINY, params, buffers, x, y, [(0, 1)])
    expected = {name: h[name][0, 1] - h[name][1, 0] for name in h}
    assert largest_relative_error(at(b, 0), expected) < 1e-12


def test_hessians_are_symmetric():
    params, buffers = generic_state(TINY, 8)
    x, y = examples(TINY, (1, 3, 20, 20), 8)
    rng = np.random.default_rng(8)
    d = {name: rng.standard_normal((2, *p.shape)) for name, p in params.items()}
    h = lie_ref.hvps(TINY, params, buffers, x, y, d)
    crossed = [sum((h[name][a, 0] * d[name][b]).sum() for name in d) for a, b in ((0, 1), (1, 0))]
    assert crossed[0] == pytest.approx(crossed[1], rel=1e-11)


def test_bracket_norms_are_the_norms_of_the_brackets_in_any_blocks():
    model = MLPS[1]
    params, buffers = generic_state(model, 9)
    x, y = examples(model, (19, 5), 9)
    norms = lie_ref.bracket_norms(model, params, buffers, x, y)
    pairs = [(i, j) for i in range(19) for j in range(19)]
    b = lie_ref.brackets(model, params, buffers, x, y, pairs)
    expected = np.sqrt(sum((a.reshape(len(pairs), -1) ** 2).sum(axis=1) for a in b.values())).reshape(19, 19)
    np.testing.assert_allclose(norms, expected, rtol=1e-12, atol=1e-15)
    partners = [3, 17, 3]
    some = lie_ref.bracket_norms(model, params, buffers, x, y, partners)
    np.testing.assert_allclose(some, expected[:, partners], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("budget", [1, 4 * 44, 2**26])
def test_bracket_norms_compute_each_bracket_once_and_hold_no_more_than_the_budget(budget, monkeypatch):
    model = MLPS[1]
    params, buffers = generic_state(model, 9)
    x, y = examples(model, (19, 5), 9)
    expected = lie_ref.bracket_norms(model, params, buffers, x, y)
    computed, brackets = [], engine.brackets

    def counted(problem, directions):
        computed.append(int((problem.pairs[:, 0] != problem.pairs[:, 1]).sum()))
        return brackets(problem, directions)

    monkeypatch.setattr(engine, "brackets", counted)
    monkeypatch.setattr(derivatives, "BUDGET", budget)
    np.testing.assert_allclose(lie_ref.bracket_norms(model, params, buffers, x, y), expected, rtol=1e-12)
    assert sum(computed) == 19 * 18 / 2
    assert max(computed) * model.parameter_count <= max(budget, model.parameter_count)
    computed.clear()
    partners = [2, 5, 11]
    np.testing.assert_allclose(
        lie_ref.bracket_norms(model, params, buffers, x, y, partners), expected[:, partners], rtol=1e-12
    )
    assert sum(computed) in (19 * 3 - 3, 19 * 3 - 3 - 3)  # a pair of partners is one bracket where a block has it twice
    assert max(computed) * model.parameter_count <= max(budget, model.parameter_count)


def test_results_do_not_depend_on_how_the_examples_are_chunked(monkeypatch):
    params, buffers = generic_state(TINY, 10)
    x, y = examples(TINY, (5, 3, 20, 20), 10)
    directions = {name: np.random.default_rng(10).standard_normal((3, *p.shape)) for name, p in params.items()}

    def results():
        return (
            *lie_ref.gradients(TINY, params, buffers, x, y).values(),
            *lie_ref.hvps(TINY, params, buffers, x, y, directions).values(),
            lie_ref.push_forward(TINY, params, buffers, x, directions),
        )

    whole = results()
    monkeypatch.setattr(sweeps, "ENTRIES", 1)
    for a, b in zip(whole, results(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * np.abs(a).max())


def test_float32_parameters_give_float32_results_near_the_float64_ones():
    params, buffers = generic_state(TINY, 11)
    x, y = examples(TINY, (2, 3, 20, 20), 11)
    single = [{name: a.astype(np.float32) for name, a in arrays.items()} for arrays in (params, buffers)]
    a = lie_ref.brackets(TINY, params, buffers, x, y, [(0, 1)])
    b = lie_ref.brackets(TINY, *single, x.astype(np.float32), y, [(0, 1)])
    assert all(array.dtype == np.float32 for array in b.values())
    assert 0 < largest_relative_error(b, a) < 1e-3


def test_a_training_step_knows_the_new_running_statistics():
    p = generic_problem(TINY, (1, 4, 3, 20, 20), 12, [(0, 0)], training=True)
    mean_loss, g, new, z = engine.training_step(p)
    loss = loss_of(TINY, p.buffers, p.x[0], p.y[0], training=True)
    assert mean_loss == pytest.approx(loss(p.params), rel=1e-13)
    assert largest_relative_error(g, grad(loss)(p.params)) < 1e-11
    np.testing.assert_allclose(z, TINY.apply(p.params, p.buffers, p.x[0], training=True), rtol=1e-10, atol=1e-12)
    assert new.keys() == p.buffers.keys()
    assert not any(np.array_equal(new[name], p.buffers[name]) for name in p.buffers)


def test_logits_are_those_of_the_definition():
    params, buffers = generic_state(TINY, 13)
    x, _ = examples(TINY, (3, 3, 33, 20), 13)
    found = logits(TINY, params, buffers, x)
    np.testing.assert_allclose(found, TINY.apply(params, buffers, x), rtol=0, atol=1e-12 * np.abs(found).max())


def test_nothing_that_is_passed_in_is_changed():
    p = generic_problem(TINY, (2, 4, 3, 20, 20), 14, training=True)
    arrays = *p.params.values(), *p.buffers.values(), p.x, p.y
    before = [a.copy() for a in arrays]
    lie_ref.batch_brackets(TINY, p.params, p.buffers, p.x, p.y, [(0, 1)], training=True)
    engine.training_step(replace(p, x=p.x[:1], y=p.y[:1]))
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_confident_answers_agree_with_autograd():
    """Logits near 40 on the right side: every derivative is e⁻⁴⁰ small, and none of its digits may go."""
    model = MLPS[0]
    params, buffers = generic_state(model, 15)
    params["4.bias"] = np.array([40.0, 0.0, -3.0])
    x, _ = examples(model, (2, 5), 15)
    for loss, y in (("softmax", np.zeros(2, int)), ("bce", np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))):
        found = at(lie_ref.brackets(model, params, buffers, x, y, [(0, 1)], loss), 0)
        losses = [loss_of(model, buffers, x[i : i + 1], y[i : i + 1], loss) for i in range(2)]
        assert largest_relative_error(found, bracket_reverse_over_reverse(*losses, params)) < 1e-12


def test_one_value_a_channel_is_refused_in_training_mode():
    params, buffers = generic_state(TINY, 16)
    x, y = examples(TINY, (2, 1, 3, 1, 1), 16)
    message = "x: expected more than one value a channel for batch-norm in training mode"
    with pytest.raises(ValueError, match=message):
        lie_ref.batch_brackets(TINY, params, buffers, x, y, [(0, 1)], training=True)
    with pytest.raises(ValueError, match=message):
        TINY.apply(params, buffers, x[0], training=True)


def test_norms_of_tiny_float32_brackets_do_not_vanish():
    model = lie_ref.mlp([2, 1])
    params, buffers = model.init(0, np.float32)
    x, y = np.float32(1e-25) * np.array([[1, 2], [2, 1]], np.float32), np.array([[0.0], [1.0]])
    ev = lie_ref.evaluate(model, params, buffers, x, y, examples=2)
    weight = np.abs(ev.brackets["0.weight"]).max()
    assert 0 < weight < 1e-22  # its square is below the smallest float32
    assert ev.rms_bracket[0, 0] > 0.5 * weight
    assert ev.loss.dtype == ev.rms_bracket.dtype == np.float32
