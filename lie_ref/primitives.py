"""Derivative rules for `autograd.numpy` that are exact where autograd's own lose digits, overflow or fail.

Second derivatives come from differentiating the rule of the first.  So a rule must be accurate, and its own derivative
must be as well: exp(x − logaddexp(0, x)) is a good value for the slope of softplus at 36, but its derivative is 0
there.  Importing `lie_ref` registers these rules with autograd, for everything that is differentiated in the process.
`core/README.md` lists which functions are exact.
"""

import sys
from collections.abc import Callable
from typing import Any

import autograd.numpy as np
import numpy
from autograd import core, make_jvp, make_vjp
from autograd.builtins import isinstance, tuple  # they also accept what autograd traces with
from autograd.core import defjvp_argnums, defvjp_argnums, primitive_jvps, primitive_vjps
from autograd.extend import defjvp, defvjp, primitive
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_jvps import broadcast
from autograd.numpy.numpy_vjps import unbroadcast

Slope = Callable[..., Any]  # ∂f/∂x for one argument x, from f's value and all its arguments


def exact(function: Any, *slopes: Slope) -> None:
    """Register ∂f/∂x_k = slopes[k](f, x_0, x_1, …) for an elementwise f of real arguments, in both modes."""
    of_complex = primitive_vjps.get(function), primitive_jvps.get(function)

    def complex_valued(ans: Any, args: Any) -> bool:
        return any(np.iscomplexobj(a) for a in (ans, *args))

    def vjp(argnums: Any, ans: Any, args: Any, keywords: Any) -> Any:
        if complex_valued(ans, args):
            return of_complex[0](argnums, ans, args, keywords)
        return lambda g: tuple(unbroadcast(g * slopes[k](ans, *args), np.metadata(args[k])) for k in argnums)

    def jvp(argnums: Any, gs: Any, ans: Any, args: Any, keywords: Any) -> Any:
        if complex_valued(ans, args):
            return of_complex[1](argnums, gs, ans, args, keywords)
        return sum(broadcast(g * slopes[k](ans, *args), ans) for k, g in zip(argnums, gs, strict=True))

    defvjp_argnums(function, vjp)
    defjvp_argnums(function, jvp)


def same_as(function: Any, definition: Callable[..., Any]) -> None:
    """Let a function of one array have the derivatives of an equivalent `definition`, in both modes."""
    defvjp(function, lambda ans, x, *a, **k: make_vjp(lambda t: definition(t, *a, **k))(x)[0])
    defjvp(function, lambda g, ans, x, *a, **k: make_jvp(lambda t: definition(t, *a, **k))(x)(g)[1])


class ReverseRules(dict[Any, Any]):
    """Autograd's table of reverse rules, whose results must have the shapes of the arguments.

    A missing rule raises an error that says what to do.  When `autograd.scipy.special` is imported, which may be later,
    two of its functions get exact rules.
    """

    def __setitem__(self, function: Any, rule: Any) -> None:
        def checked(argnums: Any, ans: Any, args: Any, keywords: Any) -> Any:
            pull_back = rule(argnums, ans, args, keywords)
            return lambda g: [_of_shape(args[k], part, function) for k, part in zip(argnums, pull_back(g), strict=True)]

        new = function not in self
        super().__setitem__(function, checked)
        special = sys.modules.get("scipy.special")
        for name, slope in OF_SCIPY.items():
            if new and special and getattr(function, "fun", None) is getattr(special, name):
                exact(function, slope)

    def __missing__(self, function: Any) -> Any:
        raise NotImplementedError(
            f"autograd has no derivative of {_name(function)}: write it with other functions of autograd.numpy, "
            "or define its rule by autograd.extend.defvjp"
        )


class ForwardRules(dict[Any, Any]):
    """Autograd's table of forward rules, whose results must have the shape of the value.

    A missing rule is the transpose of the reverse rule.
    """

    def __setitem__(self, function: Any, rule: Any) -> None:
        def checked(argnums: Any, gs: Any, ans: Any, args: Any, keywords: Any) -> Any:
            return _of_shape(ans, rule(argnums, gs, ans, args, keywords), function)

        super().__setitem__(function, checked)

    def __missing__(self, function: Any) -> Any:
        def jvp(argnums: Any, gs: Any, ans: Any, args: Any, keywords: Any) -> Any:
            # c ↦ cᵀ J is linear in c, so its own reverse derivative, at any c, is v ↦ J v
            pull_back = core.primitive_vjps[function](argnums, ans, args, keywords)
            transpose, _ = make_vjp(lambda c: tuple(pull_back(c)))(cotangent(ans))
            return transpose(tuple(gs))

        return jvp


def _of_shape(like: Any, derivative: Any, function: Any) -> Any:
    """The derivative itself.  Raises ValueError unless it has the shape of `like`: autograd would broadcast it."""
    if hasattr(like, "shape") and hasattr(derivative, "shape") and np.shape(like) != np.shape(derivative):
        raise ValueError(
            f"autograd's derivative of {_name(function)} has the shape {np.shape(derivative)}, "
            f"expected {np.shape(like)}: write it with other functions of autograd.numpy"
        )
    return derivative


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def cotangent(value: Any) -> Any:
    """Numbers in the form of a value, none of them 0: the rule of eigh leaves out terms whose cotangents are 0."""
    if isinstance(value, tuple):
        return type(value)(*map(cotangent, value)) if hasattr(value, "_fields") else tuple(map(cotangent, value))
    return numpy.cos(numpy.arange(1, 1 + np.size(value))).reshape(np.shape(value)).astype(np.result_type(value))


@primitive
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(−x))."""
    return numpy.exp(numpy.minimum(x, 0)) / (1 + numpy.exp(-numpy.abs(x)))  # neither overflows nor cancels


@primitive
def sigmoid2(x: Any) -> Any:
    """1 / (1 + 2^−x)."""
    return numpy.exp2(numpy.minimum(x, 0)) / (1 + numpy.exp2(-numpy.abs(x)))


@primitive
def sech_squared(x: Any) -> Any:
    """1 / cosh² x."""
    small = numpy.exp(-2 * numpy.abs(x))
    return 4 * small / numpy.square(1 + small)


@primitive
def co_square(x: Any) -> Any:
    """1 − x²."""
    return (1 - x) * (1 + x)


@primitive
def cosine(x: Any, y: Any) -> Any:
    """x / √(x² + y²)."""
    return x / numpy.hypot(x, y)


@primitive
def sinc_derivative(x: Any, order: int) -> Any:
    """The derivative of sinc x = sin(πx) / (πx) of this order, which is (−1)^k π^2k x^2k / (2k + 1)! summed over k."""
    x = numpy.asarray(x)
    t = numpy.pi * x
    # f⁽ⁿ⁾ = (sin⁽ⁿ⁾ t − n f⁽ⁿ⁻¹⁾) / t cancels for small t, and there the series of ∫₀¹ cos⁽ⁿ⁾(ts) sⁿ ds converges
    far = numpy.where(numpy.abs(t) > 4 + order, t, 1)
    angle = numpy.pi * numpy.remainder(x, 2)
    found = numpy.sin(angle) / far
    for n in range(1, order + 1):
        found = (numpy.sin(angle + n * numpy.pi / 2) - n * found) / far
    near, total = numpy.where(numpy.abs(t) > 4 + order, 0, t), numpy.zeros_like(t)
    term = numpy.ones_like(t)  # t^m / m!
    for m in range(60):
        if (m + order) % 2 == 0:
            total = total + (-1) ** ((m + order) // 2) * term / (m + order + 1)
        term = term * near / (m + 1)
    return numpy.pi**order * numpy.where(numpy.abs(t) > 4 + order, found, total)


def product(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The product over some axes by multiplying halves, whose derivatives need no division."""
    shape = np.shape(x)
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    reduced = sorted(a % len(shape) for a in axes)
    kept = [a for a in range(len(shape)) if a not in reduced]
    x = np.reshape(np.transpose(x, (*kept, *reduced)), (*(shape[a] for a in kept), -1))
    while x.shape[-1] > 1:
        if x.shape[-1] % 2:
            x = np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)
        x = x[..., 0::2] * x[..., 1::2]
    return np.reshape(x, [shape[a] if a in kept else 1 for a in range(len(shape)) if a in kept or keepdims])


def untile(g: Any, shape: tuple[int, ...], reps: Any) -> Any:
    """The transpose of `tile`: the sum of the copies, in this shape."""
    reps = (reps,) if numpy.isscalar(reps) else tuple(reps)
    ones = (1,) * abs(len(shape) - len(reps))
    reps, lengths = (ones + reps, shape) if len(reps) < len(shape) else (reps, ones + shape)
    copies = np.reshape(g, [n for pair in zip(reps, lengths, strict=True) for n in pair])
    return np.reshape(np.sum(copies, axis=tuple(range(0, 2 * len(reps), 2))), shape)


def refuse(box: Any, *_: Any, **__: Any) -> Any:
    """Python and NumPy call this to make a number or an array of a value that autograd traces."""
    raise TypeError(
        f"numpy or math met a value of shape {box.shape} that is being differentiated, which they would hide from "
        "autograd: use autograd.numpy"
    )


ArrayBox.__array__ = ArrayBox.__float__ = refuse

OF_SCIPY = {"expit": lambda s, x: s * sigmoid(-x), "logit": lambda _, x: 1 / x + 1 / (1 - x)}

# fmt: off
exact(sigmoid, lambda s, x: s * sigmoid(-x))
exact(sigmoid2, lambda s, x: float(numpy.log(2)) * s * sigmoid2(-x))
exact(sech_squared, lambda s, x: -2 * np.tanh(x) * s)
exact(co_square, lambda _, x: -2 * x)
exact(cosine, lambda c, x, y: cosine(y, x) ** 2 / np.hypot(x, y), lambda c, x, y: -c * cosine(y, x) / np.hypot(x, y))
exact(sinc_derivative, lambda _, x, n: sinc_derivative(x, n + 1))

exact(np.logaddexp, lambda _, x, y: sigmoid(x - y), lambda _, x, y: sigmoid(y - x))
exact(np.logaddexp2, lambda _, x, y: sigmoid2(x - y), lambda _, x, y: sigmoid2(y - x))
exact(np.tanh, lambda _, x: sech_squared(x))
exact(np.arctanh, lambda _, x: 1 / co_square(x))
exact(np.arcsin, lambda _, x: 1 / np.sqrt(co_square(x)))
exact(np.arccos, lambda _, x: -1 / np.sqrt(co_square(x)))
exact(np.arctan, lambda _, x: (1 / np.hypot(1.0, x)) ** 2)
exact(np.arcsinh, lambda _, x: 1 / np.hypot(1.0, x))
exact(np.arccosh, lambda _, x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1)))
exact(np.hypot, lambda _, x, y: cosine(x, y), lambda _, x, y: cosine(y, x))
exact(np.arctan2, lambda _, y, x: cosine(x, y) / np.hypot(x, y), lambda _, y, x: -cosine(y, x) / np.hypot(x, y))
exact(np.sinc, lambda _, x: sinc_derivative(x, 1))
exact(np.exp2, lambda e, x: float(numpy.log(2)) * e)
exact(np.log2, lambda _, x: 1 / (float(numpy.log(2)) * x))
exact(np.log10, lambda _, x: 1 / (float(numpy.log(10)) * x))
exact(np.expm1, lambda _, x: np.exp(x))
exact(np.reciprocal, lambda r, x: -r * r)
for divide in (np.divide, np.true_divide):
    exact(divide, lambda _, x, y: 1 / y, lambda q, x, y: -q / y)
for remainder in (np.mod, np.remainder):
    exact(remainder, lambda _, x, y: 1.0, lambda _, x, y: -np.floor_divide(x, y))
for absolute in (np.abs, np.absolute):
    exact(absolute, lambda _, x: np.sign(x))
# fmt: on
# later versions of autograd wrap these two for lists and for one argument
where = getattr(np, "_original_where", np.where)
variance = getattr(numpy_wrapper, "_primitive_var", np.var)
same_as(np.prod, product)
defvjp(np.tile, lambda ans, x, reps: lambda g: untile(g, np.shape(x), reps))
defvjp(np.broadcast_to, lambda ans, x, shape: lambda g: unbroadcast(g, np.metadata(x)))
defvjp(
    where,
    None,
    lambda ans, c, x, y: lambda g: unbroadcast(np.where(c, g, 0.0), np.metadata(x)),
    lambda ans, c, x, y: lambda g: unbroadcast(np.where(c, 0.0, g), np.metadata(y)),
)
defjvp(
    where,
    None,
    lambda g, ans, c, x, y: np.where(c, broadcast(g, ans), 0.0),
    lambda g, ans, c, x, y: np.where(c, 0.0, broadcast(g, ans)),
)
# these forward rules are wrong along the second of two axes, or over a tuple of axes
for wrong in (np.sort, np.partition, variance, getattr(np, "msort", np.sort)):
    primitive_jvps.pop(wrong, None)
reverse, forward = primitive_vjps, primitive_jvps
core.primitive_vjps, core.primitive_jvps = ReverseRules(), ForwardRules()
for table, rules in ((core.primitive_vjps, reverse), (core.primitive_jvps, forward)):
    for function, rule in rules.items():
        table[function] = rule
