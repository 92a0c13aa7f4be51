"""Checks the gradients, products and brackets of any network in any framework, from nothing but its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..core.types import Array
from ..machine.errors import InputError
from ..oracle.verdict import Verdict
from .forms import read, read_like, rebuilt
from .question import Form, Question, called, check_finite, checked_pairs

Gradient = Callable[[Form, int], Form]
# How messages and the formulas of `oracle.bugs.combinations` read for a single product: g_i is d, and g_j the gradient.
SINGLE = {"gradient(theta, 0)": "gradient(theta)", "H_j g_i": "H d", "H_j g_j": "H g", "g_i": "d", "g_j": "g"}


def check(
    gradient: Gradient,
    theta: Form,
    candidate: Any,
    pairs: Sequence[tuple[int, int]] | Array = ((0, 1),),
    logits: Callable[[Form], Any] | None = None,
    tensors: Sequence[str] | None = None,
) -> Verdict:
    """The verdict on brackets, products or gradients of any network in any framework.

    `gradient(theta, i)` returns ∇L of example or mini-batch i at theta; products of Hessians are found by differences
    of it.  theta is an array or a nested dict, list or tuple of arrays of NumPy, PyTorch or JAX, and the gradient
    has its form.  The candidate is a dict, or a function of theta that makes it, with some of

    - `grad`, `hvp`, `bracket`: functions grad(theta, i) = g_i, hvp(theta, i, direction) = H_i d and
      bracket(theta, i, j) = H_j g_i − H_i g_j, which return the form of theta; or their values, in the form of theta
      with leading axes (fields,), (pairs, 2) and (pairs,), in lists of forms, or as `bracket/NAME`, …
    - `logit_delta`: logit_delta(theta, i, j), what the bracket does to logits(theta), or its values (pairs, …).

    The fields of `grad` are the numbers in `pairs`, in ascending order.  With `tensors`, only these tensors, or all
    below these names, are compared, which takes less memory.  Raises `InputError`, a ValueError, for what does not fit.

    >>> def gradient(theta, i):  # of L_0 = Σ θ⁴ / 4 and L_1 = Σ θ² / 2
    ...     return theta**3 if i == 0 else theta
    >>> verdict = check(gradient, np.array([1.0, 2.0]), {"bracket": lambda theta, i, j: theta**3 - 3 * theta**3})
    >>> verdict.agrees, verdict.decided > 9
    (True, True)
    >>> [bug.name for bug in check(gradient, np.array([1.0, 2.0]), {"bracket": lambda theta, i, j: theta**3}).diagnosis]
    ['first-term-only']
    """
    return Question(gradient, theta, logits, tensors).verdict(candidate, checked_pairs(pairs))


def assert_brackets(
    gradient: Gradient,
    theta: Form,
    candidate: Any,
    pairs: Sequence[tuple[int, int]] | Array = ((0, 1),),
    logits: Callable[[Form], Any] | None = None,
    tensors: Sequence[str] | None = None,
) -> None:
    """Raise AssertionError, with the verdict as its message, unless `check` finds that the candidate agrees; for tests.

    >>> assert_brackets(lambda theta, i: theta**3 if i == 0 else theta, np.ones(2), {"grad": lambda theta, i: theta})
    """
    verdict = check(gradient, theta, candidate, pairs, logits, tensors)
    if not verdict.agrees:
        raise AssertionError(str(verdict))


def check_hvp(gradient: Callable[[Form], Form], theta: Form, direction: Form, candidate: Any) -> Verdict:
    """The verdict on one product H d of the Hessian of a loss: `gradient(theta)` is ∇L, and d has the form of theta.

    The candidate is the product in the form of theta, or a function candidate(theta, direction) of it.

    >>> verdict = check_hvp(lambda theta: theta**3, np.ones(2), np.array([1.0, 2.0]), np.array([3.0, 6.1]))
    >>> verdict.agrees, verdict.quantities["hvp"].place
    (False, 'theta of the product')
    """
    if not callable(gradient):
        raise InputError(f"gradient: expected a function, got {type(gradient).__name__}")
    shapes = {name: a.shape for name, a in read("theta", theta).items()}
    along = read_like("direction", direction, shapes)
    check_finite("direction", along)
    # The product is that of a pair: of the loss, 0, and of a field with the constant gradient d, 1.
    of_loss = partial(called, "gradient", "a function of theta alone", gradient)
    question = Question(lambda point, i: along if i else of_loss(point), theta, sides=1)
    source = "candidate"
    try:
        if callable(candidate):
            source = "candidate(theta, direction)"
            candidate = question.call(
                "candidate", "a function of theta and a direction", candidate, rebuilt(theta, along)
            )
        verdict = question.verdict({"hvp": [[candidate]]}, np.array([[1, 0]]))
    except InputError as error:
        raise InputError(_single(str(error).replace("candidate: hvp[0][0]", source))) from error
    return replace(
        verdict,
        quantities={name: replace(q, because=_single(q.because)) for name, q in verdict.quantities.items()},
        diagnosis=tuple(replace(e, explains=_single(e.explains)) for e in verdict.diagnosis),
    )


def _single(text: str) -> str:
    for pair, single in SINGLE.items():
        text = text.replace(pair, single)
    return text
