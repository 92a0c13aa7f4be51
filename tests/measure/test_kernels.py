"""The neural tangent kernel against an explicit Jacobian, and its velocity in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from autograd import jacobian
from networks import BOTTLENECK, MLPS, arguments, examples, generic_state

import lie_ref
from lie_ref import kernels
from lie_ref.fast import engine
from lie_ref.measure.kernels import kernel_velocity, ntk

NET = lie_ref.mxresnet(**BOTTLENECK)


@pytest.mark.parametrize(("model", "shape"), [(MLPS[1], (5,)), (NET, (3, 9, 9))])
def test_the_kernel_is_the_gram_matrix_of_autograds_jacobian(model, shape):
    _, params, buffers, x, _ = arguments(model, (3, *shape), 0)
    rows = []
    for name in params:
        j = jacobian(lambda p, name=name: model.apply(params | {name: p}, buffers, x))(params[name])
        rows.append(j.reshape(3, model.n_out, -1))
    explicit = np.concatenate(rows, axis=2)
    expected = np.einsum("iap,jbp->iajb", explicit, explicit)
    np.testing.assert_allclose(ntk(model, params, buffers, x), expected, rtol=1e-11, atol=1e-12 * expected.max())


def test_the_kernel_is_symmetric_and_has_no_negative_eigenvalue():
    kernel = ntk(*arguments(MLPS[0], (6, 5), 2)[:-1]).reshape(18, 18)
    np.testing.assert_array_equal(kernel, kernel.T)
    assert np.linalg.eigvalsh(kernel).min() > -1e-12 * np.abs(kernel).max()


@pytest.mark.parametrize("held", [1, 2, 5])
def test_the_kernel_is_the_same_in_any_blocks(held, monkeypatch):
    model = MLPS[2]
    given = arguments(model, (4, 5), 3)[:-1]
    whole = ntk(*given)
    monkeypatch.setattr(kernels, "BUDGET", held * model.parameter_count)
    sizes, of = [], engine.gradients

    def counted(problem):
        sizes.append(len(problem.x))
        return of(problem)

    monkeypatch.setattr(engine, "gradients", counted)
    np.testing.assert_allclose(ntk(*given), whole, rtol=1e-12)
    assert max(sizes) == held
    blocks = -(-12 // held)
    assert len(sizes) == blocks * (blocks + 1) / 2  # each with itself and with those before it


def test_a_kernel_has_the_dtype_of_the_parameters():
    model = MLPS[0]
    params, buffers = model.init(0, np.float32)
    assert ntk(model, params, buffers, np.ones((2, 5), np.float32)).dtype == np.float32


def test_the_kernel_of_a_linear_network_is_constant():
    model = lie_ref.mlp([5, 3])
    x, _ = examples(model, (4, 5), 4)
    before, after = (ntk(model, *generic_state(model, seed), x) for seed in (4, 5))
    assert kernel_velocity(before, after) == 0


def test_the_velocity_is_one_minus_the_cosine():
    a, b = np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 3.0]])
    assert kernel_velocity(a, b) == pytest.approx(1)
    assert kernel_velocity(a, a + 2 / 3 * b) == pytest.approx(1 - np.sqrt(0.5))
    assert kernel_velocity(a, -a) == pytest.approx(2)
    angle = 1e-7  # where 1 − cos loses all its digits
    turned = np.array([[np.cos(angle), 0.0], [0.0, np.sin(angle)]])
    assert kernel_velocity(a, turned) == pytest.approx(angle**2 / 2, rel=1e-6)
    for scale in (1e200, 1e-200):  # whose squares overflow or vanish
        assert kernel_velocity(scale * a, a + b) == pytest.approx(kernel_velocity(a, a + b))
    single = np.float32([1, 3]), np.float32([3, 1])
    assert kernel_velocity(*single) == pytest.approx(0.4, rel=1e-14)  # in float64


def test_errors_name_the_argument_what_came_and_what_was_expected():
    with pytest.raises(ValueError, match=r"x: expected shape \(n, 5\), none of them 0, got \(3, 4\)"):
        ntk(MLPS[0], *generic_state(MLPS[0], 6), np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"after: expected the shape of before, \(2, 2\), got \(3, 3\)"):
        kernel_velocity(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match=r"after: expected a kernel that is not zero, got zeros of shape \(2, 2\)"):
        kernel_velocity(np.eye(2), np.zeros((2, 2)))
