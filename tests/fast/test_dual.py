"""Dual numbers against the product rule worked by hand and against differences."""

from __future__ import annotations

import numpy as np

from lie_ref.fast.dual import Dual, bilinear, elementwise, linear, tangent, value

rng = np.random.default_rng(0)


def dual(*shape: int, k: int = 3) -> Dual:
    return Dual(rng.standard_normal(shape), rng.standard_normal((k, *shape)))


def test_products_follow_the_product_rule_in_every_direction():
    a, b = dual(2, 4), dual(4, 5)
    product = a @ b
    assert product.tangent.shape == (3, 2, 5)
    for k in range(3):
        np.testing.assert_allclose(product.tangent[k], a.tangent[k] @ b.value + a.value @ b.tangent[k])


def test_arrays_are_constants_on_either_side():
    a, c = dual(2, 3), rng.standard_normal((2, 3))
    for left, right in ((a, c), (c, a)):
        np.testing.assert_array_equal((left * right).tangent, a.tangent * c)
        np.testing.assert_array_equal((left + right).tangent, a.tangent)
    np.testing.assert_array_equal((c.T @ a).tangent, c.T @ a.tangent)
    np.testing.assert_array_equal((a - c).value, a.value - c)
    np.testing.assert_array_equal((c - a).value, c - a.value)
    np.testing.assert_array_equal((c - a).tangent, -a.tangent)
    assert tangent(c) is None
    assert value(c) is c


def test_linear_and_bilinear_leave_plain_arrays_plain():
    c = rng.standard_normal((2, 3))
    assert isinstance(linear(np.negative, c), np.ndarray)
    assert isinstance(bilinear(np.multiply, c, c), np.ndarray)


def test_elementwise_gives_value_and_slope_with_their_tangents():
    x = dual(5)
    y, slope = elementwise(lambda v, n: [v**3, 3 * v**2, 6 * v][: n + 1], x, order=1)
    np.testing.assert_allclose(y.tangent, 3 * x.value**2 * x.tangent)
    np.testing.assert_allclose(slope.tangent, 6 * x.value * x.tangent)


def test_in_place_sums_and_differences_equal_new_ones():
    a, b, c = dual(2, 3), dual(1, 3), rng.standard_normal(3)
    for other in (b, c):
        total, difference = (Dual(a.value.copy(), a.tangent.copy()) for _ in range(2))
        held = total.value, difference.tangent
        total += other
        difference -= other
        for found, expected in ((total, a + other), (difference, a - other)):
            np.testing.assert_array_equal(found.value, expected.value)
            np.testing.assert_array_equal(found.tangent, np.broadcast_to(expected.tangent, a.tangent.shape))
        assert total.value is held[0]
        assert difference.tangent is held[1]
