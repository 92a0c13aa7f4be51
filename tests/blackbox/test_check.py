"""`check` decides brackets, products, gradients and logit changes of any function, and names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref import check, check_hvp, mlp
from lie_ref.blackbox import extrapolation, problem, question
from lie_ref.machine.errors import InputError
from lie_ref.oracle import verdict

Arrays = dict[str, np.ndarray]
PAIRS = [(0, 1), (5, 2)]


class Network:
    """An MLP of lie_ref: its gradients are given to `check`, and its exact products are what is checked."""

    def __init__(self, activation: str = "tanh", dtype: Any = np.float64, seed: int = 0) -> None:
        self.model = mlp([4, 6, 3], activation)
        params, self.buffers = generic_state(self.model, seed)
        self.theta = {name: a.astype(dtype) for name, a in params.items()}
        self.x, self.y = examples(self.model, (6, 4), seed, "softmax")
        self.x_eval = examples(self.model, (2, 4), seed + 1)[0]

    def gradient(self, theta: Arrays, i: int) -> Arrays:
        x, y = self.x[[i]], self.y[[i]]
        return {n: g[0] for n, g in lie_ref.gradients(self.model, theta, self.buffers, x, y, "softmax").items()}

    def hvp(self, theta: Arrays, i: int, d: Arrays) -> Arrays:
        x, y, d = self.x[[i]], self.y[[i]], {n: a[None] for n, a in d.items()}
        return {n: h[0, 0] for n, h in lie_ref.hvps(self.model, theta, self.buffers, x, y, d, "softmax").items()}

    def bracket(self, theta: Arrays, i: int, j: int) -> Arrays:
        b = lie_ref.brackets(self.model, theta, self.buffers, self.x, self.y, [(i, j)], "softmax")
        return {name: a[0] for name, a in b.items()}

    def logits(self, theta: Arrays) -> np.ndarray:
        return self.model.apply(theta, self.buffers, self.x_eval.astype(theta["0.weight"].dtype))

    def logit_delta(self, theta: Arrays, i: int, j: int) -> np.ndarray:
        b = {name: a[None] for name, a in self.bracket(theta, i, j).items()}
        return lie_ref.push_forward(self.model, theta, self.buffers, self.x_eval, b)[0]

    @property
    def answers(self) -> dict[str, Callable[..., Any]]:
        return {q: getattr(self, q) for q in ("grad", "hvp", "bracket", "logit_delta")}

    grad = gradient


@pytest.mark.parametrize(("dtype", "least"), [(np.float64, 9.0), (np.float32, 2.0)])
@pytest.mark.parametrize("activation", ["tanh", "mish", "softplus"])
def test_exact_answers_agree_to_many_digits(activation: str, dtype: Any, least: float) -> None:
    n = Network(activation, dtype)
    verdict = check(n.gradient, n.theta, n.answers, PAIRS, n.logits)
    assert list(verdict.quantities) == ["grad", "hvp", "bracket", "logit_delta"]
    assert verdict.agrees
    assert verdict.decided >= least


@pytest.mark.parametrize(
    ("quantity", "error"), [("grad", 1e-8), ("hvp", -1e-8), ("bracket", 1e-8), ("logit_delta", -1e-8)]
)
def test_an_error_of_1e_8_in_one_tensor_is_rejected_and_located(quantity: str, error: float) -> None:
    n = Network()

    def off(*arguments: Any) -> Any:
        found = n.answers[quantity](*arguments)
        if isinstance(found, dict):
            found["2.weight"] = found["2.weight"] * (1 + error)
            return found
        return found * (1 + error)

    verdict = check(n.gradient, n.theta, {quantity: off}, PAIRS, n.logits)
    assert verdict.agrees is False
    assert f"first quantity that disagrees is {quantity}" in verdict.located
    assert quantity == "logit_delta" or "2.weight" in verdict.located


def combined(*terms: tuple[float, Arrays]) -> Arrays:
    return {name: sum(c * a[name] for c, a in terms) for name in terms[0][1]}


BUGS: dict[str, Callable[[Network, int, int], Arrays]] = {
    "sign-swapped": lambda n, i, j: n.bracket(n.theta, j, i),
    "plus-for-minus": lambda n, i, j: combined((1, of(n, j, i)), (1, of(n, i, j))),
    "first-term-only": lambda n, i, j: of(n, j, i),
    "second-term-only": lambda n, i, j: combined((-1, of(n, i, j))),
    "own-gradient": lambda n, i, j: combined((1, of(n, j, j)), (-1, of(n, i, i))),
    "hessian-of-mean": lambda n, i, j: combined(
        (0.5, of(n, j, i)), (0.5, of(n, i, i)), (-0.5, of(n, i, j)), (-0.5, of(n, j, j))
    ),
    "damping": lambda n, i, j: combined(
        (1, n.bracket(n.theta, i, j)), (1e-3, n.gradient(n.theta, i)), (-1e-3, n.gradient(n.theta, j))
    ),
    "factor": lambda n, i, j: combined((0.5, n.bracket(n.theta, i, j))),
    "moved-between": lambda n, i, j: moved(n, i, j, 0.03),
    "weight-decay": lambda n, i, j: decayed(n, i, j, 0.01),
    "tensors-left-out": lambda n, i, j: n.bracket(n.theta, i, j) | {"0.bias": np.zeros(6)},
}


def of(n: Network, field: int, along: int) -> Arrays:
    return n.hvp(n.theta, field, n.gradient(n.theta, along))


def moved(n: Network, i: int, j: int, epsilon: float) -> Arrays:
    """The bracket whose second product is taken after the step on i."""
    there = combined((1, n.theta), (-epsilon, n.gradient(n.theta, i)))
    return combined((1, of(n, j, i)), (-1, n.hvp(there, i, n.gradient(there, j))))


def decayed(n: Network, i: int, j: int, decay: float) -> Arrays:
    """The bracket of losses with decay/2 ‖θ‖² added."""
    g = {k: combined((1, n.gradient(n.theta, k)), (decay, n.theta)) for k in (i, j)}
    return combined((1, n.hvp(n.theta, j, g[i])), (decay, g[i]), (-1, n.hvp(n.theta, i, g[j])), (-decay, g[j]))


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_named_from_the_brackets_alone(name: str) -> None:
    n = Network()
    wrong = [BUGS[name](n, i, j) for i, j in PAIRS]
    verdict = check(n.gradient, n.theta, {"bracket": wrong}, PAIRS)
    assert verdict.agrees is False
    assert name in [bug.name for bug in verdict.diagnosis]


@pytest.mark.parametrize("name", ["0.weight", "2.bias"])
def test_only_the_asked_tensors_are_compared(name: str) -> None:
    n = Network()
    right = n.bracket(n.theta, 0, 1)
    wrong = {key: a if key == name else 2 * a for key, a in right.items()}
    assert check(n.gradient, n.theta, {"bracket": wrong}, tensors=[name]).agrees
    assert check(n.gradient, n.theta, {"bracket": {name: right[name]}}, tensors=[name]).agrees
    assert check(n.gradient, n.theta, {"bracket": {name: 2 * right[name]}}, tensors=[name]).agrees is False


def test_a_large_network_is_decided_by_a_sample_and_all_numbers_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    n = Network()
    for module in (extrapolation, problem):
        monkeypatch.setattr(module, "KEPT", 10)
    monkeypatch.setattr(extrapolation, "SAMPLE", 8)
    right = n.bracket(n.theta, 0, 1)
    assert check(n.gradient, n.theta, {"bracket": right}).decided > 9
    for k in (3, 23):
        wrong = right["0.weight"].copy()
        wrong.flat[k] += 1e-6 * np.linalg.norm(wrong)
        assert check(n.gradient, n.theta, {"bracket": right | {"0.weight": wrong}}).agrees is False
    verdict = check(n.gradient, n.theta, {"bracket": combined((-1, right))})
    assert "sign-swapped" in [bug.name for bug in verdict.diagnosis]


def relu_gradient(theta: np.ndarray, i: int) -> np.ndarray:
    """∇ of (Σ max(θ, 0))² / 2, or of Σ (θ² / 2 + θ)."""
    return np.maximum(theta, 0).sum() * (theta > 0) if i else theta + 1


def test_at_a_kink_a_one_sided_answer_is_not_rejected_and_zeros_are_not_accepted() -> None:
    theta = np.array([0.0, 1.0, 2.0])
    on = theta > 0
    one_sided = [[on * (on @ (theta + 1)), on * theta.sum()]]
    verdict = check(relu_gradient, theta, {"hvp": one_sided})
    assert verdict.agrees is None
    assert "kink" in str(verdict)
    assert check(relu_gradient, theta, {"bracket": np.zeros(3)}).agrees is None
    away = np.array([0.1, 1.0, 2.0])
    right = [[np.full(3, (away + 1).sum()), np.full(3, away.sum())]]
    assert check(relu_gradient, away, {"hvp": right}).agrees
    assert check(relu_gradient, away, {"bracket": np.zeros(3)}).agrees is False


def test_a_gradient_that_draws_random_numbers_is_told_from_a_wrong_answer() -> None:
    rng, n = np.random.default_rng(0), Network()

    def gradient(theta: Arrays, i: int) -> Arrays:
        return {name: g * rng.binomial(1, 0.5, g.shape) for name, g in n.gradient(theta, i).items()}

    verdict = check(gradient, n.theta, {"bracket": n.bracket})
    assert verdict.agrees is None
    assert "two calls of gradient(theta, " in str(verdict)
    assert ".eval()" in str(verdict)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda h, d, g: h, None),
        (lambda h, d, g: h + 1e-3 * d, "damping"),
        (lambda h, d, g: h / np.linalg.norm(d), "normalised-direction"),
        (lambda h, d, g: h + g, "gradients-add-up"),
        (lambda h, d, g: -3 * h, "factor"),
    ],
)
def test_a_product_is_checked_and_its_bug_is_named(change: Callable[..., Any], name: str | None) -> None:
    rng = np.random.default_rng(0)
    a, theta, d = rng.standard_normal((5, 5)), rng.standard_normal(5), rng.standard_normal(5)

    def gradient(theta: np.ndarray) -> np.ndarray:
        return a.T @ np.tanh(a @ theta)

    right = a.T @ ((1 - np.tanh(a @ theta) ** 2) * (a @ d))
    candidate = change(right, d, gradient(theta))
    verdict = check_hvp(gradient, theta, d, candidate)
    assert verdict.agrees is (name is None)
    assert [bug.name for bug in verdict.diagnosis] == ([name] if name else [])
    assert name != "damping" or "H d + 0.001 d" in verdict.diagnosis[0].explains
    assert check_hvp(gradient, theta, d, lambda theta, d: candidate).agrees is (name is None)


def test_assert_brackets_raises_with_the_verdict_as_its_message() -> None:
    n = Network()
    lie_ref.assert_brackets(n.gradient, n.theta, {"bracket": n.bracket}, PAIRS)
    with pytest.raises(AssertionError, match=r"(?s)DISAGREES.*sign-swapped"):
        lie_ref.assert_brackets(n.gradient, n.theta, {"bracket": BUGS["sign-swapped"](n, 0, 1)})


def test_logit_changes_need_the_logits() -> None:
    n = Network()
    with pytest.raises(InputError, match="logit_delta: expected logits="):
        check(n.gradient, n.theta, n.answers)


def test_a_candidate_too_large_to_diagnose_says_how_to_get_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    n = Network()
    monkeypatch.setattr(verdict, "DIAGNOSED", 20)
    wrong = {"bracket": lambda theta, i, j: n.bracket(theta, j, i)}
    found = check(n.gradient, n.theta, wrong)
    assert (found.agrees, found.diagnosis) == (False, ())
    assert "51 numbers are too many to name the bug. Compare fewer tensors or pairs.\n" in str(found)
    named = check(n.gradient, n.theta, wrong, tensors=["2.bias"]).diagnosis
    assert "sign-swapped" in [bug.name for bug in named]


def test_a_long_check_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    n = Network()
    monkeypatch.setattr(question, "PATIENCE", 0.0)
    check(n.gradient, n.theta, {"bracket": lambda theta, i, j: n.bracket(theta, j, i)})
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("derivatives by differences  2/2") for line in lines)
    assert any(line.startswith("gradients to name the bug  ") for line in lines)


def test_an_error_in_a_single_number_is_not_called_rounding() -> None:
    a = np.random.default_rng(0).standard_normal((2, 100))
    theta, one = np.linspace(0.5, 2, 100), np.eye(100)[3]

    def wrong(theta: np.ndarray, i: int, d: np.ndarray) -> np.ndarray:
        h = 3 * a[i] * theta**2 * d
        return h + 1e-5 * float(np.linalg.norm(h)) * one

    found = check(lambda theta, i: a[i] * theta**3, theta, {"hvp": wrong})
    assert (found.agrees, found.diagnosis) == (False, ())


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("dtype", "offsets"), [(np.float64, (1.0, 1e3, 1e6)), (np.float32, (1.0, 1e3, 1e5))])
def test_a_tensor_that_is_much_larger_than_the_others_does_not_hide_them(
    flat: bool, dtype: Any, offsets: tuple[float, ...]
) -> None:
    """L_i = (c tanh(w · x_i) − 1)² / 2, whose tanh is saturated where w has the size of the offset."""
    x = np.array([[1.0, -0.5, 2.0], [0.3, 1.5, -1.0]])

    def parts(t: Any) -> list[np.ndarray]:
        return [a.astype(float) for a in ([t[:3], t[3:4]] if flat else [t["w"], t["c"]])]

    def joined(t: Any, w: np.ndarray, c: float) -> Any:
        arrays = {"w": w.astype(dtype), "c": np.array([c], dtype), "offset": np.zeros(1, dtype)}
        return np.concatenate([*arrays.values()]) if flat else arrays

    def gradient(t: Any, i: int) -> Any:
        w, (c,) = parts(t)
        z = np.tanh(w @ x[i])
        return joined(t, (c * z - 1) * c * (1 - z * z) * x[i], (c * z - 1) * z)

    def hvp(t: Any, i: int, d: Any, w_part: float = 1.0) -> Any:
        (w, (c,)), (dw, (dc,)) = parts(t), parts(d)
        z = np.tanh(w @ x[i])
        s, r = 1 - z * z, c * z - 1
        dz = s * (dw @ x[i])
        dr = dc * z + c * dz
        return joined(t, w_part * (dr * c * s + r * dc * s - 2 * r * c * z * dz) * x[i], dr * z + r * dz)

    for offset in offsets:
        theta = joined(None, np.array([0.2, -0.4, 0.1]), 0.5)
        (theta if flat else theta["offset"])[-1] = offset
        right = check(gradient, theta, {"hvp": hvp})
        assert right.agrees is not False
        assert check(gradient, theta, {"hvp": lambda *given: hvp(*given, w_part=0.0)}).agrees is not True
        assert dtype == np.float32 or right.decided > 9


def test_a_tensor_of_zeros_is_seen_beside_a_large_one() -> None:
    """L_i = (tanh(w · x_i + b) / 2 − 1)² / 2 + 1e-6 T² / 2, with w = 0 and a large T."""
    x, bias = np.array([[1.0, -0.5, 2.0], [0.3, 1.5, -1.0]]), 0.3
    theta = {"T": np.array([1e5]), "w": np.zeros(3)}

    def gradient(t: Any, i: int) -> Any:
        z = np.tanh(t["w"] @ x[i] + bias)
        return {"T": 1e-6 * t["T"], "w": (z / 2 - 1) / 2 * (1 - z * z) * x[i]}

    def hvp(t: Any, i: int, d: Any, w_part: float = 1.0) -> Any:
        z = np.tanh(t["w"] @ x[i] + bias)
        s = 1 - z * z
        slope = s * s / 4 - (z / 2 - 1) * z * s
        return {"T": 1e-6 * d["T"], "w": w_part * slope * (d["w"] @ x[i]) * x[i]}

    right = check(gradient, theta, {"hvp": hvp})
    assert right.agrees
    assert right.decided > 11
    assert check(gradient, theta, {"hvp": lambda *given: hvp(*given, w_part=0.0)}).agrees is False


def test_a_product_that_is_a_little_wrong_in_no_pattern_has_no_name() -> None:
    rng = np.random.default_rng(0)
    theta, d = rng.normal(size=(2, 50))
    wrong = 3 * theta**2 * d * (1 + 0.02 * rng.normal(size=50))
    verdict = check_hvp(lambda t: t**3, theta, d, wrong)
    assert (verdict.agrees, verdict.diagnosis) == (False, ())
    assert "which would tell more" not in str(verdict)


@pytest.mark.parametrize("loss", [1e-3, 1e-5, 1e-7])
def test_a_network_that_is_sure_of_its_examples_is_decided(loss: float) -> None:
    """Of a softmax regression: the gradient (p − y) xᵀ has the rounding errors of p, which are large beside 1 − p."""
    labels = [0, 2]
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, logits = rng.standard_normal((2, 6)), 0.3 * rng.standard_normal((2, 4))
        logits[[0, 1], labels] = np.log(3 / loss)
        theta = (np.linalg.pinv(x) @ logits).T

        def probabilities(theta: np.ndarray, i: int, x: np.ndarray = x) -> np.ndarray:
            p = np.exp(theta @ x[i] - (theta @ x[i]).max())
            return p / p.sum()

        def gradient(theta: np.ndarray, i: int, x: np.ndarray = x, p: Any = probabilities) -> np.ndarray:
            return np.outer(p(theta, i) - np.eye(4)[labels[i]], x[i])

        def hvp(theta: np.ndarray, i: int, d: np.ndarray, x: np.ndarray = x, of: Any = probabilities) -> np.ndarray:
            p, z = of(theta, i), d @ x[i]
            return np.outer(p * ((z[:, None] - z) @ p), x[i])  # without the cancellation in z − p · z

        assert check(gradient, theta, {"hvp": hvp}).agrees
        assert check(gradient, theta, {"hvp": lambda *given, h=hvp: 1.001 * h(*given)}).agrees is False


@pytest.mark.parametrize("theta", [0.03, 0.123])
def test_a_number_on_which_a_gradient_depends_little_does_not_make_it_imprecise(theta: float) -> None:
    """cos is the same at 0.03 and 8 rounding errors beside it, but it is not computed in float32."""
    for factor in (1.0, 1.001):
        found = check_hvp(np.cos, np.array(theta), np.array(1.0), np.array(-factor * np.sin(theta)))
        assert found.agrees is (factor == 1)
        assert found.decided > 8


def test_a_sample_of_a_large_embedding_sees_the_few_rows_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (extrapolation, problem):
        monkeypatch.setattr(module, "KEPT", 10)
    monkeypatch.setattr(extrapolation, "SAMPLE", 40)
    theta, words = np.random.default_rng(0).standard_normal((5000, 4)), [[7, 4321], [7, 300]]

    def gradient(theta: np.ndarray, i: int) -> np.ndarray:
        """Of L_i = Σ sin(the words' sum)."""
        g = np.zeros_like(theta)
        g[words[i]] = np.cos(theta[words[i]].sum(axis=0))
        return g

    def hvp(theta: np.ndarray, i: int, d: np.ndarray) -> np.ndarray:
        h = np.zeros_like(theta)
        h[words[i]] = -np.sin(theta[words[i]].sum(axis=0)) * d[words[i]].sum(axis=0)
        return h

    right = check(gradient, theta, {"hvp": hvp})
    assert right.agrees
    assert right.decided > 9
    assert check(gradient, theta, {"hvp": lambda *given: 1.0001 * hvp(*given)}).agrees is False


def test_a_part_that_is_computed_in_float32_is_not_overlooked_beside_one_in_float64() -> None:
    """A network whose loss is computed in float32, and weight decay, which is added in float64."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, theta = rng.standard_normal((2, 20, 6)), rng.standard_normal(6)

        def slope(t: np.ndarray, i: int, x: np.ndarray = x, dtype: Any = np.float32) -> np.ndarray:
            """Of the mean of sin(x · θ)² / 2."""
            x, z = x[i].astype(dtype), x[i].astype(dtype) @ t.astype(dtype)
            return x.T @ (np.sin(z) * np.cos(z)) / dtype(20)

        def hvp(t: np.ndarray, i: int, d: np.ndarray, x: np.ndarray = x) -> np.ndarray:
            return x[i].T @ (np.cos(2 * (x[i] @ t)) * (x[i] @ d)) / 20 + 0.01 * d

        def gradient(t: np.ndarray, i: int, slope: Any = slope) -> np.ndarray:
            return slope(t, i) + 0.01 * t

        assert check(gradient, theta, {"hvp": hvp}).agrees
        assert check(gradient, theta, {"hvp": lambda t, i, d: 0.01 * d}).agrees is False


@pytest.mark.parametrize("error", [ValueError, ZeroDivisionError])
def test_steps_that_leave_the_domain_of_the_gradient_are_made_shorter(error: type[Exception]) -> None:
    """L_i = log σ + (x_i − μ)² / 2σ², which its author refuses to compute for σ ≤ 0."""
    theta, x = {"mu": np.array([5.0]), "sigma": np.array([0.02])}, [4.99, 5.03]

    def gradient(t: Any, i: int) -> Any:
        if (s := t["sigma"]) <= 0:
            raise error("sigma: expected a positive number")
        r = (t["mu"] - x[i]) / s
        return {"mu": r / s, "sigma": (1 - r * r) / s}

    def hvp(t: Any, i: int, d: Any) -> Any:
        s, r = t["sigma"], (t["mu"] - x[i]) / t["sigma"]
        mixed = -2 * r / s**2
        both = d["mu"] / s**2 + mixed * d["sigma"], mixed * d["mu"] + (3 * r * r - 1) / s**2 * d["sigma"]
        return {"mu": both[0], "sigma": both[1]}

    right = check(gradient, theta, {"hvp": hvp})
    assert right.agrees
    assert right.decided > 9
    with pytest.raises(error, match=r"^sigma: expected a positive number$"):
        check(gradient, theta | {"sigma": -theta["sigma"]}, {"hvp": hvp})


def test_a_sample_sees_what_is_zero_at_theta_but_not_along_the_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedding E behind a head h of zeros: L_i = −log σ(h · tanh(E_w) + 1/2) for a word w."""
    for module in (extrapolation, problem):
        monkeypatch.setattr(module, "KEPT", 10)
    monkeypatch.setattr(extrapolation, "SAMPLE", 40)
    theta, words = {"E": np.random.default_rng(0).standard_normal((5000, 4)), "h": np.zeros(4)}, [4321, 300]

    def gradient(t: Any, i: int) -> Any:
        g, m = np.zeros_like(t["E"]), np.tanh(t["E"][words[i]])
        error = -1 / (1 + np.exp(t["h"] @ m + 0.5))
        g[words[i]] = error * t["h"] * (1 - m * m)
        return {"E": g, "h": error * m}

    def hvp(t: Any, i: int, d: Any) -> Any:
        """Where h is 0."""
        h, m = np.zeros_like(t["E"]), np.tanh(t["E"][words[i]])
        error = -1 / (1 + np.exp(0.5))
        h[words[i]] = error * d["h"] * (1 - m * m)
        return {"E": h, "h": -error * (1 + error) * (d["h"] @ m) * m + error * (1 - m * m) * d["E"][words[i]]}

    right = check(gradient, theta, {"hvp": hvp})
    assert right.agrees
    assert right.decided > 9
    assert check(gradient, theta, {"hvp": lambda *given: hvp(*given) | {"E": 0 * theta["E"]}}).agrees is False


@pytest.mark.parametrize(("precision", "agrees"), [(np.float32, True), (np.float16, None)])
def test_a_gradient_that_is_computed_in_a_lower_precision_than_it_shows_is_known(precision: Any, agrees: Any) -> None:
    rng = np.random.default_rng(0)
    a, theta = rng.standard_normal((2, 50, 50)) / 7, rng.standard_normal(50)

    def gradient(theta: np.ndarray, i: int) -> np.ndarray:
        low = a[i].astype(precision)
        return (low.T @ np.tanh(low @ theta.astype(precision))).astype(float)

    found = check(gradient, theta, {"hvp": lambda t, i, d: a[i].T @ ((1 - np.tanh(a[i] @ t) ** 2) * (a[i] @ d))})
    assert found.agrees is agrees
    assert agrees or "because of rounding in float16" in str(found)
    assert agrees or "To decide more, use gradients computed in float64, or" in str(found)
