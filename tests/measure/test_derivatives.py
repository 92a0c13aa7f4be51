"""Exact derivatives of the networks: the laws that they obey, and what the public functions promise.

`tests/fast/test_engine.py` compares them with those of autograd.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from networks import MLPS, arguments, at, bracket_reverse_over_reverse, generic_problem, loss_of

import lie_ref
from lie_ref.core.losses import LOSSES
from lie_ref.fast import engine, sweeps
from lie_ref.measure import derivatives
from lie_ref.measure.crosschecks import largest_relative_error

TINY = lie_ref.preset("mxresnet-tiny")


def test_mini_batch_bracket_is_the_mean_over_all_pairs_in_evaluation_mode():
    given = *_, x, y = arguments(TINY, (2, 3, 3, 24, 24), 4)
    batch = at(lie_ref.batch_brackets(*given, [(0, 1)]), 0)
    pairs = [(i, 3 + j) for i in range(3) for j in range(3)]
    single = lie_ref.brackets(*given[:3], x.reshape(6, *x.shape[2:]), y.reshape(6, -1), pairs)
    assert largest_relative_error({name: b.mean(axis=0) for name, b in single.items()}, batch) < 1e-12


@pytest.fixture(scope="module")
def given() -> tuple[Any, ...]:
    """Three examples of `TINY`: model, params, buffers, x and y."""
    return arguments(TINY, (3, 3, 20, 20), 5)


def test_batches_of_one_are_the_examples_themselves(given):
    *state, x, y = given
    pairs = [(0, 1), (2, 0)]
    one = lie_ref.batch_brackets(*state, x[:, None], y[:, None], pairs)
    assert all(np.array_equal(one[name], b) for name, b in lie_ref.brackets(*given, pairs).items())


def test_swapped_pairs_are_exact_negatives_and_pairs_of_one_example_exact_zeros(given):
    for b in lie_ref.brackets(*given, [(0, 2), (2, 0), (1, 1), (0, 2)]).values():
        assert np.array_equal(b[0], -b[1])
        assert not b[2].any()
        assert np.array_equal(b[0], b[3])


def test_a_bracket_is_the_difference_of_the_hvps_along_each_others_gradients(given):
    h = lie_ref.hvps(*given, lie_ref.gradients(*given))
    expected = {name: a[0, 1] - a[1, 0] for name, a in h.items()}
    assert largest_relative_error(at(lie_ref.brackets(*given, [(0, 1)]), 0), expected) < 1e-12


HUGE = lie_ref.mlp([2, 2], "tanh"), {"0.weight": np.full((2, 2), 1e250), "0.bias": np.zeros(2)}, {}
X, Y = np.full((2, 2), 1e50), np.zeros((2, 2))
ENTRIES = {
    "gradients": (lambda **how: lie_ref.gradients(*HUGE, X * 1e9, Y, "mse", **how)),
    "hvps": (lambda **how: lie_ref.hvps(*HUGE, X, Y, {n: 1e50 * p[None] for n, p in HUGE[1].items()}, "mse", **how)),
    "brackets": (lambda **how: lie_ref.brackets(*HUGE, X, Y, [(0, 1)], "mse", **how)),
    "batch_brackets": (lambda **how: lie_ref.batch_brackets(*HUGE, X[:, None], Y[:, None], [(0, 1)], "mse", **how)),
    "bracket_norms": (lambda **how: lie_ref.bracket_norms(*HUGE, X, Y, loss="mse", **how)),
    "push_forward": (
        lambda **how: lie_ref.push_forward(*HUGE, X, {n: 1e50 * p[None] for n, p in HUGE[1].items()}, **how)
    ),
    "swap_effects": (
        lambda **how: lie_ref.swap_effects(
            *HUGE, X, Y, [(0, 1)], lie_ref.optimizers.Momentum(HUGE[1], momentum=0.5), "mse", **how
        )
    ),
    "evaluate": (lambda **how: lie_ref.evaluate(*HUGE, X, Y, 2, "mse", **how).brackets),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_result_that_is_not_finite_is_refused_unless_errors_are_ignored(entry):
    with pytest.raises(
        ValueError, match=r"^result: expected finite numbers, got nan or inf.*; errors='ignore' returns"
    ):
        ENTRIES[entry]()
    ENTRIES[entry](errors="ignore")
    with pytest.raises(ValueError, match=r"^errors: expected raise or ignore, got 'warn'$"):
        ENTRIES[entry](errors="warn")


def test_weight_decay_in_a_loss_adds_lambda_theta_to_gradients_and_lambda_to_hessians(given):
    """With g_i + λθ and H_i + λ the bracket gains λ (H_j − H_i) θ + λ (g_i − g_j)."""
    params = given[1]
    decayed, pairs, rate = replace(LOSSES["bce"], weight_decay=0.3), [(0, 1), (2, 0)], 0.3
    plain, found = (lie_ref.evaluate(*given, examples=2, loss=loss) for loss in ("bce", decayed))
    np.testing.assert_allclose(found.loss, plain.loss + rate / 2 * sum((p**2).sum() for p in params.values()))
    g, h = lie_ref.gradients(*given), at(lie_ref.hvps(*given, {name: p[None] for name, p in params.items()}), 0)
    expected = lie_ref.brackets(*given, pairs)
    for k, (i, j) in enumerate(pairs):
        for name, b in expected.items():
            b[k] += rate * (h[name][j] - h[name][i]) + rate * (g[name][i] - g[name][j])
    brackets = lie_ref.brackets(*given, pairs, decayed)
    assert largest_relative_error(brackets, expected) < 1e-12
    assert (
        largest_relative_error(
            lie_ref.gradients(*given, decayed), {name: a + rate * params[name] for name, a in g.items()}
        )
        < 1e-14
    )
    sgd = lie_ref.optimizers.WeightDecay(lie_ref.optimizers.Optimizer(), l2=rate)
    first, second = lie_ref.swap_effects(*given, pairs, sgd)
    assert not any(a.any() for a in first.values())
    assert largest_relative_error(second, brackets) < 1e-12


def random_directions(params, count: int):
    rng = np.random.default_rng(8)
    return {name: rng.standard_normal((count, *p.shape)) for name, p in params.items()}


def test_hessians_are_symmetric(given):
    d = random_directions(given[1], 2)
    h = lie_ref.hvps(*given, d)
    crossed = [sum((h[name][a, 0] * d[name][b]).sum() for name in d) for a, b in ((0, 1), (1, 0))]
    assert crossed[0] == pytest.approx(crossed[1], rel=1e-11)


def test_bracket_norms_are_the_norms_of_the_brackets():
    given = arguments(MLPS[1], (19, 5), 9)
    b = lie_ref.brackets(*given, [(i, j) for i in range(19) for j in range(19)])
    expected = np.sqrt(sum((a.reshape(19, 19, -1) ** 2).sum(axis=2) for a in b.values()))
    np.testing.assert_allclose(lie_ref.bracket_norms(*given), expected, rtol=1e-12, atol=1e-15)
    some = lie_ref.bracket_norms(*given, [3, 17, 3])
    np.testing.assert_allclose(some, expected[:, [3, 17, 3]], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("budget", [1, 4 * 44, 2**26])
def test_bracket_norms_compute_each_bracket_once_and_stay_within_the_budget(budget, monkeypatch):
    given, partners = arguments(MLPS[1], (19, 5), 9), [2, 5, 11]
    expected = lie_ref.bracket_norms(*given)
    computed, brackets, size = [], engine.brackets, MLPS[1].parameter_count

    def counted(problem, directions):
        computed.append(int((problem.pairs[:, 0] != problem.pairs[:, 1]).sum()))
        return brackets(problem, directions)

    monkeypatch.setattr(engine, "brackets", counted)
    monkeypatch.setattr(derivatives, "BUDGET", budget)
    np.testing.assert_allclose(lie_ref.bracket_norms(*given), expected, rtol=1e-12)
    assert sum(computed) == 19 * 18 / 2
    assert max(computed) * size <= max(budget, size)
    computed.clear()
    np.testing.assert_allclose(lie_ref.bracket_norms(*given, partners), expected[:, partners], rtol=1e-12)
    assert sum(computed) in (19 * 3 - 3, 19 * 3 - 3 - 3)  # a pair of partners is one bracket where a block has it twice
    assert max(computed) * size <= max(budget, size)


def test_results_do_not_depend_on_how_the_examples_are_divided(monkeypatch):
    *state, x, y = arguments(TINY, (5, 3, 20, 20), 10)
    directions = random_directions(state[1], 3)

    def results():
        yield from lie_ref.gradients(*state, x, y).values()
        yield from lie_ref.hvps(*state, x, y, directions).values()
        yield lie_ref.push_forward(*state, x, directions)
        yield from lie_ref.brackets(*state, x, y, [(0, 1), (3, 2)]).values()

    whole = list(results())
    monkeypatch.setattr(sweeps, "ENTRIES", 1)
    for a, b in zip(whole, results(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * np.abs(a).max())


def test_float32_parameters_give_float32_results_near_the_float64_ones(given):
    model, params, buffers, x, y = given
    single = [{name: a.astype(np.float32) for name, a in arrays.items()} for arrays in (params, buffers)]
    b = lie_ref.brackets(model, *single, x.astype(np.float32), y, [(0, 1)])
    assert all(array.dtype == np.float32 for array in b.values())
    assert 0 < largest_relative_error(b, lie_ref.brackets(*given, [(0, 1)])) < 1e-3


def test_arguments_are_not_changed():
    p = generic_problem(TINY, (2, 4, 3, 20, 20), 14, training=True)
    arrays = *p.params.values(), *p.buffers.values(), p.x, p.y
    before = [a.copy() for a in arrays]
    lie_ref.batch_brackets(TINY, p.params, p.buffers, p.x, p.y, [(0, 1)], training=True)
    engine.training_step(replace(p, x=p.x[:1], y=p.y[:1]))
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_confident_answers_agree_with_autograd():
    """With logits near 40 on the right side, every derivative is about e⁻⁴⁰ and must keep all its digits."""
    model, params, buffers, x, _ = arguments(MLPS[0], (2, 5), 15)
    params["4.bias"] = np.array([40.0, 0.0, -3.0])
    for loss, y in (("softmax", np.zeros(2, int)), ("bce", np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))):
        found = at(lie_ref.brackets(model, params, buffers, x, y, [(0, 1)], loss), 0)
        losses = [loss_of(model, buffers, x[i : i + 1], y[i : i + 1], loss) for i in range(2)]
        assert largest_relative_error(found, bracket_reverse_over_reverse(*losses, params)) < 1e-12


def test_one_value_per_channel_is_refused_in_training_mode():
    given = arguments(TINY, (2, 1, 3, 1, 1), 16)
    message = "x: expected more than one value a channel for batch-norm in training mode"
    with pytest.raises(ValueError, match=message):
        lie_ref.batch_brackets(*given, [(0, 1)], training=True)
    with pytest.raises(ValueError, match=message):
        TINY.apply(*given[1:3], given[3][0], training=True)


def test_norms_of_tiny_float32_brackets_do_not_vanish():
    model = lie_ref.mlp([2, 1])
    params, buffers = model.init(0, np.float32)
    x, y = np.float32(1e-25) * np.array([[1, 2], [2, 1]], np.float32), np.array([[0.0], [1.0]])
    ev = lie_ref.evaluate(model, params, buffers, x, y, examples=2)
    weight = np.abs(ev.brackets["0.weight"]).max()
    assert 0 < weight < 1e-22  # its square is below the smallest float32
    assert ev.rms_bracket[0, 0] > 0.5 * weight
    assert ev.loss.dtype == ev.rms_bracket.dtype == np.float32


def test_swap_effects_have_the_dtype_of_the_parameters_whatever_that_of_the_state_is(given):
    model, params, buffers, x, y = given
    small = model, {n: p.astype(np.float32) for n, p in params.items()}, buffers, x, y
    zeros = {name: np.zeros(p.shape) for name, p in params.items()}
    for state in (lie_ref.optimizers.Momentum(zeros), lie_ref.optimizers.AdamState(zeros, zeros, np.int64(2))):
        for effect in lie_ref.swap_effects(*small, [(0, 1)], state):
            assert {a.dtype for a in effect.values()} == {np.dtype(np.float32)}
    decayed = replace(LOSSES["bce"], weight_decay=np.float64(0.1))
    assert lie_ref.evaluate(*small, examples=2, loss=decayed).loss.dtype == np.float32
