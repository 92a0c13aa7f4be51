"""Extrapolated differences reach the exact derivative, and their claimed errors hold, with kinks and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lie_ref.blackbox import extrapolation
from lie_ref.blackbox.extrapolation import Moved, Start, derivative

THETA = {"a": np.array([1.0, -0.5, 2.0]), "b": np.array([[0.3, 0.7]])}
DIRECTION = {"a": np.array([0.2, 1.0, -0.4]), "b": np.array([[1.0, -2.0]])}


def smooth(theta: Any) -> dict[str, np.ndarray]:
    """A function whose derivative is known in closed form, below."""
    return {"a": np.exp(theta["a"]) * theta["b"].sum(), "b": np.sin(theta["b"] * theta["a"][0])}


def derivative_of_smooth(theta: Any, d: Any) -> dict[str, np.ndarray]:
    a = np.exp(theta["a"]) * (d["a"] * theta["b"].sum() + d["b"].sum())
    return {"a": a, "b": np.cos(theta["b"] * theta["a"][0]) * (d["b"] * theta["a"][0] + theta["b"] * d["a"][0])}


def noise(value: dict[str, np.ndarray], unit: float) -> dict[str, float]:
    return {name: unit * float(np.linalg.norm(a)) for name, a in value.items()}


@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, 12), (np.float32, 4)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_smooth_function_has_its_derivative_and_an_honest_error(dtype: Any, digits: int, scale: float) -> None:
    theta = {name: a.astype(dtype) for name, a in THETA.items()}
    d = {name: (scale * a).astype(dtype) for name, a in DIRECTION.items()}
    value = smooth(theta)
    found = derivative(smooth, theta, d, Start.of(value, noise(value, float(np.finfo(dtype).eps))))
    right = derivative_of_smooth(*({n: a.astype(float) for n, a in of.items()} for of in (theta, d)))
    for name, a in right.items():
        error = np.linalg.norm(found.values[name] - a)
        assert error <= 8 * found.errors[name]
        assert found.errors[name] < 10.0**-digits * np.linalg.norm(a)
        assert found.kinks[name] == 0


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
def test_beside_a_kink_smaller_steps_are_taken_and_the_error_stays_honest(distance: float) -> None:
    theta, d = {"t": np.array([1.0 + distance, 2.0])}, {"t": np.array([1.0, 1.0])}

    def kinked(theta: Any) -> dict[str, np.ndarray]:  # its slope jumps at 1, and its value as well
        t = theta["t"]
        return {"t": np.where(t > 1, t**2 + 0.5, -3 * t)}

    found = derivative(kinked, theta, d, Start.of(kinked(theta), {"t": 1e-15}))
    error = np.linalg.norm(found.values["t"] - 2 * theta["t"])
    assert error <= 8 * found.errors["t"]
    assert found.errors["t"] < 1e-7


def test_at_a_jump_of_the_second_derivative_the_error_says_what_both_sides_differ_by() -> None:
    theta, d = {"t": np.array([1.0, 3.0])}, {"t": np.array([1.0, 1.0])}

    def gradient_of_huber(theta: Any) -> dict[str, np.ndarray]:  # exactly at its kink in the first entry
        return {"t": np.clip(theta["t"] + theta["t"] ** 3 / 10, -1.1, 1.1)}

    found = derivative(gradient_of_huber, theta, d, Start.of(gradient_of_huber(theta), {"t": 1e-16}))
    for side in (0.0, 1.3):  # the derivative to the right and to the left
        assert abs(found.values["t"][0] - side) <= 1.01 * found.errors["t"]
    assert found.kinks["t"] == pytest.approx(0.65, rel=1e-3)


def test_at_a_jump_of_the_function_nothing_is_decided() -> None:
    theta, d = {"t": np.array([1.0])}, {"t": np.array([1.0])}

    def step(theta: Any) -> dict[str, np.ndarray]:
        return {"t": np.where(theta["t"] >= 1, 2.0, 1.0)}

    assert derivative(step, theta, d, Start.of(step(theta), {"t": 1e-16})).errors["t"] > 1


def test_a_function_that_is_not_finite_far_away_is_no_obstacle() -> None:
    theta, d = {"t": np.array([1e-3])}, {"t": np.array([1.0])}

    def root(theta: Any) -> dict[str, np.ndarray]:
        return {"t": np.sqrt(theta["t"] - 0.99e-3)}

    with np.errstate(invalid="ignore"):
        found = derivative(root, theta, d, Start.of(root(theta), {"t": 1e-16}))
    assert found.values["t"][0] == pytest.approx(0.5 / np.sqrt(1e-5), rel=1e-7)


def test_no_direction_gives_exact_zeros_and_no_error() -> None:
    zeros = {name: np.zeros_like(a) for name, a in DIRECTION.items()}
    value = smooth(THETA)
    found = derivative(smooth, THETA, zeros, Start.of(value, noise(value, 1e-16)))
    assert not any(a.any() for a in found.values.values())
    assert not any(found.errors.values())


def test_of_large_functions_a_sample_chooses_and_all_numbers_are_combined(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    theta = {"large": rng.standard_normal(3000), "small": rng.standard_normal((2, 3)), "none": np.zeros((0, 2))}
    d = {name: rng.standard_normal(a.shape) for name, a in theta.items()}

    def coupled(theta: Any) -> dict[str, np.ndarray]:
        total = sum(a.sum() for a in theta.values()) / 3000
        return {name: np.sin(a) * (1 + total) for name, a in theta.items()}

    value = coupled(theta)
    start = Start.of(value, noise(value, 1e-15))
    assert start.sample.whole
    whole = derivative(coupled, theta, d, start)
    monkeypatch.setattr(extrapolation, "KEPT", 1000)
    monkeypatch.setattr(extrapolation, "SAMPLE", 200)
    start = Start.of(value, noise(value, 1e-15))
    assert not start.sample.whole
    assert len(start.value) < 210
    begun = {name: np.ones(a.shape) for name, a in theta.items()}
    sampled = derivative(coupled, theta, d, start, add_to=begun)
    for name, a in whole.values.items():
        assert np.allclose(sampled.values[name] - 1, a, rtol=1e-11, atol=1e-11)
        assert sampled.errors[name] == pytest.approx(whole.errors[name], rel=30)


def test_a_moved_point_is_rounded_to_its_dtype_and_made_one_array_at_a_time() -> None:
    theta, d = {"t": np.array([1.0], np.float32)}, {"t": np.array([1.0], np.float64)}
    moved = Moved(theta, d, 1e-9)
    assert moved["t"].dtype == np.float32
    assert moved["t"][0] == 1
    assert moved["t"] is not moved["t"]
    assert list(moved) == ["t"]
    assert len(moved) == 1
