"""Calls of `check` and `check_hvp` as users of PyTorch and JAX write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from lie_ref import check, check_hvp
from lie_ref.machine.errors import InputError

Form = Any
Function = Callable[..., Any]
ALONE = np.array([1.0, 2.0, -0.5])


def field(x: Any, i: int) -> Any:
    """Field 0 is x³ and field 1 is x, for each number x: the gradients of x⁴ / 4 and x² / 2."""
    return x ** (3 - 2 * i)


def product(x: Any, i: int, d: Any) -> Any:
    return (1 if i else 3 * x**2) * d


def bracket(x: Any, i: int, j: int) -> Any:
    return 2 * (i - j) * x**3


RIGHT = {"grad": field, "hvp": product, "bracket": bracket}


def refused(message: str, function: Function, *arguments: Any) -> None:
    """Assert that a call is refused in one line, which begins with this pattern."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert re.match(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def torch() -> ModuleType:
    return pytest.importorskip("torch")


THETAS: dict[str, Function] = {
    "tensor": lambda torch, t: t,
    "leaf": lambda torch, t: t.requires_grad_(),
    "no leaf": lambda torch, t: t.requires_grad_() * 1,
    "frozen parameter": lambda torch, t: torch.nn.Parameter(t, requires_grad=False),
    "tensor without axes": lambda torch, t: t[1],
    "strides": lambda torch, t: t.repeat(2)[::2],
    "expanded": lambda torch, t: t[:1].expand(3),
    "sparse": lambda torch, t: t.to_sparse(),
    "float32": lambda torch, t: t.float(),
    "inference mode": lambda torch, t: torch.inference_mode()(t.clone)(),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", THETAS)
def test_tensors_come_to_the_functions_like_theta(name: str, torch: ModuleType) -> None:
    theta, kinds = THETAS[name](torch, torch.tensor(ALONE)), set()

    def gradient(point: Any, i: int) -> Any:
        kinds.add((point.dtype, point.requires_grad, point.shape))
        return field(point, i)  # which may be attached to a graph

    assert check(gradient, theta, RIGHT).agrees
    assert kinds == {(theta.dtype, theta.requires_grad, theta.shape)}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda torch, net: net[0], r"expected .*got Linear.*named_parameters\(\)"),
        (lambda torch, net: net, r"expected .*got Sequential.*named_parameters\(\)"),
        (lambda torch, net: torch.nn.ParameterDict({"w": net[0].weight}), "expected .*got ParameterDict"),
        (lambda torch, net: net.parameters(), "expected .*got generator"),
        (lambda torch, net: list(net.named_parameters()), "'0.0': expected .*got (str|dtype <U8)"),
        (lambda torch, net: torch.nn.BatchNorm1d(3).state_dict(), "'num_batches_tracked': expected .*got dtype int64"),
        (lambda torch, net: torch.ones(2).bfloat16(), "expected float32 or float64, got torch.bfloat16"),
        (lambda torch, net: torch.ones(2).cfloat(), "expected .*got dtype complex64"),
        (lambda torch, net: torch.ones(2).to(torch.float8_e4m3fn), "expected .*got .*float8"),
        (lambda torch, net: {"w": torch.ones(2, device="meta")}, "'w': expected .*got"),
        (lambda torch, net: torch.nn.UninitializedParameter(), "expected .*got .*UninitializedParameter"),
        (lambda torch, net: torch.ones(2) / 0, "expected finite numbers, got nan or inf"),
    ],
)
def test_a_theta_of_pytorch_that_does_not_fit(make: Function, message: str, torch: ModuleType) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    refused(f"theta: {message}", check, field, make(torch, net), RIGHT)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.to("meta"), "expected .*got"),
        (lambda g: g.long(), "expected .*got dtype int64"),
        (lambda g: g.cfloat(), "expected .*got dtype complex64"),
        (lambda g: g[None], r"expected shape \(3,\), got \(1, 3\)"),
        (lambda g: g.sum(), r"expected shape \(3,\), got \(\)"),  # a loss
        (lambda g: g.grad, "expected .*got None"),  # before `backward`
    ],
)
def test_a_tensor_that_does_not_fit(change: Function, message: str, torch: ModuleType) -> None:
    theta, wrong = torch.tensor(ALONE), lambda t, i: change(field(t, i))
    refused(rf"gradient\(theta, 0\): {message}", check, wrong, theta, RIGHT)
    refused(rf"candidate: grad\(theta, 0\): {message}", check, field, theta, {"grad": wrong})


@pytest.mark.torch
@pytest.mark.parametrize("form", ["list", "tuple", "named parameters", "state_dict"])
@pytest.mark.parametrize("load", ["load_state_dict", "copy_"])
def test_a_gradient_may_load_theta_into_the_network_that_theta_is(form: str, load: str, torch: ModuleType) -> None:
    net = torch.nn.Linear(3, 2).double()
    names, parameters = list(net.state_dict()), list(net.parameters())
    for p in parameters:
        p.data = torch.linspace(-1, 1, p.numel(), dtype=p.dtype).reshape(p.shape)
    before = [p.detach().clone() for p in parameters]
    named = {"named parameters": dict(net.named_parameters()), "state_dict": net.state_dict()}
    theta = {"list": parameters, "tuple": tuple(parameters), **named}[form]

    def gradient(point: Form, i: int = 0) -> Form:
        values = list(point.values() if isinstance(point, dict) else point)
        if load == "copy_":
            with torch.no_grad():
                for p, value in zip(parameters, values, strict=True):
                    p.copy_(value)
        else:
            net.load_state_dict(dict(zip(names, values, strict=True)))
        net.zero_grad(set_to_none=False)  # each call returns the same memory
        sum((p ** (4 - 2 * i)).sum() / (4 - 2 * i) for p in parameters).backward()
        return [p.grad for p in parameters]

    def differences(point: Form, direction: Form) -> Form:
        ends = []
        for step in (1e-5, -1e-5):
            moved = [t.detach() + step * d for t, d in zip(point, direction, strict=True)]
            ends.append([g.clone() for g in gradient(moved)])
        return [(a - b) / 2e-5 for a, b in zip(*ends, strict=True)]

    assert check(gradient, theta, {"grad": gradient, "bracket": [bracket(p, 0, 1) for p in before]}).agrees
    assert all(map(torch.equal, parameters, before))
    verdict = check_hvp(gradient, parameters, [torch.ones_like(p) for p in before], differences)
    assert all(map(torch.equal, parameters, before))
    assert verdict.quantities["hvp"].digits > 5


@pytest.mark.torch
def test_the_tuple_of_autograd_and_none_for_an_unused_parameter_fit_a_dict(torch: ModuleType) -> None:
    theta = {"w": torch.tensor(ALONE), "empty": torch.tensor(ALONE[:0]), "unused": torch.tensor(ALONE)}

    def gradient(point: Form, i: int) -> Form:
        leaves = [value.requires_grad_() for value in point.values()]
        loss = (leaves[0] ** (4 - 2 * i)).sum() / (4 - 2 * i) + leaves[1].sum()
        return torch.autograd.grad(loss, leaves, allow_unused=True)

    right = {**theta, "w": bracket(theta["w"], 0, 1), "unused": None}
    assert check(gradient, theta, {"grad": gradient, "bracket": right}).agrees


@pytest.mark.torch
def test_sparse_gradients_of_an_embedding(torch: ModuleType) -> None:
    words = torch.tensor([[0, 1, 1], [1, 2, 5]])

    def gradient(theta: Form, i: int, sparse: bool = True) -> Form:
        weight = theta["weight"].detach().requires_grad_()
        embedded = torch.nn.functional.embedding(words[i], weight, sparse=sparse)
        return {"weight": torch.autograd.grad((embedded**4).sum() / 4, weight)[0]}

    theta = {"weight": torch.arange(1.0, 13.0, dtype=torch.float64).reshape(6, 2)}
    assert gradient(theta, 0)["weight"].is_sparse
    assert check(gradient, theta, {"grad": lambda t, i: gradient(t, i, sparse=False)}).agrees
    assert check(gradient, theta, {"grad": [gradient(theta, i) for i in range(2)]}).agrees


class OnGpu:
    """A tensor as it is on a GPU: its numbers must be copied to the CPU before NumPy reads them."""

    requires_grad, layout = False, "torch.strided"

    def __init__(self, tensor: Any) -> None:
        self.tensor, self.dtype, self.shape = tensor, tensor.dtype, tensor.shape

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def detach(self) -> OnGpu:
        return self

    def cpu(self) -> Any:
        return self.tensor

    def new_tensor(self, a: np.ndarray) -> OnGpu:
        return OnGpu(self.tensor.new_tensor(a))

    def requires_grad_(self, on: bool) -> OnGpu:
        return self


@pytest.mark.torch
def test_tensors_on_a_gpu(torch: ModuleType) -> None:
    values = {"bracket": OnGpu(torch.tensor(bracket(ALONE, 0, 1)))}
    assert check(lambda t, i: OnGpu(field(t.tensor, i)), OnGpu(torch.tensor(ALONE)), values).agrees


@pytest.mark.torch
@pytest.mark.parametrize("quantity", RIGHT)
def test_with_dropout_nothing_is_decided_and_the_text_says_why(quantity: str, torch: ModuleType) -> None:
    dropout, theta = torch.nn.Dropout(0.5), torch.tensor(ALONE).repeat(10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        verdict = check(lambda t, i: field(dropout(t), i), theta, {quantity: RIGHT[quantity]})
    assert verdict.agrees is None
    assert re.search(r"CANNOT TELL.*two calls of gradient\(theta, \d\) differ", str(verdict)), str(verdict)
    assert ".eval()" in str(verdict)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_of_narrow_gradients_at_a_wide_theta_no_more_is_decided_than_they_know(dtype: str, torch: ModuleType) -> None:
    theta = torch.tensor(ALONE / 3)

    def narrow(t: Any, i: int) -> Any:
        return field(t, i).to(getattr(torch, dtype))

    assert check(narrow, theta, {"bracket": bracket}).agrees is not False
    assert check(narrow, theta, {"bracket": torch.zeros_like(theta)}).agrees is not True


@pytest.mark.torch
def test_float16_decides_too_little(torch: ModuleType) -> None:
    verdict = check(field, torch.tensor(ALONE).half(), {"bracket": bracket})
    assert verdict.agrees is None
    assert "theta in float64" in verdict.advice


class Layer(NamedTuple):
    w: Any
    b: Any


@pytest.fixture
def jax() -> Any:
    return pytest.importorskip("jax")


def fields_of_trees(jax: ModuleType) -> tuple[Function, Function, dict[str, Function]]:
    """A loss of a tree and an example, its compiled gradient, and right answers."""

    def loss(theta: Form, i: int) -> Any:
        return sum(jax.numpy.sum(x ** (4 - 2 * i)) / (4 - 2 * i) for x in jax.tree.leaves(theta))

    def hvp(theta: Form, i: int, direction: Form) -> Form:
        return jax.tree.map(lambda x, d: product(x, i, d), theta, direction)

    def brackets(theta: Form, i: int, j: int) -> Form:
        return jax.tree.map(lambda x: bracket(x, i, j), theta)

    compiled = jax.jit(jax.grad(loss), static_argnums=1)
    return loss, compiled, {"grad": jax.grad(loss), "hvp": hvp, "bracket": jax.jit(brackets)}


W, B = np.array([[0.4, -0.2], [0.1, 0.5]]), np.array([0.3, -0.6])
TREES = {
    "nested dict": {"z": {"w": W, "b": B}, "a": np.array(0.7)},
    "named tuples": (Layer(W, B), Layer(B, np.array(0.7))),
    "list": [W, [B]],
    "empty places": {"w": W, "none": None, "empty": (), "b": B},
    "no numbers": {"w": W, "b": np.zeros((0, 2))},
}


@pytest.mark.jax
@pytest.mark.parametrize("name", TREES)
def test_trees_of_jax_with_and_without_jit(name: str, jax: ModuleType) -> None:
    with jax.enable_x64(True):
        theta = jax.tree.map(jax.numpy.asarray, TREES[name])
        _, gradient, right = fields_of_trees(jax)
        assert check(gradient, theta, right).agrees
        ones = jax.tree.map(jax.numpy.ones_like, theta)
        assert check_hvp(lambda t: gradient(t, 0), theta, ones, lambda t, d: right["hvp"](t, 0, d)).agrees


@pytest.mark.jax
def test_jax_in_float32(jax: ModuleType) -> None:
    with jax.enable_x64(False):
        _, gradient, right = fields_of_trees(jax)
        assert check(gradient, jax.tree.map(jax.numpy.asarray, Layer(W, B)), right).agrees
        for quantity in ("hvp", "bracket"):  # theta of NumPy is in float64, and JAX makes float32 of it
            assert check(gradient, Layer(W, B), {quantity: right[quantity]}).agrees is not False
            zeros = {quantity: lambda theta, *_: jax.tree.map(np.zeros_like, theta)}
            assert check(gradient, Layer(W, B), zeros).agrees is not True


@pytest.mark.jax
def test_calls_of_jax_that_do_not_fit(jax: ModuleType) -> None:
    jnp, (loss, gradient, right) = jax.numpy, fields_of_trees(jax)
    theta = Layer(jnp.asarray(W), jnp.asarray(B))
    for wrong in (jax.value_and_grad(loss), lambda t, i: (gradient(t, i), {"accuracy": 1.0})):
        refused(r"gradient\(theta, 0\): expected the form of theta.*got .*tuple", check, wrong, theta, right)
    for leaf, came in (
        (jnp.array([1, 2]), "dtype int(32|64)"),
        (jnp.ones(2, jnp.bfloat16), "bfloat16"),
        (jax.random.key(0), "PRNGKeyArray"),
        (jax.ShapeDtypeStruct((2,), jnp.float32), "ShapeDtypeStruct"),
    ):
        refused(f"theta: '(1|b)': expected .*got {came}", check, gradient, Layer(theta.w, leaf), right)
    refused("theta: '(0|w)': expected .*got .*Tracer", jax.jit(lambda t: check(gradient, t, right).decided), theta)
