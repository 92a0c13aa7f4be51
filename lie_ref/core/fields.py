"""Vector fields, Hessian-vector products and Lie brackets of any loss written in `autograd.numpy`.

A point θ is an array or a flat dict of arrays, and a vector field maps a point to a direction (a tangent) of the same
form.  A loss L makes the field v(θ) = −∇L(θ).  Two fields v and w have the Lie bracket [v, w] = (v·∇)w − (w·∇)v.  For
v = −∇L_x and w = −∇L_y it is H_y g_x − H_x g_y, with g = ∇L and H = ∇²L: what the order of two small steps changes.

    θ(v then w) − θ(w then v) = ε² [v, w] + O(ε³)        (Dherin 2023)
"""

import warnings
from collections.abc import Callable
from typing import Any

import autograd.numpy as np
import numpy
from autograd import grad, make_jvp
from autograd.builtins import dict, isinstance, tuple  # they also accept what autograd traces with
from autograd.tracer import isbox

Point = Any  # an array, or a flat dict name -> array; while differentiating, autograd's tracing wrappers of either
Loss = Callable[[Point], Any]
Field = Callable[[Point], Point]


def vector_field(loss: Loss) -> Field:
    """v(θ) = −∇L(θ), the direction in which a gradient step on `loss` moves θ.

    >>> vector_field(lambda t: np.sum(t**2))(numpy.array([1.0, 2.0]))
    array([-2., -4.])
    """
    return lambda theta: _defined(tree_map(lambda g: -g, gradient(loss)(checked("theta", theta))))


def lie_bracket(v: Field, w: Field) -> Field:
    """[v, w](θ) = (v·∇)w − (w·∇)v, with both derivatives exact, by forward mode through v and w.

    The fields need not be gradients.  Raises TypeError unless θ is a floating array or a flat dict of them, and
    ValueError unless v(θ) and w(θ) have the names and shapes of θ.

    >>> rotation, scaling = lambda t: np.array([-t[1], t[0]]), lambda t: np.array([t[0], 0.0])
    >>> lie_bracket(rotation, scaling)(numpy.array([3.0, 5.0]))
    array([-5., -3.])
    """

    def bracket(theta: Point) -> Point:
        theta = checked("theta", theta)
        w_along_v = directional_derivative(w, theta, checked("v(theta)", v(theta), theta))
        v_along_w = directional_derivative(v, theta, checked("w(theta)", w(theta), theta))
        return _defined(difference(w_along_v, v_along_w))

    return bracket


def gradient(loss: Loss) -> Field:
    """∇L, by reverse mode."""
    return lambda theta: grad(lambda t: _visible(loss(t)))(theta)


def directional_derivative(f: Callable[[Point], Point], theta: Point, direction: Point) -> Point:
    """Df(θ)·d in forward mode: d has the form of θ, and the result has that of f(θ)."""
    names: list[str] = []

    def arrays(t: Point) -> Any:  # autograd has no forward rule for its dict, and sees no tangents in a plain one
        result = f(t)
        if not isinstance(result, dict):
            return _visible(result)
        names[:] = result
        return tuple([_visible(result[name]) for name in names])

    with warnings.catch_warnings():  # a constant function is nothing to warn of
        warnings.filterwarnings("ignore", "Output seems independent of input", UserWarning)
        _, derivative = make_jvp(arrays)(theta)(direction)  # it calls `arrays` once, which notes the names
    return {name: derivative[i] for i, name in enumerate(names)} if names else derivative


def hvp_forward_over_reverse(loss: Loss, theta: Point, direction: Point) -> Point:
    """∇²L(θ)·d as the directional derivative of the gradient (Pearlmutter 1994).

    >>> hvp_forward_over_reverse(lambda t: t[0] ** 2 * t[1], numpy.array([1.0, 2.0]), numpy.array([1.0, 0.0]))
    array([4., 2.])
    """
    theta, direction = checked("theta", theta), checked("direction", direction, theta)
    return _defined(directional_derivative(gradient(loss), theta, direction))


def hvp_reverse_over_reverse(loss: Loss, theta: Point, direction: Point) -> Point:
    """∇²L(θ)·d as the gradient of θ ↦ ⟨∇L(θ), d⟩: the other order of differentiation."""
    theta, direction = checked("theta", theta), checked("direction", direction, theta)
    return _defined(gradient(lambda t: inner(gradient(loss)(t), direction))(theta))


def gradient_step(loss: Loss, epsilon: float) -> Callable[[Point], Point]:
    """The update map θ ↦ θ − ε∇L(θ) of one step of gradient descent, from a point to a point of the same form."""
    return lambda theta: tree_map(lambda t, g: t - epsilon * g, theta, gradient(loss)(checked("theta", theta)))


def commutator(step_x: Callable[[Point], Point], step_y: Callable[[Point], Point]) -> Callable[[Point], Point]:
    """θ(x then y) − θ(y then x) for any two update maps; exactly ε²[v_x, v_y] for steps on quadratic losses.

    >>> x, y = gradient_step(lambda t: t[0] * t[1], 0.5), gradient_step(lambda t: t[0] ** 2, 0.5)
    >>> commutator(x, y)(numpy.array([1.0, 3.0]))
    array([ 1.5, -0.5])
    """
    return lambda theta: difference(step_y(step_x(theta)), step_x(step_y(theta)))


def inner(a: Point, b: Point) -> Any:
    """⟨a, b⟩: the sum over all entries of all arrays of two points of one form, a scalar."""
    return sum(np.sum(a[k] * b[k]) for k in a) if isinstance(a, dict) else np.sum(a * b)


def norm(a: Point) -> float:
    """√⟨a, a⟩ over all arrays of a point."""
    return float(np.sqrt(inner(a, a)))


def difference(a: Point, b: Point) -> Point:
    """a − b, array by array."""
    return tree_map(lambda u, v: u - v, a, b)


def tree_map(f: Callable[..., Any], first: Point, *rest: Point) -> Point:
    """f applied to the matching arrays of points of one form: an array, or a flat dict of arrays."""
    if isinstance(first, dict):
        return {name: f(first[name], *(r[name] for r in rest)) for name in first}
    return f(first, *rest)


def _visible(value: Any) -> Any:
    """The value of a function.  Raises TypeError for a list or an array of objects, in which autograd sees nothing."""
    if not isbox(value) and numpy.asarray(value).dtype == object:
        raise TypeError(f"expected an array, got objects in {type(value).__name__}: use autograd.numpy, not numpy")
    return value


def _defined(derivative: Point) -> Point:
    """The derivative itself, with a warning if it is nan somewhere, as that of a norm is at 0."""
    arrays = derivative.values() if isinstance(derivative, dict) else [derivative]
    if any(not isbox(a) and numpy.isnan(a).any() for a in arrays):
        warnings.warn("theta: this derivative is nan here; core/README.md says where one can be", RuntimeWarning, 3)
    return derivative


def checked(argument: str, point: Point, like: Point | None = None, bits: int = 0) -> Point:
    """The point itself, a plain dict.  Raises TypeError unless its arrays are floating, ValueError for another form."""
    for name, array in point.items() if isinstance(point, dict) else [("", point)]:
        dtype = array.dtype if isinstance(getattr(array, "dtype", None), numpy.dtype) else None
        if dtype is None or dtype.kind != "f" or numpy.finfo(dtype).nmant < bits:
            came = type(array).__name__ if dtype is None else f"dtype {dtype}{', which is too narrow' * bool(bits)}"
            raise TypeError(f"{argument}{[name] if name else ''}: expected a floating-point array, got {came}")
    if like is not None and (found := tree_map(numpy.shape, point)) != (form := tree_map(numpy.shape, like)):
        raise ValueError(f"{argument}: expected the shape of theta, {form}, got {found}")  # autograd would not notice
    return {**point} if isinstance(point, dict) and not isbox(point) else point
