"""`check_order` finds what swapping two steps does under any optimizer, against the formulas of core.optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lie_ref import check_order
from lie_ref.core.optimizers import (
    AdamState,
    Momentum,
    Optimizer,
    WeightDecay,
    first_order_effect,
    second_order_effect,
)
from lie_ref.machine.errors import InputError

RNG = np.random.default_rng(0)
A = [(a := RNG.standard_normal((5, 5))) + a.T for _ in range(2)]
B = [RNG.standard_normal(5) for _ in range(2)]
THETA = RNG.standard_normal(5)
OPTIMIZERS = {
    "gradient descent": Optimizer(),
    "momentum": Momentum(0.3 * B[0], 0.9),
    "Adam": AdamState(0.1 * B[0], np.full(5, 0.01), 3),
    "weight decay": WeightDecay(Optimizer(), l2=0.1, decoupled=0.05),
}


def gradient(theta: np.ndarray, i: int) -> np.ndarray:
    return np.tanh(A[i] @ theta) + B[i] + theta**3


def hvp(theta: np.ndarray, i: int, d: np.ndarray) -> np.ndarray:
    return (1 - np.tanh(A[i] @ theta) ** 2) * (A[i] @ d) + 3 * theta**2 * d


def step(theta: np.ndarray, i: int, epsilon: float, state: Optimizer) -> tuple[np.ndarray, Optimizer]:
    update, state = state.step(gradient(theta, i), theta)
    return theta - epsilon * update, state


def effects(optimizer: Optimizer, theta: np.ndarray) -> dict[str, np.ndarray]:
    g = [gradient(theta, i) for i in (0, 1)]
    u = [optimizer.step(g[i], theta)[0] for i in (0, 1)]
    second = second_order_effect(optimizer, theta, *g, hvp(theta, 1, u[0]), hvp(theta, 0, u[1]))
    return {"first_order": first_order_effect(optimizer, theta, *g), "second_order": second}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_effects_agree_and_the_order_is_observed(name: str) -> None:
    right = effects(OPTIMIZERS[name], THETA)
    verdict = check_order(step, THETA, right, state=OPTIMIZERS[name])
    assert verdict.agrees
    assert verdict.quantities["first_order"].decided >= 9
    assert verdict.quantities["second_order"].decided >= 6
    remembers = name in ("momentum", "Adam")
    assert verdict.located == f"swaps change theta by ε^{1 if remembers else 2:.2f}"


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("factor", "bug"), [(-1.0, "sign-swapped"), (0.5, "factor"), (0.0, "all-zero")])
def test_a_multiple_of_the_second_order_effect_is_named(name: str, factor: float, bug: str) -> None:
    wrong = factor * effects(OPTIMIZERS[name], THETA)["second_order"]
    verdict = check_order(step, THETA, {"second_order": wrong}, state=OPTIMIZERS[name])
    assert verdict.agrees is False
    assert [explanation.name for explanation in verdict.diagnosis] == [bug]


def test_the_bracket_is_not_the_second_order_effect_of_an_optimizer_with_memory() -> None:
    bracket = hvp(THETA, 1, gradient(THETA, 0)) - hvp(THETA, 0, gradient(THETA, 1))
    claim = {"first_order": np.zeros(5), "second_order": bracket}
    assert check_order(step, THETA, claim, state=Optimizer()).agrees
    verdict = check_order(step, THETA, claim, state=OPTIMIZERS["momentum"])
    assert [q.agrees for q in verdict.quantities.values()] == [False, False]


def test_an_error_of_1e_5_is_rejected() -> None:
    right = effects(Optimizer(), THETA)["second_order"]
    verdict = check_order(step, THETA, {"second_order": right * (1 + 1e-5)}, state=Optimizer())
    assert verdict.agrees is False


def test_a_rule_without_state_takes_three_arguments_and_a_form_may_be_nested() -> None:
    def rule(theta: dict[str, list[np.ndarray]], i: int, epsilon: float) -> dict[str, list[np.ndarray]]:
        (t,) = theta["layer"]
        return {"layer": [t - epsilon * gradient(t, i)]}

    swapped = effects(Optimizer(), THETA)["second_order"]
    pairs = [(0, 1), (1, 0)]
    claim = [{"layer": [swapped]}, {"layer": [-swapped]}]
    assert check_order(rule, {"layer": [THETA]}, {"second_order": claim}, pairs).agrees
    wrong = check_order(rule, {"layer": [THETA]}, {"second_order": claim[::-1]}, pairs)
    assert [explanation.name for explanation in wrong.diagnosis] == ["sign-swapped"]


def test_a_state_that_is_changed_in_place_is_copied_first() -> None:
    buffer = {"b": 0.3 * B[0]}

    def momentum(theta: np.ndarray, i: int, epsilon: float, state: Any) -> tuple[np.ndarray, Any]:
        state["b"] *= 0.9
        state["b"] += gradient(theta, i)
        return theta - epsilon * state["b"], state

    assert check_order(momentum, THETA, effects(OPTIMIZERS["momentum"], THETA), state=buffer).agrees
    assert (buffer["b"] == 0.3 * B[0]).all()


def test_float32_decides_little_and_says_so() -> None:
    def single(theta: np.ndarray, i: int, epsilon: float) -> np.ndarray:
        return (theta - epsilon * gradient(theta, i)).astype(np.float32)

    verdict = check_order(single, THETA.astype(np.float32), {"second_order": np.zeros(5, np.float32)})
    right = effects(Optimizer(), THETA.astype(np.float32).astype(float))["second_order"]
    assert verdict.agrees is not True
    assert check_order(single, THETA.astype(np.float32), {"second_order": right}).agrees is not False
    assert "theta in float64" in verdict.advice


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, THETA, {"second_order": THETA}), "step: expected a function, got NoneType"),
        ((step, THETA, {}), "candidate: expected a dict with first_order or second_order, got none"),
        ((step, THETA, [THETA]), "candidate: expected a dict with first_order or second_order, got list"),
        ((step, THETA, {"bracket": THETA}), "candidate: 'bracket' is not compared, none is like"),
        ((lambda t, i, e: t[:2], THETA, {"second_order": THETA}), r"step\(theta, 0, 0.001\): expected shape \(5,\)"),
        ((lambda t, i, e: t, THETA, {"second_order": THETA[:2]}), r"candidate: second_order: expected shape \(5,\)"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_order(*arguments)
    assert "\n" not in str(caught.value)


def test_swaps_that_change_nothing_are_not_taken_for_agreement() -> None:
    def still(theta: np.ndarray, i: int, epsilon: float) -> np.ndarray:
        return theta - epsilon * theta * i  # example 0 takes no step

    verdict = check_order(still, THETA, {"second_order": np.zeros(5)})
    assert (verdict.agrees, verdict.located) == (None, "swaps change theta by nothing")
    assert check_order(still, THETA, {"second_order": np.ones(5)}).agrees is False


def test_a_candidate_that_changes_the_step_is_refused() -> None:
    shift = [0.0]

    def drifting(theta: np.ndarray, i: int, epsilon: float) -> np.ndarray:
        return theta - epsilon * (gradient(theta, i) + shift[0])

    def moving(theta: np.ndarray, i: int, j: int, by: float = 1e-3) -> np.ndarray:
        shift[0] += by
        return effects(Optimizer(), theta)["second_order"]

    assert check_order(drifting, THETA, {"second_order": lambda *given: moving(*given, by=0.0)}).agrees
    with pytest.raises(InputError, match=r"^candidate: second_order: it changed step\(theta, 0, …\) by 2e-06; "):
        check_order(drifting, THETA, {"second_order": moving})


def test_the_effect_of_a_swap_is_seen_beside_a_tensor_that_is_much_larger() -> None:
    for size in (1.0, 1e4):
        theta = {"all": THETA, "offset": np.array([size])}

        def step(t: Any, i: int, epsilon: float) -> Any:
            return t | {"all": t["all"] - epsilon * np.tanh(gradient(t["all"], i))}

        u = [np.tanh(gradient(THETA, i)) for i in (0, 1)]
        a, b = ((1 - u[i] ** 2) * hvp(THETA, i, u[1 - i]) for i in (1, 0))
        right = {"all": a - b, "offset": np.zeros(1)}
        assert check_order(step, theta, {"second_order": right}).agrees
        assert check_order(step, theta, {"second_order": {"all": 0 * a, "offset": np.zeros(1)}}).agrees is False


@pytest.mark.parametrize("precision", [np.float64, np.float32])
@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_the_step_on_one_example_may_be_far_longer_than_that_on_the_other(
    pair: tuple[int, int], precision: Any
) -> None:
    """L_i = (tanh(x_i · θ) − y_i)² / 2, which is fitted for i = 0 but not for i = 1; a step may be taken in float32."""
    x, theta = np.array([[1.0, -0.5, 2.0], [0.3, 1.5, -1.0]]), np.array([0.2, -0.4, 0.1])
    y = np.tanh(x @ theta) + np.array([1e-7 if precision == np.float64 else 1e-2, 1.5])

    def own(t: np.ndarray, i: int) -> np.ndarray:
        z = np.tanh(x[i] @ t)
        return (z - y[i]) * (1 - z * z) * x[i]

    def product(i: int, d: np.ndarray) -> np.ndarray:
        z = np.tanh(x[i] @ theta)
        return (1 - z * z) * ((1 - z * z) - 2 * z * (z - y[i])) * (x[i] @ d) * x[i]

    def step(t: np.ndarray, i: int, epsilon: float) -> np.ndarray:
        return (t - epsilon * own(t, i)).astype(precision).astype(float)

    i, j = pair
    right = product(j, own(theta, i)) - product(i, own(theta, j))
    found = [check_order(step, theta, {"second_order": f * right}, pairs=[pair]).agrees for f in (1.0, 0.0)]
    assert found == [True, False] if precision == np.float64 else found[0] is not False


def test_steps_that_remember_draw_numbers_or_lead_to_nan_are_refused() -> None:
    memory, rng = [np.zeros(5)], np.random.default_rng(0)

    def momentum(theta: np.ndarray, i: int, epsilon: float) -> np.ndarray:
        memory[0] = 0.9 * memory[0] + gradient(theta, i)
        return theta - epsilon * memory[0]

    def dropout(theta: np.ndarray, i: int, epsilon: float) -> np.ndarray:
        return theta - epsilon * gradient(theta, i) * (rng.random(5) < 0.5)

    for step in (momentum, dropout):
        with pytest.raises(InputError, match=r"^step: two steps on 0 from the same theta differ by .*; pass what it"):
            check_order(step, THETA, {"second_order": THETA})
    for left in (THETA, (THETA, 1, 2)):
        with pytest.raises(InputError, match=r"^step: expected \(theta, state\), as state= was given, got "):
            check_order(lambda *_, left=left: left, THETA, {"second_order": THETA}, state=0)
    with pytest.raises(InputError, match=r"^step\(theta, 0, 0.001\): expected finite numbers, got nan or inf$"):
        check_order(lambda theta, i, epsilon: theta * np.nan, THETA, {"second_order": THETA})


def test_tensors_of_zeros_and_steps_that_commute_are_no_obstacle() -> None:
    theta = {"all": THETA, "zeros": np.zeros(5)}

    def gradients(t: Any, i: int) -> Any:
        return {name: np.tanh(A[i] @ (t["all"] + t["zeros"])) for name in theta}

    def step(t: Any, i: int, epsilon: float) -> Any:
        return {name: t[name] - epsilon * g for name, g in gradients(t, i).items()}

    def product(i: int, j: int) -> np.ndarray:
        return (1 - np.tanh(A[i] @ THETA) ** 2) * (A[i] @ (2 * gradients(theta, j)["all"]))

    effect = product(1, 0) - product(0, 1)
    assert check_order(step, theta, {"second_order": {"all": effect, "zeros": effect}}).agrees
    assert check_order(step, theta, {"second_order": {"all": effect, "zeros": 0 * effect}}).agrees is False
    for seed in range(6):  # rounding alone remains of commuting steps
        start = np.random.default_rng(seed).normal(size=5)
        found = check_order(lambda t, i, epsilon: t * (1 - epsilon * (i + 1)), start, {"second_order": np.zeros(5)})
        assert found.located == "swaps change theta by nothing"
