"""The multiple-precision certificates equal closed forms for simple problems, and lie_ref's own answers for others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import generic_problem

import lie_ref
from certificates.multiprecision import (
    Certificate,
    Field,
    FixedPoint,
    Layer,
    average_pool,
    batch_norm,
    certify,
    convolution,
    global_average,
    linear,
    max_pool,
    relu,
)
from lie_ref.core.networks import Model
from lie_ref.oracle.vectors import answered, write_vector

Arrays = dict[str, np.ndarray]
F = FixedPoint(400)
STEP = 100  # derivatives accurate to 2⁻¹⁰⁰, so exact in float64
ACTIVATIONS = ["tanh", "mish", "softplus", "relu"]


def one_layer(
    folder: Path, loss: str, weight: Any, bias: Any, x: Any, y: Any, pairs: Any = ((0, 1),), **outputs: Any
) -> Certificate:
    """The certificate of a linear model that is evaluated on x; `outputs` are stored in the vector's file."""
    weight = np.asarray(weight, float)
    model = {"kind": "mlp", "sizes": weight.shape[::-1], "activation": "tanh"}
    meta = json.dumps({"model": model, "loss": loss, "fields": "examples", "training": False})
    params = {"param/0.weight": weight, "param/0.bias": np.asarray(bias, float)}
    np.savez(folder / "vector.npz", meta=meta, x=x, y=y, pairs=pairs, x_eval=x, **params, **outputs)
    return certify(folder / "vector.npz")


def augmented(arrays: Arrays, prefix: str) -> np.ndarray:
    """The weight and bias of the layer as one matrix (…, out, in + 1)."""
    return np.concatenate([arrays[f"{prefix}/0.weight"], arrays[f"{prefix}/0.bias"][..., None]], -1)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum()


# The gradient and Hessian of a loss in the logits z (3,), for targets y
IN_LOGITS: dict[str, Callable[[np.ndarray, Any], tuple[np.ndarray, np.ndarray]]] = {
    "bce": lambda z, y: ((sigmoid(z) - y) / 3, np.diag(sigmoid(z) * sigmoid(-z)) / 3),
    "softmax": lambda z, y: (softmax(z) - np.eye(3)[y], np.diag(softmax(z)) - np.outer(softmax(z), softmax(z))),
    "mse": lambda z, y: (2 * (z - y) / 3, 2 * np.eye(3) / 3),
}


@pytest.mark.parametrize("loss", IN_LOGITS)
def test_a_linear_model_has_the_closed_form_of_its_loss(tmp_path: Path, loss: str) -> None:
    """With the loss's gradient r and Hessian S in z, and u = (x, 1): g_i = r_i uᵢᵀ and H_j g_i = S_j g_i uⱼ uⱼᵀ."""
    rng = np.random.default_rng(0)
    weight, bias, x = rng.standard_normal((3, 4)), rng.standard_normal(3), rng.standard_normal((3, 4))
    y = np.array([2, 0, 1]) if loss == "softmax" else rng.integers(0, 2, (3, 3)).astype(float)
    pairs = np.array([(0, 1), (2, 0)])
    certificate = one_layer(tmp_path, loss, weight, bias, x, y, pairs)

    u = np.column_stack([x, np.ones(3)])
    r, s = zip(*(IN_LOGITS[loss](weight @ a + bias, b) for a, b in zip(x, y, strict=True)), strict=True)
    g = [np.outer(a, b) for a, b in zip(r, u, strict=True)]
    hvp = np.array([[s[b] @ g[a] @ np.outer(u[b], u[b]) for a, b in ((i, j), (j, i))] for i, j in pairs])
    bracket = hvp[:, 0] - hvp[:, 1]
    close = {"rtol": 1e-13, "atol": 1e-15}
    np.testing.assert_allclose(augmented(certificate.values, "grad"), g, **close)
    np.testing.assert_allclose(augmented(certificate.values, "hvp"), hvp, **close)
    np.testing.assert_allclose(augmented(certificate.values, "bracket"), bracket, **close)
    np.testing.assert_allclose(certificate.values["logit_delta"], u @ bracket.swapaxes(1, 2), **close)
    assert certificate.digits > 35


def test_the_bracket_of_a_quadratic_in_small_integers_is_exact(tmp_path: Path) -> None:
    """Residuals 3, −1 and x₀·x₁ = 2 give the bracket 4 (2 + 1) (3 u₁ + u₀), with u = (x, 1)."""
    certificate = one_layer(tmp_path, "mse", [[1, 1]], [1], [[1.0, 1.0], [2.0, 0.0]], [[0.0], [4.0]])
    np.testing.assert_array_equal(certificate.values["loss"], [9, 1])
    np.testing.assert_array_equal(augmented(certificate.values, "grad"), [[[6, 6, 6]], [[-4, 0, -2]]])
    np.testing.assert_array_equal(augmented(certificate.values, "bracket"), [[[84, 12, 48]]])


def test_the_bracket_of_an_example_with_itself_is_zero_to_infinitely_many_digits(tmp_path: Path) -> None:
    certificate = one_layer(tmp_path, "bce", [[1.0]], [0.5], [[1.0]], [[0.0]], [(0, 0)])
    for key in ("bracket/0.weight", "bracket/0.bias", "logit_delta"):
        assert certificate.agreement[key] == math.inf
    np.testing.assert_array_equal(augmented(certificate.values, "bracket"), [[[0, 0]]])


def test_the_gradient_of_an_example_at_its_minimum_is_zero_and_the_other_product_stays(tmp_path: Path) -> None:
    """Residuals 0 and −1: g_0 = 0, g_1 = −2 u₁ and H_0 g_1 = 2 (u₀·g_1) u₀ = −12 u₀, with u = (x, 1)."""
    certificate = one_layer(tmp_path, "mse", [[1, 1]], [1], [[1.0, 1.0], [2.0, 0.0]], [[3.0], [4.0]])
    np.testing.assert_array_equal(augmented(certificate.values, "grad"), [[[0, 0, 0]], [[-4, 0, -2]]])
    np.testing.assert_array_equal(augmented(certificate.values, "hvp"), [[[[0, 0, 0]], [[-12, -12, -12]]]])
    assert certificate.digits > 35


def test_a_saturated_loss_keeps_its_small_derivatives(tmp_path: Path) -> None:
    """The gradient at logit 700 and label 1 is −e⁻⁷⁰⁰ (x, 1), and the Hessian e⁻⁷⁰⁰ u uᵀ."""
    certificate = one_layer(tmp_path, "bce", [[699.0]], [1.0], [[1.0], [0.0]], [[1.0], [0.0]], [(1, 0)])
    small, other = math.exp(-700), 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(augmented(certificate.values, "grad")[0], [[-small, -small]], rtol=1e-14)
    np.testing.assert_allclose(augmented(certificate.values, "hvp")[0, 0], [[small * other] * 2], rtol=1e-14)
    assert certificate.digits > 35


def test_smaller_steps_certify_a_bracket_far_below_its_terms(tmp_path: Path) -> None:
    """Residuals 1/2, 1/4, curvatures 1/4 and u₀·u₁ = 2⁻¹⁰⁰ give the bracket 2⁻¹⁰² (u₁/2 − u₀/4), with u = (x, 1)."""
    x, y = [[1.0, 2.0**-50], [-1.0, 2.0**-50]], [[0.0], [0.25]]
    certificate = one_layer(tmp_path, "bce", [[0.0, 0.0]], [0.0], x, y)
    expected = 2.0**-102 * np.array([[[-3 / 4, 2.0**-52, 1 / 4]]])
    np.testing.assert_array_equal(augmented(certificate.values, "bracket"), expected)
    assert certificate.digits >= 20


def test_ulps_measure_the_error_of_the_outputs_in_the_file(tmp_path: Path) -> None:
    x, y = [[1.0, 1.0], [1.0, 1.0]], [[0.0], [4.0]]
    outputs = {"logits": np.array([[3.0], [3 + 3 * 2.0**-45]]), "grad/0.bias": np.array([[6.0], [-2.0]])}
    certificate = one_layer(tmp_path, "mse", [[1, 1]], [1], x, y, **outputs)
    assert certificate.ulps == pytest.approx({"logits": 2.0**8, "grad/0.bias": 0})


def differences(layers: list[Layer], theta: Arrays, x: Any, output: tuple[int, ...]) -> Arrays:
    """The gradient of one output of the layers by differences."""
    fixed = {name: F.numbers(p) for name, p in theta.items()}
    field = Field(F, STEP, layers, F.numbers(x), lambda z: z[output])
    return {name: F.floats(g) for name, g in field.gradient(fixed).items()}


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_of_equal_entries_in_a_window_takes_the_derivative(first: int) -> None:
    """Channel 0 is 1 in column `first`, channel 1 in the other: with weights 1, 1 both entries of the window are 1."""
    x = np.zeros((1, 2, 1, 2))
    x[0, 0, 0, first] = x[0, 1, 0, 1 - first] = 1
    theta = {"c.weight": np.ones((1, 2, 1, 1))}
    layers = [convolution(F, "c.weight", 1), max_pool()]
    gradient = differences(layers, theta, x, (0, 0, 0, 0))["c.weight"]
    np.testing.assert_array_equal(gradient.ravel(), [1 - first, first])


def test_relu_at_zero_has_slope_zero() -> None:
    theta = {"a.weight": np.ones((1, 1)), "a.bias": -np.ones(1), "b.weight": np.ones((1, 1)), "b.bias": np.ones(1)}
    gradient = differences([linear(F, "a"), relu(), linear(F, "b")], theta, [[1.0]], (0, 0))
    np.testing.assert_array_equal(np.concatenate([g.ravel() for g in gradient.values()]), [0, 0, 0, 1])


def test_batch_statistics_are_differentiated_through() -> None:
    """w (−1, 3) has mean w and biased variance 4 w²: y = ±2w/√(4w² + ε), and dy/dw = ±2ε/√(4w² + ε)³."""
    w, eps, x = 0.01, 1e-5, np.array([-1.0, 3.0]).reshape(2, 1, 1, 1)
    theta = {"0.0.weight": np.full((1, 1, 1, 1), w), "0.1.weight": np.array([1.0]), "0.1.bias": np.array([0.5])}
    layers = [convolution(F, "0.0.weight", 1), batch_norm(F, "0.1", training=True), global_average()]
    gradient = differences(layers, theta, x, (1, 0))
    v = 4 * w**2 + eps
    np.testing.assert_allclose(gradient["0.0.weight"], [[[[2 * eps / v**1.5]]]], rtol=1e-14)
    np.testing.assert_allclose(gradient["0.1.weight"], [2 * w / v**0.5], rtol=1e-14)
    np.testing.assert_array_equal(gradient["0.1.bias"], [1])


def test_convolution_and_pools_are_right_at_odd_edges() -> None:
    x = F.numbers(np.arange(-9.0, 0).reshape(1, 1, 3, 3))  # −9 … −1
    ones = {"c": F.numbers(np.ones((1, 1, 3, 3)))}
    convolved = convolution(F, "c", 2).apply(ones, x)
    np.testing.assert_array_equal(F.floats(convolved)[0, 0], [[-9 - 8 - 6 - 5, -8 - 7 - 5 - 4], [-6 - 5 - 3 - 2, -12]])
    np.testing.assert_array_equal(F.floats(max_pool().apply({}, x))[0, 0], [[-5, -4], [-2, -1]])
    np.testing.assert_array_equal(F.floats(average_pool().apply({}, x))[0, 0], [[-7, -5.5], [-2.5, -1]])


SMALL = lie_ref.mxresnet(stem=(2, 1, 2), widths=(1, 2), layers=(1, 1), n_out=2, n_in=1)


@pytest.mark.parametrize(
    ("model", "shape", "seed", "pairs", "training", "tolerance"),
    [
        *((lie_ref.mlp([3, 4, 2], a), (3, 3), 1, [(0, 1), (2, 0)], False, 1e-14) for a in ACTIVATIONS),
        (lie_ref.mlp([3, 4, 2], "tanh"), (3, 4, 3), 5, [(0, 1), (2, 0)], False, 1e-14),
        (SMALL, (2, 1, 5, 4), 9, [(0, 1)], False, 1e-12),  # with this seed, the brackets hardly cancel
        (SMALL, (2, 3, 1, 5, 4), 15, [(0, 1)], True, 1e-12),  # rounding is magnified least, of the seeds 0 to 23
    ],
    ids=[*ACTIVATIONS, "mini-batches", "convolutional", "batch statistics"],
)
def test_lie_ref_agrees_with_the_certificate_of_generic_weights(
    tmp_path: Path, model: Model, shape: tuple[int, ...], seed: int, pairs: Any, training: bool, tolerance: float
) -> None:
    vector = answered(generic_problem(model, shape, seed, pairs, training=training))
    write_vector(tmp_path / "vector.npz", vector)
    certificate = certify(tmp_path / "vector.npz")
    assert certificate.digits > 30
    assert set(certificate.ulps) == set(vector.outputs)
    assert max(certificate.ulps.values()) * 2.0**-53 < tolerance
