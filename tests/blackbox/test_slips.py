"""What a new user of `check` gets wrong first is told from a wrong answer, and the verdict says what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lie_ref import check, check_order
from lie_ref.machine.errors import InputError

Arrays = dict[str, np.ndarray]
RNG = np.random.default_rng(0)
THETA = {"a.w": RNG.normal(size=(3, 2)), "a.b": RNG.normal(size=3), "c.w": RNG.normal(size=(2, 3))}
X = RNG.normal(size=(2, 2))


def gradient(theta: Arrays, i: int) -> Arrays:
    """Of L = Σ z² / 2 with z = C tanh(W x + b)."""
    h = np.tanh(theta["a.w"] @ X[i] + theta["a.b"])
    z = theta["c.w"] @ h
    back = (theta["c.w"].T @ z) * (1 - h * h)
    return {"a.w": np.outer(back, X[i]), "a.b": back, "c.w": np.outer(z, h)}


def hvp(theta: Arrays, i: int, d: Arrays) -> Arrays:
    h = np.tanh(theta["a.w"] @ X[i] + theta["a.b"])
    z, slope = theta["c.w"] @ h, 1 - h * h
    dh = slope * (d["a.w"] @ X[i] + d["a.b"])
    dz = d["c.w"] @ h + theta["c.w"] @ dh
    back = theta["c.w"].T @ z
    dback = (d["c.w"].T @ z + theta["c.w"].T @ dz) * slope - 2 * back * h * dh
    return {"a.w": np.outer(dback, X[i]), "a.b": dback, "c.w": np.outer(dz, h) + np.outer(z, dh)}


def bracket(theta: Arrays, i: int, j: int, product: Callable[..., Arrays] = hvp) -> Arrays:
    a, b = product(theta, j, gradient(theta, i)), product(theta, i, gradient(theta, j))
    return {name: a[name] - b[name] for name in a}


def times(c: float, arrays: Arrays) -> Arrays:
    return {name: c * a for name, a in arrays.items()}


def test_the_answers_of_this_file_are_right() -> None:
    assert check(gradient, THETA, {"grad": gradient, "hvp": hvp, "bracket": bracket}).agrees


@pytest.mark.parametrize("c", [1.0, 0.0, -7.0])
def test_of_a_gradient_that_does_not_use_theta_nothing_is_decided(c: float) -> None:
    def frozen(theta: Arrays, i: int) -> Arrays:
        return gradient(THETA, i)

    verdict = check(frozen, THETA, {"grad": gradient, "hvp": lambda theta, i, d: times(c, hvp(theta, i, d))})
    assert verdict.agrees is None
    assert verdict.quantities["grad"].agrees
    assert "because the gradient is the same at every theta that was tried" in str(verdict)
    assert "use a gradient that depends on theta" in str(verdict)


def test_a_gradient_is_not_taken_for_a_constant_where_theta_or_a_product_is_zero() -> None:
    """θ = 0 does not change when it is multiplied; the losses of the second pair are those of different numbers."""
    a, ones = RNG.normal(size=(2, 3, 3)), np.ones(3)
    assert check(lambda t, i: a[i] @ t + ones, np.zeros(3), {"hvp": lambda t, i, d: a[i] @ d}).agrees
    part = np.array([[1.0, 0.0], [0.0, 1.0]])
    zero = check(lambda t, i: part[i] * t**3, np.ones(2), {"hvp": lambda t, i, d: 3 * part[i] * t**2 * d})
    assert zero.agrees is None
    assert "because it is 0, which shows neither signs nor factors" in str(zero)


def test_a_swap_that_changes_nothing_decides_nothing() -> None:
    def step(theta: Arrays, i: int, epsilon: float) -> Arrays:
        return {name: theta[name] - epsilon * g for name, g in gradient(theta, 0).items()}

    right = check_order(step, THETA, {"second_order": lambda theta, i, j: times(-7, bracket(theta, 0, 0))})
    assert right.agrees is None
    assert check_order(step, THETA, {"second_order": gradient(THETA, 0)}).agrees is False


@pytest.mark.parametrize("quantity", ["grad", "hvp", "bracket"])
def test_a_candidate_that_changes_what_the_gradient_uses_is_named(quantity: str) -> None:
    mean = [0.0]

    def shifted(theta: Arrays, i: int) -> Arrays:
        return gradient(theta | {"a.b": theta["a.b"] - mean[0]}, i)

    answers: dict[str, Callable[..., Any]] = {"grad": gradient, "hvp": hvp, "bracket": bracket}

    def moving(*arguments: Any) -> Arrays:
        mean[0] += 0.1
        return answers[quantity](*arguments)

    with pytest.raises(InputError, match=rf"^candidate: {quantity}: it changed gradient\(theta, 0\) by 0\.\d+ of its"):
        check(shifted, THETA, answers | {quantity: moving})


@pytest.mark.parametrize("pair", [(1, 1), (0, 1)])
def test_a_bracket_of_equal_fields_decides_neither_sign_nor_factor(pair: tuple[int, int]) -> None:
    def first(theta: Arrays, i: int) -> Arrays:
        return gradient(theta, 0)

    def wrong(theta: Arrays, i: int, j: int) -> Arrays:
        return times(-7, bracket(theta, 0, 0))

    def added(theta: Arrays, i: int, j: int) -> Arrays:
        return times(2, hvp(theta, 0, gradient(theta, 0)))

    verdict = check(first, THETA, {"bracket": wrong}, [pair])
    assert verdict.agrees is None
    assert "because it is 0, which shows neither signs nor factors" in str(verdict)
    assert "use examples or directions whose bracket is not 0" in str(verdict)
    assert [bug.name for bug in check(first, THETA, {"bracket": added}, [pair]).diagnosis][:1] == ["plus-for-minus"]


@pytest.mark.parametrize("what", ["hvp", "bracket"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("part", ["a.w", "a.b", "c.w", "a"])
def test_parameters_that_are_missing_from_directions_are_named(part: str, frozen: bool, what: str) -> None:
    def without(arrays: Arrays) -> Arrays:
        return {name: a * (not name.startswith(part)) for name, a in arrays.items()}

    def cut(theta: Arrays, i: int, d: Arrays) -> Arrays:
        found = hvp(theta, i, without(d))
        return without(found) if frozen else found

    candidate = cut if what == "hvp" else lambda theta, i, j: bracket(theta, i, j, cut)
    verdict = check(gradient, THETA, {what: candidate})
    assert not verdict.agrees
    (bug,) = verdict.diagnosis
    assert bug.name.startswith("direction-lacks-")
    assert ("products lack them, too" in bug.explains) == frozen


def test_a_tensor_that_the_gradient_takes_from_elsewhere_is_named() -> None:
    verdict = check(lambda theta, i: gradient(theta | {"a.b": THETA["a.b"]}, i), THETA, {"hvp": hvp})
    assert not verdict.agrees
    assert "The gradient does not change with a.b: is another copy of it in use?" in str(verdict)


def test_float32_on_the_way_is_suspected() -> None:
    def narrow(theta: Arrays, i: int, d: Arrays) -> Arrays:
        found = hvp(theta, i, d)
        return found | {"a.b": found["a.b"] * (1 + 1e-8 * np.arange(3)), "c.w": found["c.w"] * (1 + 6e-8)}

    verdict = check(gradient, THETA, {"hvp": narrow})
    assert not verdict.agrees
    assert "Float32 numbers make errors of this size: is something cast to float32 on the way?" in str(verdict)


def test_a_bracket_that_is_zero_up_to_rounding_is_called_zero() -> None:
    def noise(theta: Arrays, i: int, j: int) -> Arrays:
        return {name: 1e-17 * RNG.normal(size=a.shape) for name, a in theta.items()}

    (bug,) = check(gradient, THETA, {"bracket": noise}).diagnosis
    assert bug.name == "all-zero"
    assert "as it is where directions are not detached" in bug.explains


def test_a_factor_is_not_read_as_a_count_that_the_check_does_not_know() -> None:
    for c, said in ((4, "hvp × 4"), (0.25, "hvp × 0.25 = 1 / 4")):
        (bug,) = check(gradient, THETA, {"hvp": lambda theta, i, d, c=c: times(c, hvp(theta, i, d))}).diagnosis
        assert bug.explains.endswith(said)


def test_the_precision_that_limits_a_verdict_is_said() -> None:
    def single(theta: Arrays, i: int, d: Arrays) -> Arrays:
        return {name: a.astype(np.float32) for name, a in hvp(theta, i, d).items()}

    theta = {name: a.astype(np.float32) for name, a in THETA.items()}
    double = {name: a.astype(np.float64) for name, a in theta.items()}
    assert " required in float32, worst in " in str(check(gradient, THETA, {"hvp": single}))
    wide = check(lambda _, i: gradient(double, i), theta, {"grad": lambda _, i: gradient(double, i)})
    assert " required in float32" in str(wide)
    assert "float32" not in str(check(gradient, THETA, {"hvp": hvp}))


@pytest.mark.parametrize(
    ("theta", "candidate", "tensors", "message"),
    [
        (THETA, hvp, None, r"candidate: expected a dict such as \{'hvp': hvp\}, .* got TypeError: hvp\(\) missing 2"),
        (
            THETA,
            {"hvp": gradient},
            None,
            r"candidate: hvp: expected a function of theta, i and a direction, got TypeErr",
        ),
        (THETA, {"frobnicate": hvp}, None, r"candidate: 'frobnicate' is not compared, .*; none is like 'frobnicate'$"),
        (
            THETA,
            {"hvp": hvp},
            ["conv"],
            r"tensors: expected names of theta's tensors, a.w, a.b, c.w, got 'conv'; none ",
        ),
        ((a for a in THETA.values()), {"hvp": hvp}, None, r"theta: expected arrays, got generator; dict\(net\.named_p"),
        (
            THETA | {"n.num_batches_tracked": np.array(1)},
            {"hvp": hvp},
            None,
            "theta: 'n.num_batches_tracked': .* got dtype int64; a state_dict holds buffers, too, and dict",
        ),
    ],
)
def test_a_slip_in_the_call_is_one_line(theta: Any, candidate: Any, tensors: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        check(gradient, theta, candidate, tensors=tensors)
