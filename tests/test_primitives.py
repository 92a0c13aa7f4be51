"""Every function of `autograd.numpy` that can be differentiated has right derivatives, or is said not to have them.

Elementwise functions are held against multiple precision at ordinary, large, tiny and special arguments, all others
against differences of their values.  Both orders of second derivative are tested.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import autograd.numpy as np
import mpmath
import numpy
import pytest
from autograd import core
from autograd.extend import defvjp, primitive

import lie_ref
from lie_ref import hvp_forward_over_reverse, hvp_reverse_over_reverse, lie_bracket
from lie_ref.core.fields import directional_derivative, gradient

mp = mpmath.mp.clone()
mp.dps = 800  # a difference of second order loses 400 of them, and tanh 300 is 1 in the first 260
mpf = mp.mpf

ANY = (-2.3, -0.7, 0.4, 1.9)
TINY = (1e-3, -1e-8, 1e-150)
LARGE = (30.0, -36.0, 40.0, 400.0, -700.0)
INSIDE = (-0.999999, -0.7, 0.3, 1 - 1e-12)  # −1 < x < 1
ABOVE = (0.3, 1.7, 1e-9, 1e-150, 1e9)  # x > 0
SINC = (*ANY, *TINY, 0.0, 0.03, 1.2, -1.3, 1.6, 7.3, 2.0, 40.25)
HUGE = (1e9, -1e80, 1e100)
# fmt: off
ONE_ARGUMENT: dict[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
    "negative": (lambda x: -x, ANY + TINY + LARGE), "abs": (abs, ANY + TINY + LARGE), "fabs": (abs, ANY + TINY + LARGE),
    "exp": (mp.exp, (*ANY, *TINY, 30.0, -36.0, 400.0, -700.0)), "exp2": (lambda x: 2**x, ANY + TINY + LARGE),
    "expm1": (lambda x: mp.exp(x) - 1, (*ANY, *TINY, 30.0, -36.0, -40.0, 400.0, -700.0)),
    "log": (mp.log, ABOVE), "log2": (lambda x: mp.log(x, 2), ABOVE), "log10": (mp.log10, ABOVE),
    "log1p": (lambda x: mp.log(1 + x), (-0.999999, -0.3, *TINY, *ABOVE)),
    "sin": (mp.sin, ANY + TINY + LARGE), "cos": (mp.cos, ANY + TINY + LARGE),
    "tan": (mp.tan, (*ANY, *TINY, 30.0, 1.57)),
    "arcsin": (mp.asin, INSIDE + TINY), "arccos": (mp.acos, INSIDE + TINY), "arctanh": (mp.atanh, INSIDE + TINY),
    "arctan": (mp.atan, ANY + TINY + LARGE + HUGE), "arcsinh": (mp.asinh, ANY + TINY + LARGE + HUGE),
    "arccosh": (mp.acosh, (1.7, 1 + 1e-12, 30.0, 1e9, 1e100)),
    "sinh": (mp.sinh, ANY + TINY + LARGE), "cosh": (mp.cosh, ANY + TINY + LARGE),
    "tanh": (mp.tanh, (*ANY, *TINY, 5.0, -19.0, 36.0, 170.0, -300.0)),
    "sinc": (lambda x: mp.sin(mp.pi * x) / (mp.pi * x) if x else mpf(1), SINC),
    "square": (lambda x: x * x, ANY + TINY + LARGE + HUGE), "sqrt": (mp.sqrt, ABOVE),
    "reciprocal": (lambda x: 1 / x, (*ANY, 1e-3, -1e-8, 1e-90, 400.0, *HUGE)),
    "deg2rad": (mp.radians, ANY), "radians": (mp.radians, ANY), "rad2deg": (mp.degrees, ANY),
    "degrees": (mp.degrees, ANY),
}
TWO_ARGUMENTS: dict[str, tuple[Callable[[Any, Any], Any], tuple[tuple[float, float], ...]]] = {
    "add": (lambda x, y: x + y, ((0.3, -1.2),)), "subtract": (lambda x, y: x - y, ((0.3, -1.2),)),
    "multiply": (lambda x, y: x * y, ((0.3, -1.2), (1e100, 1e-100))),
    "divide": (lambda x, y: x / y, ((0.3, -1.2), (1e-5, 30.0), (1e190, 1e170), (1e-100, -1e-80))),
    "power": (lambda x, y: x**y,
              ((0.3, -1.2), (1.7, 2.0), (2.3, 3.0), (1e-50, 3.0), (1e30, -3.0), (1.7, 0.5), (2.0, 40.5))),
    "logaddexp": (lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
                  ((0.3, -1.2), (0.0, 36.0), (36.0, 0.0), (40.0, 1.0), (-600.0, 20.0),
                   (0.0, 700.0), (1e-9, -1e-12), (5.0, 5.0))),
    "logaddexp2": (lambda x, y: mp.log(2**x + 2**y, 2),
                   ((0.3, -1.2), (0.0, 53.0), (60.0, 1.0), (-900.0, 20.0), (0.0, 1000.0), (5.0, 5.0))),
    "arctan2": (mp.atan2, ((0.3, -1.2), (1e-9, 1.0), (1.0, 1e-9), (2e160, 1e160), (-1e-100, 3e-100), (3.0, -4.0))),
    "hypot": (lambda x, y: mp.sqrt(x * x + y * y),
              ((0.3, -1.2), (1e-9, 1.0), (1.0, 1e-9), (2e160, 1e160), (-1e-100, 1e-100))),
    "mod": (lambda x, y: x - y * mp.floor(x / y), ((7.3, 2.1), (-7.3, 2.1), (1.0, 0.1), (5.5, -1.7), (0.6, 0.2))),
    "maximum": (max, ((0.3, -1.2), (-7.0, 2.0))), "minimum": (min, ((0.3, -1.2), (-7.0, 2.0))),
    "fmax": (max, ((0.3, -1.2), (-7.0, 2.0))), "fmin": (min, ((0.3, -1.2), (-7.0, 2.0))),
}
# fmt: on
# Functions of a (3, 4) array of distinct positive numbers.
ARRAYS = """
sum: np.sum(a); np.sum(a, axis=-1); np.sum(a, axis=(0, 1), keepdims=True)
mean: np.mean(a); np.mean(a, axis=-2, keepdims=True); np.mean(a, axis=(0, 1))
var: np.var(a); np.var(a, axis=-1); np.var(a, axis=(0, 1), ddof=1); np.var(a, axis=0, keepdims=True)
std: np.std(a); np.std(a, axis=-1); np.std(a, axis=(0, 1), ddof=1); np.std(a, axis=0, keepdims=True)
prod: np.prod(a); np.prod(a, axis=-1); np.prod(a, axis=(1, 0)); np.prod(a, axis=0, keepdims=True)
cumsum: np.cumsum(a); np.cumsum(a, axis=-1); np.cumsum(a, axis=0)
max: np.max(a); np.max(a, axis=-1); np.max(a, axis=(0, 1)); np.max(a, axis=0, keepdims=True)
min: np.min(a); np.min(a, axis=-1)
amax: np.amax(a, axis=-1)
amin: np.amin(a, axis=-1)
dot: np.dot(a, a.T); np.dot(a, a[0]); np.dot(a[0], a[1])
matmul: a @ a.T; a @ a[0]; np.matmul(a[None], a.T)
inner: np.inner(a, a); np.inner(a[0], a[1])
outer: np.outer(a[0], a[:, 1])
tensordot: np.tensordot(a, a, axes=2); np.tensordot(a, a, axes=([1], [1])); np.tensordot(a, a.T, 1)
einsum: np.einsum("ij,kj->ik", a, a); np.einsum("ij,ij", a, a); np.einsum("i...,i...->...", a, a)
kron: np.kron(a, a[:2]); np.kron(a[0], a)
cross: np.cross(a[:, :3], a[:, 1:])
sort: np.sort(np.ravel(a))
partition: np.partition(np.ravel(a), 4)
where: np.where(numpy.arange(12).reshape(3, 4) % 3, a, a**2); np.where([True] * 4, a, a[:1])
where: np.where([True, False] * 2, a[:1], numpy.ones((3, 4))); np.where(a > 1, a[0, 0], 0.0)
clip: np.clip(a, 0.5, 1.1)
nan_to_num: np.nan_to_num(a)
reshape: np.reshape(a, (2, -1)); a.reshape(6, 2, order="F")
ravel: np.ravel(a); np.ravel(a, order="F"); a.flatten()
transpose: np.transpose(a); np.transpose(a[None], (1, 2, 0))
swapaxes: np.swapaxes(a, 0, 1)
moveaxis: np.moveaxis(a[None], 0, -1)
rollaxis: np.rollaxis(a[None], 2); np.rollaxis(a[None], 0, 2)
roll: np.roll(a, 2); np.roll(a, -1, axis=1)
rot90: np.rot90(a); np.rot90(a, 3)
flipud: np.flipud(a)
fliplr: np.fliplr(a)
expand_dims: np.expand_dims(a, 1)
squeeze: np.squeeze(a[:, :1])
array_split: np.array_split(a, 2, axis=1)[1]
split: np.split(a, [1, 3], axis=-1)[1]
vsplit: np.vsplit(a, 3)[1]
hsplit: np.hsplit(a, 2)[0]
dsplit: np.dsplit(a[None], 2)[1]
diag: np.diag(a[0]); np.diag(a[:, :3], 1)
diagonal: np.diagonal(a[:, :3], 0, -1, -2)
make_diagonal: np.make_diagonal(a, axis1=-1, axis2=-2)
trace: np.trace(a); np.trace(a, offset=1)
triu: np.triu(a); np.triu(a, 1)
tril: np.tril(a)
full: np.full((2, 3), a[0, 1])
linspace: np.linspace(a[0, 0], a[1, 1], 5)
diff: np.diff(a); np.diff(a, n=2, axis=0)
gradient: np.gradient(np.concatenate([a, a**2], axis=1), axis=1)
repeat: np.repeat(a, 2, axis=1); np.repeat(a, 3)
tile: np.tile(a, (2, 1, 3)); np.tile(a, 2); np.tile(a[:, :3], 3); np.tile(a[0], (3, 2))
pad: np.pad(a, ((1, 0), (2, 1)), "constant")
concatenate_args: np.concatenate([a, a[:1] ** 2]); np.stack([a, a]); np.vstack([a, a[0]]); np.hstack([a, a])
array_from_args: np.array([a[0, 0], a[1, 2] ** 2, 3.0]); np.array([[a[0, 0], 1.0], [a[1, 1], a[2, 2]]])
atleast_1d: np.atleast_1d(a[0, 0])
atleast_2d: np.atleast_2d(a[0])
atleast_3d: np.atleast_3d(a)
broadcast_to: np.broadcast_to(a, (2, 3, 4)); np.broadcast_to(a[:1], (5, 4))
astype: a.astype(float)
real: np.real(a)
imag: np.imag(a * (1 + 2j))
conj: np.conj(a)
real_if_close: np.real_if_close(a)
angle: np.angle(a + 1j * a**2)
linalg._primitive_norm: np.linalg.norm(a); np.linalg.norm(a, axis=1); np.linalg.norm(a[0], 3); np.linalg.norm(a, "nuc")
linalg.solve: np.linalg.solve(a[:, :3], a[:, 3]); np.linalg.solve(a[:, :3], a)
linalg.inv: np.linalg.inv(a[:, :3])
linalg.pinv: np.linalg.pinv(a)
linalg.det: np.linalg.det(a[:, :3])
linalg.slogdet: np.linalg.slogdet(a[:, :3])[1]
linalg.cholesky: np.linalg.cholesky(a @ a.T + np.eye(3))
linalg.eigh: np.linalg.eigh(a @ a.T)[0]; np.linalg.eigh(a @ a.T)[1] ** 2
linalg.eig: np.abs(np.linalg.eig(a[:, :3])[0])
linalg.svd: np.linalg.svd(a, full_matrices=False)[1]; np.linalg.svd(a, full_matrices=False)[0] ** 2
"""
for name in ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "fftshift", "ifftshift", "rfft", "rfft2", "rfftn"):
    ARRAYS += f"fft.{name}: np.real(np.fft.{name}(a)) + np.imag(np.fft.{name}(a)) ** 2\n"
for name in ("irfft", "irfft2", "irfftn"):
    ARRAYS += f"fft.{name}: np.fft.{name}(a + 0.3j * a**2)\n"
for name in TWO_ARGUMENTS:
    ARRAYS += f"{name}: np.{name}(a[:, :1], a[0] + 0.05) + np.{name}(a[0, 0], a)\n"  # both sides are broadcast
LINES = [line.partition(": ") for line in ARRAYS.strip().splitlines()]
# other names of a function, some of which are functions of their own in autograd 1.7, and a part of fft
SAME = {
    "_original_where": "where",
    "absolute": "abs",
    "conjugate": "conj",
    "remainder": "mod",
    "true_divide": "divide",
    "msort": "sort",
    "linalg.norm": "linalg._primitive_norm",
    "fft.truncate_pad": "fft.fft",
}


def table() -> Iterator[tuple[str, Any]]:
    for prefix, space in (("", np), ("linalg.", np.linalg), ("fft.", np.fft)):
        for name, function in vars(space).items():
            if callable(function) and getattr(function, "__hash__", None) and function in core.primitive_vjps:
                yield prefix + name, function


def test_every_differentiable_function_of_autograd_is_in_the_tables_below():
    tested = {*ONE_ARGUMENT, *TWO_ARGUMENTS, *(name for name, _, _ in LINES)}
    names: dict[Any, list[str]] = {}
    for name, function in table():
        names.setdefault(function, []).append(SAME.get(name, name))
    assert len(names) > 100
    assert not [aliases for aliases in names.values() if not tested.intersection(aliases)]


def second_derivatives(f: Callable[[Any], Any], x: numpy.ndarray, d: numpy.ndarray) -> list[numpy.ndarray]:
    """∇²f · d of a scalar function in both orders, and as the derivative of a forward derivative along each axis."""
    twice_forward = [
        directional_derivative(lambda t, e=e: directional_derivative(f, t, e), x, d) for e in numpy.eye(x.size)
    ]
    return [hvp_forward_over_reverse(f, x, d), hvp_reverse_over_reverse(f, x, d), numpy.array(twice_forward)]


def close(found: Any, right: list[Any]) -> bool:
    """Whether numbers are right to 1e-13 of their own size, except where they underflow."""
    pairs = zip(numpy.ravel(found).tolist(), right, strict=True)
    return all(abs(mpf(a) - b) <= 1e-13 * abs(b) + 1e-300 for a, b in pairs)


def partial(f: Callable[..., Any], point: tuple[float, ...], orders: tuple[int, ...]) -> Any:
    if len(point) == 2 and sum(orders) == 2 and f in (max, min):
        return mpf(0)
    step = {"h": min(abs(mpf(p)) for p in point if p) * mpf(10) ** -200} if any(point) else {}
    return mpmath.calculus.differentiation.diff(mp, f, tuple(map(mpf, point)), orders, **step)


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_an_elementwise_function_has_exact_derivatives_at_every_argument(name):
    right, arguments = ONE_ARGUMENT[name]
    function = getattr(np, name)
    for x in arguments:
        at, one = numpy.array([x]), numpy.ones(1)
        first, second = (partial(right, (x,), (n,)) for n in (1, 2))
        forward, reverse = directional_derivative(function, at, one), gradient(lambda t: np.sum(function(t)))(at)
        assert close(forward, [first]), (x, forward, float(first))
        assert close(reverse, [first]), (x, reverse, float(first))
        for found in second_derivatives(lambda t: np.sum(function(t)), at, one):
            assert close(found, [second]), (x, found, float(second))


@pytest.mark.parametrize("name", TWO_ARGUMENTS)
def test_a_function_of_two_numbers_has_exact_derivatives_at_every_argument(name):
    right, points = TWO_ARGUMENTS[name]
    function = getattr(np, name)
    for point in points:
        at = numpy.array(point)

        def f(t):
            return function(t[0], t[1])

        first = [partial(right, point, orders) for orders in ((1, 0), (0, 1))]
        forward = [directional_derivative(f, at, e) for e in numpy.eye(2)]
        assert close(forward, first), (point, forward, [float(a) for a in first])
        assert close(gradient(f)(at), first), (point, gradient(f)(at), [float(a) for a in first])
        for k, e in enumerate(numpy.eye(2)):
            second = [partial(right, point, tuple((e + d).astype(int))) for d in numpy.eye(2)]
            for found in second_derivatives(f, at, e):
                assert close(found, second), (point, k, found, [float(a) for a in second])


def differences(f: Callable[[Any], Any], a: numpy.ndarray, d: numpy.ndarray) -> Any:
    """Df(a)·d by central differences of fourth order."""
    h = 1e-3
    return (8 * (f(a + h * d) - f(a - h * d)) - (f(a + 2 * h * d) - f(a - 2 * h * d))) / (12 * h)


@pytest.mark.parametrize("expressions", [expressions for _, _, expressions in LINES])
def test_a_function_of_an_array_has_the_derivatives_that_differences_show(expressions):
    rng = numpy.random.default_rng(0)
    a = numpy.linspace(0.2, 2.0, 12)[rng.permutation(12)].reshape(3, 4)
    d = rng.standard_normal((3, 4))
    for expression in expressions.split("; "):
        f = eval(f"lambda a: {expression}", {"np": np, "numpy": numpy})

        def loss(t, f=f):
            value = f(t)
            weights = numpy.cos(numpy.arange(1.0, 1 + np.size(value))).reshape(np.shape(value))
            return np.sum(weights * value * value) + np.sum(value)

        assert numpy.allclose(directional_derivative(f, a, d), differences(f, a, d), rtol=1e-7, atol=1e-8)
        slope = gradient(loss)(a)
        assert slope.shape == a.shape
        assert numpy.isclose(numpy.sum(slope * d), differences(loss, a, d), rtol=1e-7)
        forward, reverse = hvp_forward_over_reverse(loss, a, d), hvp_reverse_over_reverse(loss, a, d)
        scale = numpy.abs(reverse).max()
        assert numpy.abs(forward - reverse).max() <= 1e-11 * scale
        assert numpy.abs(forward - differences(gradient(loss), a, d)).max() <= 1e-6 * scale


def test_rules_keep_float32():
    for name, (_, arguments) in ONE_ARGUMENT.items():
        at = numpy.array(arguments[:2], numpy.float32)
        assert gradient(lambda t, name=name: np.sum(getattr(np, name)(t)))(at).dtype == numpy.float32, name
        assert directional_derivative(getattr(np, name), at, at).dtype == numpy.float32, name


def test_a_product_with_zeros_has_exact_second_derivatives():
    a, d = numpy.array([0.0, 0.0, 3.0, 2.0]), numpy.array([1.0, 2.0, 5.0, 7.0])
    for found in second_derivatives(np.prod, a, d):
        assert found.tolist() == [12.0, 6.0, 0.0, 0.0]
    a = numpy.array([1e-200, 1e-200, 1e300])  # the product of the first two underflows
    assert numpy.allclose(gradient(np.prod)(a), [1e100, 1e100, 0.0])


FIELDS = {
    "array": lambda t: numpy.array([-t[1], t[0]]),
    "stack": lambda t: numpy.stack([-t[1], t[0]]),
    "concatenate": lambda t: numpy.concatenate([-t[1:], t[:1]]),
    "where": lambda t: numpy.where([True, False], -t[::-1], t[::-1]),
    "dot": lambda t: numpy.dot(numpy.array([[0.0, -1.0], [1.0, 0.0]]), t),
    "einsum": lambda t: numpy.einsum("ij,j", numpy.array([[0.0, -1.0], [1.0, 0.0]]), t),
    "asarray": lambda t: numpy.asarray(t)[::-1] * numpy.array([-1.0, 1.0]),
    "inside": lambda t: np.array([-1.0, 1.0]) * np.sum(numpy.outer(t, numpy.ones(2))),
    "math": lambda t: np.array([-float(t[1]), t[0]]),
}


@pytest.mark.parametrize("name", FIELDS)
def test_plain_numpy_in_a_field_or_loss_is_refused_with_the_name_of_what_to_use(name):
    theta, field = numpy.array([3.0, 5.0]), FIELDS[name]
    scaling = lambda t: np.array([t[0], 0.0])  # noqa: E731
    for differentiate in (
        lambda: lie_bracket(field, scaling)(theta),
        lambda: lie_bracket(scaling, field)(theta),
        lambda: lie_ref.vector_field(lambda t: np.sum(field(t)))(theta),
        lambda: hvp_forward_over_reverse(lambda t: np.sum(field(t) ** 2), theta, theta),
        lambda: hvp_reverse_over_reverse(lambda t: np.sum(field(t) ** 2), theta, theta),
    ):
        with pytest.raises(TypeError, match=r"autograd\.numpy"):
            differentiate()


def collected(t: Any) -> Any:
    out = numpy.empty(1, object)
    out[0] = np.sum(t**2)
    return out


@pytest.mark.parametrize("loss", [collected, lambda t: [np.sum(t**2)], lambda t: {"loss": np.sum(t**2)}])
def test_a_loss_that_autograd_cannot_see_is_refused(loss):
    theta = numpy.array([3.0, 5.0])
    for differentiate in (
        lambda: lie_ref.vector_field(loss)(theta),
        lambda: hvp_forward_over_reverse(loss, theta, theta),
    ):
        with pytest.raises(TypeError):
            differentiate()


def test_the_bracket_of_a_field_that_does_not_depend_on_theta_needs_no_warning(recwarn):
    constant, linear = lambda t: numpy.array([1.0, 2.0]), lambda t: np.array([-t[1], t[0]])
    assert lie_bracket(constant, linear)(numpy.array([3.0, 5.0])).tolist() == [-2.0, 1.0]
    assert lie_bracket(constant, constant)(numpy.array([3.0, 5.0])).tolist() == [0.0, 0.0]
    assert not recwarn


def test_a_derivative_that_is_nan_is_told():
    with pytest.warns(RuntimeWarning, match="theta: this derivative is nan"):
        hvp_forward_over_reverse(lambda t: np.linalg.norm(t) ** 2, numpy.zeros(2), numpy.ones(2))


WITHOUT_FORWARD_RULES = {
    "cube": lambda t: cube(t),
    "solve": lambda t: np.linalg.solve(np.outer(t, t) + np.eye(2), t),
    "pair": lambda t: np.linalg.eigh(np.outer(t, t) + np.diag(t))[1][0] * t,
}


@primitive
def cube(x):
    return x**3


defvjp(cube, lambda ans, x: lambda g: 3 * x**2 * g)


@pytest.mark.parametrize("name", WITHOUT_FORWARD_RULES)
def test_the_bracket_of_fields_without_forward_rules_is_that_of_differences(name):
    v, w, theta = WITHOUT_FORWARD_RULES[name], (lambda t: np.array([t[1] ** 2, np.sin(t[0])])), numpy.array([0.7, -0.4])
    expected = differences(w, theta, v(theta)) - differences(v, theta, w(theta))
    assert numpy.allclose(lie_bracket(v, w)(theta), expected, rtol=1e-8)


def test_what_autograd_cannot_differentiate_is_named_with_what_to_do():
    theta = numpy.array([0.7, -0.4])
    for differentiate in (lie_bracket(np.cumprod, lambda t: t), lie_ref.vector_field(lambda t: np.sum(np.cumprod(t)))):
        with pytest.raises(NotImplementedError, match=r"cumprod: write it with .* or define its rule"):
            differentiate(theta)


def test_a_rule_that_gives_another_shape_is_an_error():
    with pytest.raises(ValueError, match="derivative of cross has the shape"):
        gradient(lambda t: np.sum(np.cross(t, numpy.ones((4, 3)))))(numpy.ones(3))


@pytest.mark.parametrize("order", ["lie_ref, autograd.scipy.special", "autograd.scipy.special, lie_ref"])
def test_the_sigmoid_of_scipy_keeps_its_curvature(order):
    pytest.importorskip("scipy")
    code = f"import {order}, numpy\nfrom autograd.scipy.special import expit\nfrom lie_ref import *\n"
    code += "print(hvp_forward_over_reverse(lambda t: expit(t)[0], numpy.array([40.0]), numpy.ones(1))[0])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert float(printed.stdout) == pytest.approx(-float(mp.exp(-40)), rel=1e-13)


def test_the_readme_of_core_names_every_function_that_is_not_exact_everywhere():
    text = (Path(__file__).parents[1] / "lie_ref" / "core" / "README.md").read_text(encoding="utf-8")
    for name in ("norm", "std", "eigh", "eig", "svd", "det", "cumprod", "qr", "maximum", "sort"):
        assert f"`{name}`" in text
