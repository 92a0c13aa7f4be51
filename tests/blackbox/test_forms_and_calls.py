"""Calls of `check` and `check_hvp` as users write them: unusual ones work, and wrong ones are refused in one line."""

from __future__ import annotations

import io
import re
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from lie_ref import assert_brackets, check, check_hvp
from lie_ref.machine.errors import InputError

Form = Any
Function = Callable[..., Any]
W, B = np.array([[1.0, 2.0, 0.5]]), np.array([0.5, -0.3])
THETA = {"w": W, "b": B}
ALONE = np.array([1.0, 2.0, -0.5])


class Named(NamedTuple):
    w: Any
    b: Any


class Mine(Exception):
    """An exception of the user's own."""


def mapped(f: Function, *forms: Form) -> Form:
    """f of the arrays of forms; a mapping becomes a dict."""
    first = forms[0]
    if isinstance(first, Mapping):
        return {key: mapped(f, *(form[key] for form in forms)) for key in first}
    if isinstance(first, list | tuple):
        inside = [mapped(f, *parts) for parts in zip(*forms, strict=True)]
        return first._make(inside) if hasattr(first, "_make") else type(first)(inside)
    return None if first is None else f(*forms)


def power(i: int) -> int:
    return i % 3 + 1


def gradient(theta: Form, i: int) -> Form:
    """Field i is x, x² or x³ for each number x."""
    return mapped(lambda x: np.asarray(x) ** power(i), theta)


def hvp(theta: Form, i: int, direction: Form) -> Form:
    return mapped(lambda x, d: power(i) * x ** (power(i) - 1) * d, theta, direction)


def bracket(theta: Form, i: int, j: int) -> Form:
    return mapped(lambda x: (power(j) - power(i)) * x ** (power(i) + power(j) - 1.0), theta)


RIGHT = {"grad": gradient, "hvp": hvp, "bracket": bracket}
CUBE = partial(gradient, i=2)  # for `check_hvp`
GRADS, BRACKET = [gradient(THETA, 0), gradient(THETA, 1)], bracket(THETA, 0, 1)
PRODUCTS = [hvp(THETA, 1, GRADS[0]), hvp(THETA, 0, GRADS[1])]


def stacked(*forms: Form) -> Form:
    return mapped(lambda *arrays: np.stack(arrays), *forms)


def changed(change: Function) -> Function:
    """A gradient that is changed before it is returned."""
    return lambda theta, i: change(gradient(theta, i))


def refused(message: str, function: Function, *arguments: Any, **options: Any) -> None:
    """Assert that a call is refused in one line, which begins with this pattern."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    assert re.match(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


FORMS = {
    "dict": THETA,
    "OrderedDict": OrderedDict(THETA),
    "defaultdict": defaultdict(list, THETA),
    "UserDict": UserDict(THETA),
    "read-only mapping": MappingProxyType(THETA),
    "named tuple": Named(W, B),
    "nested": {"layers": [(W, Named(B, W + 1)), {}], "scale": B},
    "empty places, as in JAX": {"w": W, "none": None, "b": B},
    "numbers for names": {0: W, 1: B},
    "Python numbers": [1.5, 2.0],
    "one Python number": 1.5,
    "one NumPy number": np.float64(1.5),
    "a parameter without axes": {"scale": np.array(2.0), "b": B},
    "a parameter without numbers": {"w": W, "empty": np.zeros((0, 3))},
    "strides": np.arange(1.0, 7.0).reshape(2, 3)[:, ::2].T,
    "big-endian": ALONE.astype(">f8"),
    "two precisions": {"w": W.astype(np.float32), "b": B},
}


@pytest.mark.parametrize("name", FORMS)
def test_theta_comes_to_each_function_in_its_form(name: str) -> None:
    theta, kinds = FORMS[name], set()

    def seen(function: Function) -> Function:
        return lambda point, *rest: (kinds.add(type(point)), function(point, *rest))[1]

    assert check(seen(gradient), theta, {q: seen(f) for q, f in RIGHT.items()}, [(0, 1), (2, 0)]).agrees
    assert kinds == {type(theta) if isinstance(theta, Mapping | list | tuple) else np.ndarray}


def test_the_names_of_a_named_tuple_are_those_of_its_fields() -> None:
    assert check(gradient, Named(W, B), {"bracket/w": BRACKET["w"], "bracket/b": BRACKET["b"]}, tensors=["w"]).agrees


def test_what_numpy_load_returns_is_a_theta_and_a_candidate() -> None:
    files = io.BytesIO(), io.BytesIO()
    np.savez(files[0], **THETA)
    np.savez(files[1], **{f"bracket/{name}": x for name, x in BRACKET.items()})
    theta, candidate = (np.load(io.BytesIO(file.getvalue())) for file in files)
    assert check(gradient, THETA, candidate).agrees
    assert check(gradient, theta, candidate).agrees


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        ({}, "expected .*got none"),
        (None, "expected .*got none"),
        (np.zeros(0), "expected .*got none"),
        ("theta", "expected .*floating.*got str 'theta'"),
        (np.array([1, 2]), "expected .*floating.*got dtype int64"),
        ({"w": W, "n": 3}, "'n': expected .*floating.*got dtype int64"),
        (B + 1j, "expected .*floating.*got dtype complex128"),
        (np.array([[None, 1.0], [1.0, 2.0]]), "expected .*floating.*got (ndarray|dtype object)"),
        ((b for b in B), "expected .*got generator"),
        ({0: W, "0": B}, "'0': expected one tensor of this name, got two"),
        ({"w": np.ma.masked_less(B, 0)}, "'w': expected an array without a mask, got a masked one"),
        ({"w": np.array([1.0, np.nan])}, "'w': expected finite numbers, got nan or inf"),
        (np.array([1.0, np.inf]), "expected finite numbers, got nan or inf"),
    ],
)
def test_a_theta_that_does_not_fit(theta: Form, message: str) -> None:
    refused(f"theta: {message}", check, gradient, theta, {"bracket": bracket})


def in_place(theta: Form, i: int) -> Form:
    for x in theta.values():
        np.power(x, power(i), out=x)
    return theta


def in_one_buffer(theta: Form, i: int, buffer: Form = mapped(np.empty_like, THETA)) -> Form:  # noqa: B008 -- one
    for name, x in theta.items():
        np.power(x, power(i), out=buffer[name])
    return buffer


UNUSUAL = [
    changed(lambda g: tuple(g.values())),  # in the order of theta, as torch.autograd.grad returns them
    changed(lambda g: list(g.values())),
    changed(lambda g: dict(reversed(g.items()))),
    changed(MappingProxyType),
    in_place,
    in_one_buffer,
    partial(gradient),
]


@pytest.mark.parametrize("function", UNUSUAL)
def test_an_unusual_gradient_works_and_theta_is_not_changed(function: Function) -> None:
    theta = mapped(np.copy, THETA)
    assert check(function, theta, {**RIGHT, "grad": function}, [(0, 2), (3, 17), (5, 5)]).agrees
    assert mapped(np.array_equal, theta, THETA) == {"w": True, "b": True}


def test_a_product_may_be_computed_in_place() -> None:
    def product(theta: Form, direction: Form) -> Form:
        for name, d in direction.items():
            theta[name] **= 2
            d *= 3 * theta[name]
        return direction

    theta, direction = mapped(np.copy, THETA), mapped(np.copy, GRADS[1])
    assert check_hvp(CUBE, theta, direction, product).agrees
    assert mapped(np.array_equal, [theta, direction], [THETA, GRADS[1]]) == [{"w": True, "b": True}] * 2


def test_none_for_a_parameter_that_is_not_used_is_zero() -> None:
    partly = changed(lambda g: {**g, "b": None})
    assert check(partly, THETA, {"grad": partly, "bracket": {**BRACKET, "b": 0 * B}}).agrees


WRONG_FORMS = [
    (lambda g: {"w": g["w"]}, "'b'.* missing"),
    (lambda g: {**g, "c": B}, "expected the form of theta.*got.*'c'"),
    (lambda g: {"w": g["w"], "B": g["b"]}, "expected the form of theta.*got.*'B'"),
    (lambda g: {**g, "w": g["w"].T}, r"'w': expected shape \(1, 3\), got \(3, 1\)"),
    (lambda g: {**g, "b": g["b"][None]}, r"'b': expected shape \(2,\), got \(1, 2\)"),
    (lambda g: (g["b"], g["w"]), r"'w': expected shape \(1, 3\), got \(2,\)"),
    (lambda g: {**g, "b": np.ones(2, int)}, "'b': expected .*floating.*got dtype int64"),
    (lambda g: {**g, "b": g["b"] + 0j}, "'b': expected .*floating.*got dtype complex128"),
    (lambda g: {**g, "b": g["b"].tolist()}, "'b'.*expected .*got .*list"),
    (lambda g: None, "expected .*got None"),
    (lambda g: 1.0, "expected .*got .*float"),
    (lambda g: "w, b", "expected .*got .*str"),
    (lambda g: np.append(g["w"], g["b"]), "expected .*got .*ndarray"),
    (lambda g: g.values(), "expected .*got .*dict_values"),
    (lambda g: (g["w"],), "expected .*got .*(tuple|1)"),
    (lambda g: (*g.values(), B), "expected .*got .*(tuple|3)"),
    (lambda g: (0.3, g), "expected .*got .*tuple"),  # a loss and its gradient
]


@pytest.mark.parametrize(("change", "message"), WRONG_FORMS)
def test_a_form_that_does_not_fit_is_refused(change: Function, message: str) -> None:
    wrong = change(GRADS[1])
    refused(rf"gradient\(theta, 0\): {message}", check, changed(change), THETA, {"bracket": bracket})
    refused(rf"candidate: bracket\(theta, 0, 1\): {message}", check, gradient, THETA, {"bracket": lambda *_: wrong})
    refused(f"direction: {message}", check_hvp, CUBE, THETA, wrong, THETA)


def test_a_function_that_returns_nothing_is_refused() -> None:
    refused(r"gradient\(theta, 0\): expected .*got None", check, lambda t, i: None, ALONE, {"bracket": bracket})
    refused(r"gradient\(theta, 0\): expected .*got None", check, changed(dict.fromkeys), THETA, {"bracket": bracket})
    refused(r"candidate: grad\(theta, 0\): expected .*got None", check, gradient, ALONE, {"grad": lambda t, i: None})
    refused("direction: expected .*got None", check_hvp, CUBE, ALONE, None, ALONE)
    refused("candidate.*: expected .*got None", check_hvp, CUBE, ALONE, ALONE, None)
    for quantity in ("grad", "hvp", "bracket"):
        refused(f"candidate: {quantity}.*: expected .*got None", check, gradient, ALONE, {quantity: None})


def test_check_hvp_calls_its_arguments_by_their_names() -> None:
    short, broken = {"w": W}, {**THETA, "b": np.array([np.nan, 1.0])}
    refused(r"gradient\(theta\): 'b'.* missing", check_hvp, lambda theta: short, THETA, THETA, THETA)
    refused(r"candidate: 'b'.* missing", check_hvp, CUBE, THETA, THETA, short)
    refused(r"candidate\(theta, direction\): 'b'.* missing", check_hvp, CUBE, THETA, THETA, lambda *_: short)
    refused(r"gradient\(theta\): 'b': expected finite", check_hvp, lambda theta: broken, THETA, THETA, THETA)
    refused(r"direction: 'b': expected finite", check_hvp, CUBE, THETA, broken, THETA)


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    broken = {**THETA, "b": np.array([np.nan, 1.0])}
    refused(r"gradient\(theta, 0\): 'b': expected finite", check, lambda theta, i: broken, THETA, RIGHT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_candidate_that_is_not_finite_is_wrong_and_no_error(value: float) -> None:
    verdict = check(gradient, THETA, {"bracket": {**BRACKET, "b": np.array([value, 1.0])}})
    assert verdict.agrees is False
    assert "has nan or inf, in b of pair (0, 1)" in str(verdict)


ROUNDED = {
    "result": lambda theta, i: (theta ** power(i)).astype(np.float32),
    "argument": lambda theta, i: theta.astype(np.float32) ** power(i),  # as JAX does without jax_enable_x64
    "result, then widened": lambda theta, i: (theta ** power(i)).astype(np.float32).astype(np.float64),
    "argument, then widened": lambda theta, i: theta.astype(np.float32).astype(np.float64) ** power(i),
}


@pytest.mark.parametrize("where", ROUNDED)
def test_of_a_gradient_in_float32_at_a_theta_in_float64_no_more_is_decided_than_it_knows(where: str) -> None:
    for theta in (ALONE, ALONE / 3):
        for quantity, right in RIGHT.items():
            assert check(ROUNDED[where], theta, {quantity: right}).agrees is not False, quantity
            assert check(ROUNDED[where], theta, {quantity: lambda *_: 0 * ALONE}).agrees is not True, quantity
    changes = {"logit_delta": lambda theta, i, j: 2 * theta * bracket(theta, i, j)}
    logits = partial(ROUNDED[where], i=1)
    assert check(gradient, ALONE / 3, changes, logits=logits).agrees is not False
    assert check(gradient, ALONE / 3, {"logit_delta": 0 * ALONE}, logits=logits).agrees is not True


def test_a_float32_theta_with_float64_gradients_is_no_obstacle() -> None:
    theta, wide = ALONE.astype(np.float32), lambda theta, i: gradient(theta.astype(float), i)
    assert check(wide, theta, {"bracket": bracket(theta.astype(float), 0, 1)}).agrees


def test_squares_of_float32_numbers_do_not_underflow() -> None:
    theta, tiny = ALONE.astype(np.float32), np.float32(1e-24) * ALONE.astype(np.float32)
    assert check_hvp(CUBE, theta, tiny, lambda t, d: hvp(t, 2, d)).agrees


@pytest.mark.parametrize("away", [np.nan, np.inf])
def test_of_a_gradient_that_is_finite_only_at_theta_nothing_is_decided(away: float) -> None:
    verdict = check(lambda t, i: np.where(t == ALONE, gradient(t, i), away), ALONE, {"bracket": -7 * ALONE})
    assert verdict.agrees is None, str(verdict)


@pytest.mark.parametrize("size", [1.0, 1e-2, 3e-4])
def test_of_a_gradient_with_random_numbers_nothing_is_decided_and_the_text_says_why(size: float) -> None:
    rng = np.random.default_rng(0)
    verdict = check(lambda t, i: gradient(t, i) * (1 + size * rng.standard_normal(3)), ALONE, {"bracket": bracket})
    assert verdict.agrees is None
    assert re.search(r"CANNOT TELL.*two calls of gradient\(theta, \d\) differ", str(verdict)), str(verdict)
    assert "fixed seed" in verdict.advice


@pytest.mark.parametrize("calls", [0, 1, 2, 4, 7, 12])
def test_a_functions_own_exception_comes_through_and_theta_is_as_before(calls: int) -> None:
    theta, mine, left = ALONE.copy(), Mine("my\nown"), iter(range(calls))

    def fails(point: Form, i: int) -> Form:
        theta[...] = point  # it loads its argument into a network, whose numbers are theta
        if next(left, None) is None:
            raise mine
        return gradient(theta, i)

    with pytest.raises(Mine) as caught:
        check(fails, theta, {"bracket": bracket})
    assert caught.value is mine
    assert np.array_equal(theta, ALONE)


def test_theta_is_as_before_where_the_candidate_loads_its_argument() -> None:
    theta = ALONE.copy()

    def differences(point: Form, i: int, direction: Form) -> Form:
        ends = []
        for step in (1e-4, -1e-4):
            theta[...] = point + step * direction
            ends.append(gradient(theta, i))
        return (ends[0] - ends[1]) / 2e-4

    verdict = check(gradient, theta, {"hvp": differences})
    assert np.array_equal(theta, ALONE)
    assert verdict.quantities["hvp"].digits > 5
    verdict = check_hvp(CUBE, theta, np.ones(3), lambda point, direction: differences(point, 2, direction))
    assert np.array_equal(theta, ALONE)
    assert verdict.quantities["hvp"].digits > 5


@pytest.mark.parametrize("where", ["logits", "candidate", "grad", "hvp", "bracket", "logit_delta"])
def test_the_exceptions_of_other_functions_come_through(where: str) -> None:
    def fails(*arguments: Any) -> None:
        raise Mine

    candidate = fails if where == "candidate" else {"logit_delta" if where == "logits" else where: fails}
    with pytest.raises(Mine):
        check(gradient, THETA, candidate, logits=fails if where == "logits" else lambda theta: theta["w"])


SOME = "expected .*grad, hvp, bracket, logit_delta"


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (None, f"{SOME}, got NoneType"),
        ([BRACKET], f"{SOME}, got list"),
        ("bracket", f"{SOME}, got str"),
        (lambda theta: None, f"{SOME}, got NoneType"),
        (lambda theta: BRACKET, f"'w' is not compared, {SOME}"),
        ({}, f"{SOME}, got none"),
        ({"brackets": bracket}, f"'brackets' is not compared, {SOME}; the nearest to 'brackets' is 'bracket'"),
        ({"bracket": bracket, 0: W}, f"0 is not compared, {SOME}"),
        ({"bracket": bracket, "bracket/w": W}, "expected one 'bracket', got it twice"),
        ({"bracket/w": W}, "bracket: 'b'.* missing"),
        ({"bracket/w": W, "bracket/bias": B}, "bracket: expected the form of theta.*got 'bias'.*nearest.*'b'"),
        ({"bracket/w": W, "bracket/b": [B]}, "bracket.*b.*: expected .*got .*list"),
        ({"bracket": stacked(BRACKET, BRACKET)}, r"bracket: 'w': expected shape .*1, 3\), got \(2, 1, 3\)"),
        ({"bracket": np.float64(1.0)}, "bracket: expected .*got .*float64"),
        ({"bracket": 1.0}, "bracket: expected .*got .*float"),
        ({"bracket": mapped(np.int64, THETA)}, "bracket: 'w': expected .*floating.*got dtype int64"),
        ({"bracket": mapped(lambda x: x + 0j, THETA)}, "bracket: 'w': expected .*floating.*got dtype complex128"),
        ({"bracket": {**BRACKET, "b": np.array([[None], [1]])}}, "bracket: 'b': expected .*floating.*got .*object"),
        ({"bracket": []}, "bracket: expected .*got .*(0|list)"),
        ({"bracket": [BRACKET] * 3}, r"bracket: expected .*got .*(3|list)"),
        ({"grad": GRADS[0]}, r"grad: 'w': expected shape \(2, 1, 3\), got \(1, 3\)"),
        ({"grad": [*GRADS, BRACKET]}, "grad: expected .*got .*(3|list)"),
        ({"hvp": [PRODUCTS, PRODUCTS]}, "hvp.*: expected .*got .*(2|list)"),
        ({"hvp": PRODUCTS[0]}, r"hvp: 'w': expected shape .*2, 1, 3\), got \(1, 3\)"),
        ({"logit_delta": B}, "logit_delta: expected logits="),
    ],
)
def test_a_candidate_that_does_not_fit(candidate: Any, message: str) -> None:
    refused(f"candidate: {message}", check, gradient, THETA, candidate)


@pytest.mark.parametrize(
    ("candidate", "pairs"),
    [
        ({"bracket": BRACKET}, [(0, 1)]),
        ({"bracket": stacked(BRACKET)}, [(0, 1)]),
        ({"bracket": tuple(BRACKET.values())}, [(0, 1)]),
        ({"bracket/w": BRACKET["w"][None], "bracket/b": BRACKET["b"][None]}, [(0, 1)]),
        ({"hvp": PRODUCTS}, [(0, 1)]),
        ({"hvp": stacked(stacked(*PRODUCTS))}, [(0, 1)]),
        (lambda theta: {"grad": GRADS, "bracket": bracket}, [(0, 1)]),
        ({"bracket": [BRACKET, bracket(THETA, 1, 0)]}, [(0, 1), (1, 0)]),
        ({"hvp": [PRODUCTS, PRODUCTS[::-1]], "grad": tuple(GRADS)}, [(0, 1), (1, 0)]),
        (MappingProxyType({"bracket": mapped(np.float32, BRACKET)}), np.array([[0, 1]], np.uint8)),
        ({"grad": [gradient(THETA, 3), gradient(THETA, 17)]}, [(17, 3)]),
        (RIGHT, [[np.int32(0), np.int64(200)], [0, 0], [200, 0]]),
    ],
)
def test_a_candidate_of_any_form(candidate: Any, pairs: Any) -> None:
    assert_brackets(gradient, THETA, candidate, pairs)


NO_PAIRS = [(0, 1), [(0, 1, 2)], [(0, -1)], [(0.0, 1.0)], [], None, 3, "01", [("0", "1")], [(0, 1), (2,)], range(2)]
NO_PAIRS += [[(True, False)], {(0, 1)}, zip([0], [1], strict=True), combinations(range(3), 2), [(0, 2**70)]]


@pytest.mark.parametrize("pairs", [*NO_PAIRS, np.ones((9, 2))])
def test_pairs_that_do_not_fit(pairs: Any) -> None:
    refused("pairs: expected pairs of numbers .*got", check, gradient, THETA, {"bracket": bracket}, pairs)


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (1, 2, 3)])
def test_logits_of_any_shape(shape: tuple[int, ...]) -> None:
    m = np.random.default_rng(0).standard_normal((*shape, 3))
    logits, change = lambda theta: (m * theta["w"]).sum(-1), lambda t, i, j: (m * bracket(t, i, j)["w"]).sum(-1)
    assert check(gradient, THETA, {"logit_delta": change}, logits=logits).agrees
    values = [change(THETA, 0, 1), change(THETA, 2, 0)]
    assert check(gradient, THETA, {"logit_delta": values}, [(0, 1), (2, 0)], logits).agrees
    assert check(gradient, THETA, {"logit_delta": np.stack(values)}, [(0, 1), (2, 0)], logits).agrees


def test_logit_changes_are_of_the_whole_bracket_though_not_all_tensors_are_wanted() -> None:
    candidate = {"logit_delta": lambda t, i, j: bracket(t, i, j)["w"], "bracket": bracket}
    assert check(gradient, THETA, candidate, logits=lambda theta: theta["w"], tensors=["b"]).agrees


@pytest.mark.parametrize(
    ("logits", "change", "message"),
    [
        (W, W, "logits: expected a function, got ndarray"),
        (lambda theta: None, W, r"logits\(theta\): expected .*got None"),
        (lambda theta: np.array([1, 2]), W, r"logits\(theta\): expected .*floating.*got dtype int64"),
        (lambda theta: theta, W, r"logits\(theta\): expected .*got dict"),
        (lambda theta: (theta["w"], theta["b"]), W, r"logits\(theta\): expected .*got tuple"),
        (lambda theta: np.zeros((0, 3)), W, r"logits\(theta\): expected .*got"),
        (lambda theta: theta["w"], np.ones((2, 2)), r"candidate: logit_delta: expected shape .*1, 3\), got \(2, 2\)"),
        (lambda theta: theta["w"], W.astype(int), "candidate: logit_delta: expected .*floating.*got dtype int64"),
        (lambda theta: theta["w"], {"z": W}, "candidate: logit_delta: expected (?!the form of theta).*got .*dict"),
        (lambda theta: theta["w"], [W, W], "candidate: logit_delta: expected (?!the form of theta).*got"),
        (lambda theta: theta["w"], lambda *_: None, r"candidate: logit_delta.*: expected .*got None"),
        (lambda theta: theta["w"], lambda *_: W[0], r"candidate: logit_delta.*: expected shape \(1, 3\), got \(3,\)"),
    ],
)
def test_logits_and_their_changes_that_do_not_fit(logits: Any, change: Any, message: str) -> None:
    refused(message, check, gradient, THETA, {"logit_delta": change}, logits=logits)


@pytest.mark.parametrize("tensors", [["weight"], ["w."], [0], [None], [], "bw", 3])
def test_tensors_that_are_not_there(tensors: Any) -> None:
    refused("tensors: .*", check, gradient, THETA, {"bracket": bracket}, tensors=tensors)


def test_tensors_that_are_wanted_may_come_alone() -> None:
    for tensors in (("w",), {"w"}, iter(["w"])):
        assert check(gradient, THETA, {"bracket/w": BRACKET["w"]}, tensors=tensors).agrees
    nested = {"f1": THETA, "f10": B}
    assert check(gradient, nested, {"bracket": lambda t, i, j: {"f1": BRACKET}}, tensors=["f1"]).agrees


def test_a_direction_of_another_form_comes_to_the_candidate_in_the_form_of_theta() -> None:
    for direction in ((W, B), OrderedDict(b=B, w=W), mapped(np.float32, THETA)):
        assert check_hvp(CUBE, THETA, direction, lambda t, d: hvp(t, 2, d)).agrees
    assert check_hvp(CUBE, THETA, {"w": W, "b": None}, lambda t, d: hvp(t, 2, d)).agrees


def test_along_a_zero_direction_nothing_but_zero_is_right_and_zero_decides_nothing() -> None:
    zero = mapped(np.zeros_like, THETA)
    assert check_hvp(CUBE, THETA, zero, lambda t, d: hvp(t, 2, d)).agrees is None
    assert check_hvp(CUBE, THETA, zero, THETA).agrees is False


@pytest.mark.parametrize("wrong", [lambda g: mapped(np.negative, g), lambda g: {**g, "b": None}, lambda g: THETA])
def test_a_wrong_product_is_rejected(wrong: Function) -> None:
    verdict = check_hvp(CUBE, THETA, GRADS[1], wrong(hvp(THETA, 2, GRADS[1])))
    assert verdict.agrees is False
    assert str(verdict)


def test_check_hvp_needs_a_function() -> None:
    refused("gradient: expected a function, got dict", check_hvp, THETA, THETA, THETA, THETA)
