"""Scores of examples against autograd on the definitions, against cases worked by hand, and in any batches."""

from __future__ import annotations

from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st
from networks import MLPS, arguments, examples, generic_state, loss_of

import lie_ref
from lie_ref import scores
from lie_ref.core.fields import inner, lie_bracket, vector_field
from lie_ref.core.losses import LOSSES
from lie_ref.experiment.exclusive import exclusive
from lie_ref.measure.scores import bracket_score, el2n, error_vectors, forgetting, gradient_norms, grand, right

TINY = lie_ref.preset("mxresnet-tiny", n_out=4)
CASES = [(MLPS[1], (5,)), (TINY, (3, 16, 16))]
SEEDS = (0, 1, 2)  # of the initialisations over which a score is averaged


def norm(arrays) -> float:
    return float(np.sqrt(inner(arrays, arrays)))


@pytest.mark.parametrize("loss", ["bce", "softmax", "mse"])
@pytest.mark.parametrize(("model", "shape"), CASES)
def test_grand_is_the_mean_norm_of_autograds_gradient_over_initialisations(model, shape, loss):
    states = [generic_state(model, seed) for seed in SEEDS]
    x, y = examples(model, (4, *shape), 0, loss)
    expected = [
        np.mean([norm(grad(loss_of(model, b, x[i : i + 1], y[i : i + 1], loss))(p)) for p, b in states])
        for i in range(4)
    ]
    np.testing.assert_allclose(grand(model, states, x, y, loss), expected, rtol=1e-12)


@pytest.mark.parametrize(("model", "shape"), CASES)
def test_el2n_is_the_distance_between_probabilities_and_targets(model, shape):
    states = [generic_state(model, seed) for seed in SEEDS]
    x, y = examples(model, (5, *shape), 4)
    z = [model.apply(p, b, x) for p, b in states]
    expected = np.mean([np.linalg.norm(1 / (1 + np.exp(-z_s)) - y, axis=1) for z_s in z], axis=0)
    np.testing.assert_allclose(el2n(model, states, x, y), expected, rtol=1e-12)
    x, y = examples(model, (5, *shape), 4, "softmax")
    p = [np.exp(z_s) / np.exp(z_s).sum(axis=1, keepdims=True) for z_s in z]
    expected = np.mean([np.linalg.norm(p_s - np.eye(model.n_out)[y], axis=1) for p_s in p], axis=0)
    np.testing.assert_allclose(el2n(model, states, x, y, "softmax"), expected, rtol=1e-12)


def test_errors_keep_their_digits_for_confident_answers():
    assert error_vectors(np.array([[40.0]]), np.array([[1.0]]))[0, 0] == pytest.approx(-np.exp(-40), rel=1e-14)
    errors = error_vectors(np.array([[40.0, 0.0]]), np.array([0]), "softmax")
    np.testing.assert_allclose(errors, [[-np.exp(-40), np.exp(-40)]], rtol=1e-14)


@pytest.mark.parametrize("loss", ["bce", "softmax", "mse", exclusive([0, 2])])
def test_errors_are_autograds_derivatives_of_the_summed_loss_by_the_logits(loss):
    rng = np.random.default_rng(5)
    z = rng.standard_normal((3, 4))
    y = rng.integers(0, 4, 3) if loss == "softmax" else np.eye(4)[rng.integers(0, 4, 3)]
    of = LOSSES[loss] if isinstance(loss, str) else loss
    outputs = 1 if loss == "softmax" else 4
    expected = grad(lambda z: of.definition(z, y).sum() * outputs)(z)
    np.testing.assert_allclose(error_vectors(z, y, loss), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [int, np.int8, np.uint8])
def test_integer_logits_are_those_numbers(dtype):
    z, y = np.array([[2, 1], [0, 3]], dtype), np.array([[0.9, 0.2], [0.5, 0.0]])
    for loss, targets in (("bce", y), ("mse", y), ("softmax", np.array([0, 1]))):
        np.testing.assert_array_equal(error_vectors(z, targets, loss), error_vectors(z.astype(float), targets, loss))
    for z in ([1.0, 2.0], [[1j]], "ab"):
        with pytest.raises(ValueError, match=r"^z: expected logits of shape \(n, k\), got "):
            error_vectors(z, y)


def test_logits_that_are_nan_are_not_right():
    z = np.array([[np.nan, 1.0], [2.0, 1.0]])
    np.testing.assert_array_equal(right(z, np.zeros(2, int), "softmax"), [[False], [True]])
    np.testing.assert_array_equal(right(z, np.ones((2, 2))), [[False, True], [True, True]])


def test_correctness_depends_on_the_largest_logit_or_on_the_side_of_one_half():
    z = np.array([[0.1, -3.0], [-0.1, 5.0]])
    np.testing.assert_array_equal(right(z, np.array([1, 1]), "softmax"), [[False], [True]])
    np.testing.assert_array_equal(right(z, np.array([[1.0, 1.0], [1.0, 1.0]])), [[True, False], [False, True]])
    # Two exclusive attributes with logits 1 have probability 0.42 each; "none" has logit 0.
    one_half = right(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]]), exclusive([0, 1]))
    np.testing.assert_array_equal(one_half, [[False, True]])
    with pytest.raises(ValueError, match="loss: expected one with labels or targets between 0 and 1, got 'mse'"):
        right(z, z, "mse")


def test_forgetting_in_a_history_worked_by_hand():
    history = {  # whether the answer was right at each visit, for each example and output
        (0, 0): [1, 1, 1, 1],  # never forgotten
        (0, 1): [0, 1, 0, 1],  # once
        (1, 0): [1, 0, 1, 0],  # twice
        (1, 1): [0, 0, 0, 0],  # never learnt
    }
    rows = np.tile([1, 0], 4)
    is_right = np.array([[history[i, k][visit // 2] for k in range(2)] for visit, i in enumerate(rows)], bool)
    events, never_learnt = forgetting(rows, is_right, n=3)
    np.testing.assert_array_equal(events, [1, 2, 0])
    np.testing.assert_array_equal(never_learnt, [0, 1, 2])  # example 2 was never seen
    assert forgetting([], np.ones((0, 1), bool), 2).never_learnt.tolist() == [1, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_forgetting_counts_the_same_as_reading_the_history_example_by_example(visits):
    rows, is_right = np.array([row for row, *_ in visits]), np.array([answers for _, *answers in visits])
    found = forgetting(rows, is_right, n=5)
    for i in range(5):
        seen = [answers for row, *answers in visits if row == i]
        events = sum(a[k] and not b[k] for a, b in pairwise(seen) for k in range(2))
        assert (found.events[i], found.never_learnt[i]) == (events, sum(not any(s[k] for s in seen) for k in range(2)))


@pytest.mark.parametrize("loss", ["bce", "softmax"])
@pytest.mark.parametrize(("model", "shape"), CASES)
def test_the_bracket_score_averages_autograds_brackets_with_all_partners_except_the_example(model, shape, loss):
    states, partners = [generic_state(model, seed) for seed in SEEDS[:2]], [2, 0]
    x, y = examples(model, (3, *shape), 6, loss)
    rms, relative = np.zeros((2, 3)), np.zeros((2, 3))
    for s, (params, buffers) in enumerate(states):
        v = [vector_field(loss_of(model, buffers, x[i : i + 1], y[i : i + 1], loss)) for i in range(3)]
        size = [norm(v_i(params)) for v_i in v]
        brackets = {(i, j): norm(lie_bracket(v[i], v[j])(params)) for i, j in product(range(3), partners) if i != j}
        for i in range(3):
            of = [(j, b) for (first, j), b in brackets.items() if first == i]
            rms[s, i] = np.sqrt(np.mean([b**2 for _, b in of]))
            relative[s, i] = np.sqrt(np.mean([(b / (size[i] * size[j])) ** 2 for j, b in of]))
    found = bracket_score(model, states, x, y, partners, loss)
    np.testing.assert_allclose(found.rms, rms.mean(axis=0), rtol=1e-11)
    np.testing.assert_allclose(found.relative, relative.mean(axis=0), rtol=1e-11)


class Lazy:
    """Rows that exist only while they are read, at most `most` at a time."""

    def __init__(self, array: np.ndarray, most: int) -> None:
        self.array, self.most = array, most

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, some: slice) -> np.ndarray:
        rows = self.array[some]
        assert len(rows) <= self.most
        return rows


def test_scores_are_the_same_in_any_batches_and_hold_one_batch_at_a_time(monkeypatch):
    model = MLPS[1]
    states = [generic_state(model, seed) for seed in SEEDS]
    x, y = examples(model, (23, 5), 7)
    partners = [3, 11, 22]

    def everything(x, y):
        return [grand(model, states, x, y), el2n(model, states, x, y), *bracket_score(model, states, x, y, partners)]

    whole = everything(x, y)
    monkeypatch.setattr(scores, "ROWS", 4)
    for found, expected in zip(everything(Lazy(x, 4), Lazy(y, 4)), whole, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_gradients_are_held_within_the_budget(monkeypatch):
    *state, x, y = arguments(MLPS[1], (7, 5), 8)
    expected = gradient_norms(*state, x, y)
    monkeypatch.setattr(scores, "BUDGET", 2 * MLPS[1].parameter_count)
    np.testing.assert_allclose(gradient_norms(*state, Lazy(x, 2), Lazy(y, 2)), expected, rtol=1e-13)


def test_a_relative_score_without_a_gradient_is_infinite_or_zero_without_a_warning(recwarn):
    model = lie_ref.mlp([2, 1])
    params = {name: np.zeros_like(p) for name, p in model.init()[0].items()}
    x, y = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), np.array([[0.0], [1.0], [0.5]])  # the last error is zero
    found = bracket_score(model, [(params, {})], x, y, [0, 1])
    np.testing.assert_array_equal(np.isfinite(found.relative), [True, True, False])
    assert found.relative[2] == np.inf
    assert np.isfinite(found.rms).all()
    one_class = bracket_score(model, [(params, {})], x, np.zeros(3, int), [0, 1], "softmax")  # its loss is always 0
    np.testing.assert_array_equal(one_class, np.zeros((2, 3)))
    assert not recwarn.list


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scores_that_overflow_are_not_finite_and_raise_no_error():
    model, x, y = lie_ref.mlp([2, 1]), np.array([[1.0, 0.0], [1.0, 1.0]]), np.zeros((2, 1))
    states = [({name: np.ones_like(p) for name, p in model.init()[0].items()}, {})]
    assert not np.isfinite(bracket_score(model, states, 1e120 * x, y, [0, 1], "mse").rms).any()
    rms = bracket_score(model, states, 1e60 * x, y, [0, 1], "mse").rms  # whose squares overflow
    assert np.isfinite(rms).all()
    assert not np.isfinite(grand(model, states, 1e200 * x, y, "mse")).any()
    states[0][0]["0.weight"][:] = 1e20
    small = [(({n: p.astype(np.float32) for n, p in states[0][0].items()}), {})]
    assert np.isnan(bracket_score(model, small, 1e10 * x.astype(np.float32), y, [0, 1], "mse").relative).all()


def test_relative_scores_of_gradients_whose_products_overflow_or_vanish():
    """At weights 0 the gradients of a linear network have the scale of the targets, and so have the brackets."""
    model, x, y = lie_ref.mlp([2, 1]), np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[1.0], [2.0]])
    states = [({name: np.zeros_like(p) for name, p in model.init()[0].items()}, {})]
    for scale in (1e-170, 1e160):
        found = [s * bracket_score(model, states, x, s * y, [0, 1], "mse").relative for s in (1.0, scale)]
        np.testing.assert_allclose(*found, rtol=1e-12)


STATE = generic_state(MLPS[0], 9)
X, Y = examples(MLPS[0], (3, 5), 9)
RIGHT = np.ones((2, 1), bool)
# fmt: off
BAD = [
    (lambda: grand(MLPS[0], [], X, Y), r"states: expected at least one \(params, buffers\), got none"),
    (lambda: grand(MLPS[0], [STATE], X, Y[:2]), "y: expected as many targets as examples, at least one, got 2 for 3"),
    (lambda: el2n(MLPS[0], [STATE], X[:0], Y[:0]), "got 0 for 0"),
    (lambda: el2n(MLPS[0], [STATE], X, Y[:, :2]), r"y: expected shape \(3, 3\)"),
    (lambda: grand(MLPS[0], [STATE], X, 2 * Y + 1), "y: expected targets in"),
    (lambda: grand(MLPS[0], [STATE], X, Y, "hinge"), "loss: expected one of bce, softmax, mse, got 'hinge'"),
    (lambda: bracket_score(MLPS[0], [STATE], X, Y, [1, 1]), "partners: expected at least two different examples"),
    (lambda: bracket_score(MLPS[0], [STATE], X, Y, [3]), "partners: expected indices 0 to 2, got 3 to 3"),
    (lambda: forgetting([0, 1], RIGHT[:1], 2), r"is_right: expected shape \(2, k\)"),
    (lambda: forgetting([0, 2], RIGHT, 2), "rows: expected numbers 0 to 1, got 0 to 2"),
    (lambda: forgetting([0.0, 1.0], RIGHT, 2), "rows: expected integers, got float64"),
    (lambda: forgetting([0, 1], np.ones((2, 1)), 2), "is_right: expected bool, got float64"),
    (lambda: right(X, np.zeros(1, int), "softmax"), r"y: expected shape \(3,\) for loss 'softmax', got \(1,\)"),
    (lambda: right(X, np.zeros((3, 1))), r"y: expected shape \(3, 5\) for loss 'bce', got \(3, 1\)"),
]
# fmt: on


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_errors_name_the_argument_what_came_and_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_norms_that_are_too_small_to_be_squared_are_not_zero():
    """The probability is σ(−400) = e^−400 to 174 digits, and the input (1, 1)."""
    model, x, y = lie_ref.mlp([2, 1]), np.ones((2, 2)), np.zeros((2, 1))
    state = {"0.weight": np.full((1, 2), -100.0), "0.bias": np.array([-200.0])}, {}
    np.testing.assert_allclose(el2n(model, [state], x, y), np.exp(-400), rtol=1e-12)
    np.testing.assert_allclose(grand(model, [state], x, y), np.sqrt(3) * np.exp(-400), rtol=1e-12)


def test_brackets_that_are_too_small_to_be_squared_are_not_zero():
    """With probabilities p = σ(−200) and inputs u = (x, 1), the bracket is p² ⟨u_i, u_j⟩ (u_j − u_i)."""
    state = {"0.weight": np.zeros((1, 2)), "0.bias": np.array([-200.0])}, {}
    found = bracket_score(lie_ref.mlp([2, 1]), [state], np.array([[1.0, 0.0], [0.0, 2.0]]), np.zeros((2, 1)), [0, 1])
    np.testing.assert_allclose(found.rms, np.sqrt(5) * np.exp(-400), rtol=1e-12)


@pytest.mark.parametrize("rows", [None, 3, np.float64(1), {"a": 1}], ids=repr)
def test_what_has_no_rows_is_named(rows):
    for name, rows_of_both in (("x", (rows, Y)), ("y", (X, rows))):
        for call in (grand, el2n, partial(bracket_score, partners=[0, 1])):
            with pytest.raises(TypeError, match=rf"^{name}: expected an array of n rows, got {type(rows).__name__}$"):
                call(MLPS[0], [STATE], *rows_of_both)


@pytest.mark.parametrize(
    ("z", "y", "loss", "message"),
    [
        (np.zeros((2, 3)), np.array([3, -1]), "softmax", "y: expected labels 0 to 2, got -1 to 3"),
        (np.zeros((2, 1)), np.zeros(2), "bce", r"y: expected shape \(2, 1\) for loss 'bce', got \(2,\)"),
        (np.zeros((1, 1)), np.full((1, 1), 7.0), "bce", r"y: expected targets in \[0, 1\] for loss 'bce', got 7 to 7"),
    ],
)
def test_targets_that_do_not_fit_have_no_errors(z, y, loss, message):
    for function in (error_vectors, right):
        with pytest.raises(ValueError, match=f"^{message}$"):
            function(z, y, loss)
