"""The verdict says what a candidate computed: a formula, or else row by row or tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lie_ref import oracle
from lie_ref.oracle import Vector

Answers = dict[str, np.ndarray]
FIRST = {"grad": ("logits", "loss"), "hvp": ("logits", "loss", "grad"), "bracket": ("logits", "loss", "grad", "hvp")}
VECTORS = ("mlp-mish-bce", "conv-one-channel")


def with_wrong(v: Vector, quantity: str, wrong: Callable[[str], np.ndarray]) -> Answers:
    """The right answers before this quantity, and wrong arrays of it, from the names of the tensors."""
    right = {k: a for k, a in v.outputs.items() if k.partition("/")[0] in FIRST[quantity]}
    return right | {f"{quantity}/{name}": wrong(name) for name in v.params}


def terms(v: Vector, name: str) -> tuple[np.ndarray, ...]:
    """H_j g_i, H_i g_j, g_i, g_j of one tensor, a row for each pair."""
    h, g = v.outputs[f"hvp/{name}"], v.outputs[f"grad/{name}"]
    return h[:, 0], h[:, 1], g[v.pairs[:, 0]], g[v.pairs[:, 1]]


def only(v: Vector, answers: Answers) -> tuple[str, str]:
    verdict = oracle.verify(v, answers)
    assert verdict.agrees is False
    (found,) = verdict.diagnosis
    return found.name, found.explains


def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=1)


HVPS = {
    "direction-not-detached": lambda v, n: both(*2 * (terms(v, n)[0] + terms(v, n)[1],)),
    "damping": lambda v, n: both(terms(v, n)[0] + 1e-3 * terms(v, n)[2], terms(v, n)[1] + 1e-3 * terms(v, n)[3]),
    "gradients-add-up": lambda v, n: both(terms(v, n)[0] + terms(v, n)[3], terms(v, n)[1] + terms(v, n)[2]),
    "weight-decay": lambda v, n: v.outputs[f"hvp/{n}"] + 5e-4 * v.params[n],
    "pair-order-swapped": lambda v, n: v.outputs[f"hvp/{n}"][:, ::-1],
}


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("name", HVPS)
def test_products_that_are_a_combination_are_named(vector, name):
    v = oracle.load(vector)
    assert only(v, with_wrong(v, "hvp", lambda n: HVPS[name](v, n)))[0] == name


@pytest.mark.parametrize("vector", VECTORS)
def test_the_empirical_fisher_matrix_is_named(vector):
    v = oracle.load(vector)
    inner = sum((terms(v, n)[2] * terms(v, n)[3]).reshape(len(v.pairs), -1).sum(axis=1) for n in v.params)

    def product(n: str) -> np.ndarray:
        g_i, g_j = terms(v, n)[2:]
        return both((inner * g_j.T).T, (inner * g_i.T).T)

    assert only(v, with_wrong(v, "hvp", product))[0] == "empirical-fisher"


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([-2.0, -1.0, 0.5, 3.0]), st.floats(0.01, 5.0), st.sampled_from(["g_i", "g_j"]))
def test_any_combination_of_terms_is_said_with_its_factors(a, b, text):
    v = oracle.load("mlp-tanh-mse")
    g = 2 if text == "g_i" else 3
    _, said = only(v, with_wrong(v, "bracket", lambda n: a * terms(v, n)[0] + b * terms(v, n)[g]))
    first = {-1.0: "−"}.get(a, f"{a:.6g} ".replace("-", "−"))
    assert f"bracket = {first}H_j g_i + {'' if abs(b - 1) < 1e-4 else f'{b:.6g} '}{text}" in said


def test_gradients_that_nobody_zeroed_add_up():
    v = oracle.load("mlp-relu-bce")
    name, _ = only(v, with_wrong(v, "grad", lambda n: np.cumsum(v.outputs[f"grad/{n}"], axis=0)))
    assert name == "gradients-add-up"


def test_momentum_between_examples_is_said_with_its_factor():
    v = oracle.load("mlp-relu-bce")

    def fading(n: str) -> np.ndarray:
        rows = v.outputs[f"grad/{n}"].copy()
        for k in range(1, len(rows)):
            rows[k] += 0.9 * rows[k - 1]
        return rows

    name, said = only(v, with_wrong(v, "grad", fading))
    assert name == "gradients-add-up"
    assert "0.9" in said


ROWS = {
    "example 0 is example 2": ("grad", lambda v, n: v.outputs[f"grad/{n}"][[2, 1, 2]]),
    "H_1 g_0 is H_0 g_1": ("hvp", lambda v, n: both(terms(v, n)[1], terms(v, n)[1])),
    "pair (0, 1) is zero": ("bracket", lambda v, n: (v.outputs[f"bracket/{n}"].T * [0, 1]).T),
    "pair (0, 1) is 0.25 pair (0, 1)": ("bracket", lambda v, n: (v.outputs[f"bracket/{n}"].T * [0.25, 3]).T),
}


@pytest.mark.parametrize("said", ROWS)
def test_rows_that_hold_something_else_are_said(said):
    v = oracle.load("mlp-mish-bce")
    quantity, wrong = ROWS[said]
    assert said in only(v, with_wrong(v, quantity, lambda n: wrong(v, n)))[1]


def test_logits_of_shuffled_examples_and_of_x_eval_are_named():
    v = oracle.load("mlp-mish-bce")
    assert v.x.shape == v.x_eval.shape
    assert only(v, {"logits": v.outputs["logits"][[1, 0, 2]]})[1].endswith(
        "example 0 is example 1; example 1 is example 0"
    )
    assert only(v, {"logits": v.model.apply(v.params, v.buffers, v.x_eval)})[0] == "logits-of-x-eval"


TENSORS = {
    "tensors-left-out": ("the biases", lambda n, b: b * (not n.endswith("bias"))),
    "factor-for-each-tensor": ("the biases × 2", lambda n, b: b * (2 if n.endswith("bias") else 1)),
    "tensors-reordered": ("the weights", lambda n, b: b.swapaxes(1, 2).reshape(b.shape) if b.ndim > 2 else b),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_are_wrong_are_named(name):
    v = oracle.load("mlp-mish-bce")
    words, wrong = TENSORS[name]
    found, said = only(v, with_wrong(v, "bracket", lambda n: wrong(n, v.outputs[f"bracket/{n}"])))
    assert found == name
    assert words in said


def test_an_answer_that_is_zero_says_so_and_no_bug_that_gives_zeros_explains_it():
    v = oracle.load("mlp-one-layer-bce")
    assert only(v, with_wrong(v, "hvp", lambda n: 0 * v.outputs[f"hvp/{n}"]))[0] == "all-zero"


def test_the_tensors_and_rows_that_are_right_are_said_where_nothing_explains_the_rest():
    v = oracle.load("mlp-mish-bce")
    rng = np.random.default_rng(0)

    def wrong(n: str) -> np.ndarray:
        b = v.outputs[f"hvp/{n}"].copy()
        if n == "0.weight":
            b[1, 0] += 0.1 * rng.standard_normal(b[1, 0].shape)
        return b

    verdict = oracle.verify(v, with_wrong(v, "hvp", wrong))
    assert verdict.diagnosis == ()
    assert "in 0.weight" in verdict.located
    assert "wrong: H_0 g_2" in verdict.located
    assert verdict.located in str(verdict)[-len(verdict.located) - 1 :] or verdict.located[1:] in str(verdict)


@pytest.mark.parametrize("kind", ["label smoothing", "another ε", "weight decay", "scaled inputs"])
def test_what_is_not_rounding_is_not_called_lower_precision(kind):
    v = oracle.load("conv-odd")
    rng = np.random.default_rng(0)
    size = {"label smoothing": 1e-2, "another ε": 1e-4, "weight decay": 1e-3, "scaled inputs": 1 / 256}[kind]
    drift = {k: a * (1 - size * rng.uniform(0.5, 1)) for k, a in v.outputs.items()}  # errors that follow the answers
    assert "lower-precision" not in [e.name for e in oracle.verify(v, drift).diagnosis]
