"""The allowed error of a row follows from the precision and the problem; the textbook formulas behind it are right."""

from __future__ import annotations

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest

from lie_ref import mlp, oracle
from lie_ref.core.activations import ACTIVATIONS
from lie_ref.core.engine import AUTOGRAD
from lie_ref.core.losses import LOSSES, LossFunction
from lie_ref.fast.dual import Dual
from lie_ref.fast.scalar_rules import derivatives, gradient
from lie_ref.oracle.answers import Answers
from lie_ref.oracle.textbook_formulas import TEXTBOOK_ACTIVATIONS, TEXTBOOK_LOSSES
from lie_ref.oracle.tolerance import MARGIN, allowed_errors, row_norms
from lie_ref.oracle.vectors import write_vector


def targets(loss: str, z: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    labels = loss == "softmax"
    return rng.integers(0, z.shape[-1], z.shape[:-1]) if labels else rng.integers(0, 2, z.shape).astype(float)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_textbook_activations_are_the_activations(name):
    x, f = np.random.default_rng(0).standard_normal(50), ACTIVATIONS[name]
    for usual, exact in zip(derivatives(TEXTBOOK_ACTIVATIONS[f])(x, 2), derivatives(f)(x, 2), strict=True):
        np.testing.assert_allclose(usual, exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_textbook_losses_are_the_losses(loss):
    z, dz = np.random.default_rng(0).standard_normal((2, 6, 4))
    y = targets(loss, z)
    usual, exact = TEXTBOOK_LOSSES[loss], LOSSES[loss]
    np.testing.assert_allclose(usual.definition(z, y), exact.definition(z, y), rtol=1e-13)
    np.testing.assert_allclose(gradient(usual)(z, y), gradient(exact)(z, y), rtol=1e-11, atol=1e-15)
    found, expected = (gradient(f)(Dual(z, dz[None]), y) for f in (usual, exact))
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(found.tangent, expected.tangent, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("loss", ["bce", "softmax"])
def test_textbook_losses_lose_digits_of_confident_answers(loss):
    z = np.array([[20.0, -20.0, -21.0]])
    y = np.array([0]) if loss == "softmax" else np.array([[1.0, 0.0, 0.0]])
    usual, exact = (gradient(of[loss])(z, y)[0, 0] for of in (TEXTBOOK_LOSSES, LOSSES))
    assert 1e-9 < abs(usual / exact - 1) < 1e-1 if loss == "bce" else usual != exact


def softplus_form(z, y):
    return anp.mean(anp.logaddexp(0.0, z) - y * z, axis=-1)


def cosine(z, y):  # of labels
    return 1 - anp.cos(anp.sum(z * (np.arange(z.shape[-1]) == y[..., None]), axis=-1))


OWN = {
    "bce, written anew": LossFunction(softplus_form, binary=True),
    "labels": LossFunction(cosine, labels=True, name="cosine"),
    "weight decay": replace(LOSSES["bce"], weight_decay=0.2),
    "the loss itself": LOSSES["bce"],
}


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("name", OWN)
def test_a_reference_for_a_loss_of_ones_own_accepts_right_answers_and_names_wrong_ones(name, batches, tmp_path):
    loss, model, rng = OWN[name], mlp([3, 4, 2], "mish"), np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3)), rng.integers(0, 2, 4 if loss.labels else (4, 2))
    if batches:
        x, y = x.reshape(2, 2, 3), y.reshape(2, 2, *y.shape[1:])
    given = model, *model.init(seed=0), x, y, [(0, 1)]
    vector = oracle.reference(*given, loss=loss)
    right = Answers(vector.astype(np.float32), AUTOGRAD).outputs()
    for dtype, candidate in ((np.float32, right), (np.float64, Answers(vector, AUTOGRAD).outputs())):
        oracle.assert_agrees(vector, {key: a.astype(dtype) for key, a in candidate.items()})
    wrong = vector.outputs | {key: -a for key, a in vector.outputs.items() if key.startswith("bracket")}
    assert "sign-swapped" in [e.name for e in oracle.verify(vector, wrong).diagnosis]
    if name == "bce, written anew":
        oracle.assert_agrees(oracle.reference(*given), vector.outputs)
    if name == "the loss itself":
        write_vector(tmp_path / "r.npz", vector)
        assert oracle.load(tmp_path / "r.npz").loss == "bce"
    else:
        with pytest.raises(ValueError, match=r"^loss: a file can hold bce, softmax, mse without weight decay, got "):
            write_vector(tmp_path / "r.npz", vector)


def test_row_norms_neither_overflow_nor_underflow():
    a = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    np.testing.assert_allclose(row_norms(a, 2), np.linalg.norm(a.reshape(2, 3, 20), axis=-1))
    for scale in (1e-300, 1e300):
        np.testing.assert_allclose(row_norms(scale * a, 1) / scale, np.linalg.norm(a.reshape(2, 60), axis=1))
    np.testing.assert_array_equal(
        row_norms(np.array([[-np.inf, 1.0], [np.nan, np.inf], [0.0, 0.0]])), [np.inf, np.nan, 0]
    )


def test_the_allowed_error_grows_with_the_rounding_unit():
    exact = Answers(oracle.load("mlp-tanh-bce"))
    single, double = (allowed_errors(exact, ["grad", "bracket"], dtype) for dtype in (np.float32, np.float64))
    for key, allowed in double.items():
        assert ((single[key] / allowed > 2**27) & (single[key] / allowed < 2**31)).all()
    bits = allowed_errors(exact, ["grad"], np.float64, bits=24)
    for key, allowed in bits.items():
        assert ((0.1 * single[key] < allowed) & (allowed < 10 * single[key])).all()


def test_a_bracket_that_cancels_is_allowed_the_rounding_of_its_terms():
    vector = oracle.load("mlp-itself")
    allowed = allowed_errors(Answers(vector), ["bracket"], np.float64)
    for name in vector.params:
        terms = row_norms(vector.outputs[f"hvp/{name}"], 2)[0].sum()
        assert not vector.outputs[f"bracket/{name}"][0].any()
        assert 0.99 * MARGIN * 2**-53 * terms < allowed[f"bracket/{name}"][0] < 1e-13 * terms


def test_a_larger_error_is_allowed_where_the_inputs_leave_fewer_digits():
    def relative(name: str) -> float:
        vector = oracle.load(name)
        allowed = allowed_errors(Answers(vector), ["logits"], np.float64)["logits"]
        return (allowed / row_norms(vector.outputs["logits"], 1)).max()

    assert relative("mlp-offset-inputs") > 1e5 * relative("mlp-softplus-bce")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("form", ["σ(z) − y", "(1 − y) − σ(−z)", "(1 − y) σ(z) − y σ(−z)"])
def test_every_textbook_form_of_the_gradient_is_accepted_for_confident_answers(form, dtype):
    model, x, y = mlp([1, 1]), np.array([[-20.0], [20.0], [-3.0], [3.0]]), np.array([[0.0], [1.0], [0.0], [1.0]])
    params = {"0.weight": np.ones((1, 1)), "0.bias": np.zeros(1)}
    vector = oracle.reference(model, params, {}, x, y, pairs=[(0, 1)])
    z, y = x.astype(dtype), y.astype(dtype)
    ahead, behind = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    forms = {"σ(z) − y": ahead - y, "(1 − y) − σ(−z)": (1 - y) - behind}
    error = forms.get(form, (1 - y) * ahead - y * behind)
    right = {"grad/0.weight": (error * z)[..., None], "grad/0.bias": error}
    enough = True if dtype == np.float64 else None  # float32 has no digits of σ(−20)
    assert oracle.verify(vector, right).agrees is enough
    assert oracle.verify(vector, {key: 1.5 * a for key, a in right.items()}).agrees is False


def test_the_allowed_error_of_a_single_number_does_not_hang_on_its_last_place():
    """z = w x + b with b ≈ −w x is off by rounding errors of w, x and b, whatever their last bits are."""
    model, found = mlp([1, 1]), []
    for seed in range(50):
        w, x = np.random.default_rng(seed).uniform(1, 2, 2)
        params = {"0.weight": np.array([[w]]), "0.bias": np.array([-1.01 * w * x])}
        vector = oracle.reference(model, params, {}, np.array([[x]]), np.array([[0.0]]), [(0, 0)], loss="mse")
        found.append(allowed_errors(Answers(vector), ["logits"], np.float64)["logits"][0] / (w * x))
    assert max(found) < 1.5 * min(found)  # the trials draw the same errors each time
