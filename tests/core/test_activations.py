"""Tests of the activations: closed-form derivatives against mpmath and autograd, and no overflow for large inputs."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad

from lie_ref.core.activations import ACTIVATIONS
from lie_ref.fast.scalar_rules import derivatives

EXACT = {
    "mish": lambda x: x * mpmath.tanh(mpmath.log(1 + mpmath.exp(x))),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "tanh": mpmath.tanh,
}


@pytest.mark.parametrize("name", EXACT)
def test_value_slope_and_curvature_are_accurate_to_rounding_in_both_tails(name):
    x = np.linspace(-60, 60, 121) + 0.37
    with mpmath.workdps(80):
        exact = [[float(mpmath.diff(EXACT[name], mpmath.mpf(v), n)) for v in x.tolist()] for n in range(3)]
    np.testing.assert_allclose(ACTIVATIONS[name](x), exact[0], rtol=2e-14)
    value, slope, curvature = derivatives(ACTIVATIONS[name])(x, 2)
    np.testing.assert_allclose(value, exact[0], rtol=2e-15)
    np.testing.assert_allclose(slope, exact[1], rtol=4e-15, atol=1e-17)
    # The curvature of mish is a difference of nearly equal numbers close to its zero.
    np.testing.assert_allclose(curvature, exact[2], rtol=4e-14, atol=1e-17)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("x", "rtol", "atol"),
    [(np.linspace(-8, 8, 161), 0, (4e-15, 4e-15)), (np.array([-1000.0, -400, 400, 1000]), 1e-7, (1e-300, 1e-150))],
    ids=["moderate", "large"],
)
def test_closed_forms_equal_the_derivatives_of_the_definition_by_autograd(name, x, rtol, atol):
    first = elementwise_grad(ACTIVATIONS[name])
    _, slope, curvature = derivatives(ACTIVATIONS[name])(x, 2)
    np.testing.assert_allclose(slope, first(x), rtol=rtol, atol=atol[0])
    np.testing.assert_allclose(curvature, elementwise_grad(first)(x), rtol=rtol, atol=atol[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_inputs_of_a_thousand_do_not_overflow_and_keep_the_dtype(name, dtype):
    x = np.array([-1000, -100, -1, 0, 1, 100, 1000], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = derivatives(ACTIVATIONS[name])(x, 2)
    assert all(d.dtype == dtype and np.isfinite(d).all() for d in found)
    slope = found[1]
    assert abs(float(slope[0])) < 1e-300
    assert abs(slope[-1] - (name != "tanh")) <= np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["mish", "softplus"])
def test_near_the_largest_number_the_slope_is_still_1(name, dtype):
    x = np.finfo(dtype).max * np.array([1e-8, 1e-4, 0.5], dtype)
    value, slope, curvature = derivatives(ACTIVATIONS[name])(x, 2)
    np.testing.assert_allclose((value, slope), (x, np.ones(3)), rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(curvature, 0, atol=1e-30)


def test_relu_has_slope_zero_at_zero_and_no_curvature():
    x = np.array([-1.0, 0.0, 2.0])
    value, slope, curvature = derivatives(ACTIVATIONS["relu"])(x, 2)
    assert (value.tolist(), slope.tolist(), curvature.tolist()) == ([0, 0, 2], [0, 0, 1], [0, 0, 0])
    assert elementwise_grad(ACTIVATIONS["relu"])(x).tolist() == [0, 0, 1]
