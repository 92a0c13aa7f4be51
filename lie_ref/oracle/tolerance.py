"""How far from the exact answers a sound implementation may be, in a given precision, on a given problem.

The reference itself is evaluated in that precision, with the straightforward derivatives, on the inputs and on inputs
moved by a rounding error each.  The largest error of these trials, times `MARGIN`, is allowed to others, who round in
another order.  Near a kink a trial may fall on its other side, and then much is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.layers import Activation, Layer
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast.trees import with_layers
from .answers import Answers, keyed
from .textbook_formulas import TEXTBOOK_ACTIVATIONS, TEXTBOOK_LOSSES

MARGIN = 128.0  # JAX's float32 Mish, compiled without optimization, is 51 times as far off as the trials
TRIALS = 3  # with moved inputs, besides the one without
# How many leading axes of a quantity number its rows, each of which is compared for itself
ROWS = {"logits": 1, "loss": 1, "grad": 1, "hvp": 2, "bracket": 1, "logit_delta": 1}


def allowed_errors(exact: Answers, quantities: Iterable[str], dtype: Any, bits: int | None = None) -> Arrays:
    """For each key of these quantities the error ‖a − b‖ that is allowed to each of its rows.

    A row is one field's gradient, one Hessian-vector product, one bracket, in one tensor.  The inputs are moved by
    2^−bits, the precision of `dtype` unless it is given.
    """
    dtype = np.dtype(dtype)
    unit = 2.0 ** -(bits or np.finfo(dtype).nmant + 1)
    right = {q: keyed(q, exact[q]) for q in quantities}
    errors = {key: unit * scale for q in right for key, scale in _scales(exact, q).items()}
    for trial in _trials(exact.problem, dtype, unit):
        for q, answers in right.items():
            with np.errstate(all="ignore"):  # a low precision may overflow
                found = keyed(q, trial[q])
            for key, a in found.items():
                error = row_norms(a - answers[key], ROWS[q])
                errors[key] = np.maximum(errors[key], np.where(np.isnan(error), np.inf, error))
    smallest = float(np.finfo(dtype).tiny)
    return {
        key: MARGIN * (errors[key] + smallest * np.sqrt(a[(0,) * ROWS[q]].size))
        for q, answers in right.items()
        for key, a in answers.items()
    }


def row_norms(a: Array, lead: int) -> Array:
    """The norm over all but the first `lead` axes, in float64, without overflow or underflow on the way.

    >>> row_norms(np.array([[3e-200, 4e-200], [0.0, 0.0]]), lead=1)
    array([5.e-200, 0.e+000])
    """
    rows = np.abs(a.reshape(*a.shape[:lead], -1).astype(np.float64))
    largest = rows.max(axis=-1, keepdims=True)
    scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    return largest[..., 0] * np.sqrt(np.square(scaled).sum(axis=-1))


def _scales(exact: Answers, quantity: str) -> Arrays:
    """The size of what each row is computed from: its own norm, or that of the terms whose difference it is."""
    problem, lead = exact.problem, ROWS[quantity]
    if quantity == "loss":
        return {"loss": row_norms(exact["logits"], 1) + np.abs(exact["loss"])}
    if quantity == "bracket":
        return {f"bracket/{name}": row_norms(h, 2).sum(axis=1) for name, h in exact["hvp"].items()}
    if quantity == "logit_delta":
        terms = {name: h.reshape(-1, *h.shape[2:]) for name, h in exact["hvp"].items()}
        changes = exact.engine.push_forward(problem, problem.x_eval, terms)[1]
        return {"logit_delta": row_norms(changes, 1).reshape(-1, 2).sum(axis=1)}
    return {key: row_norms(a, lead) for key, a in keyed(quantity, exact[quantity]).items()}


def _trials(problem: Problem, dtype: Any, unit: float) -> Iterator[Answers]:
    """The reference in this precision, on the inputs and on moved ones."""
    rng = np.random.default_rng(0)
    usual = replace(problem, model=with_layers(problem.model, _textbook), loss=TEXTBOOK_LOSSES[str(problem.loss)])
    yield Answers(usual.astype(dtype))
    for _ in range(TRIALS):
        yield Answers(_moved(usual, unit, rng).astype(dtype))


def _textbook(layer: Layer) -> Layer:
    """The layer, with the usual derivatives if it is an activation."""
    return replace(layer, function=TEXTBOOK_ACTIVATIONS[layer.function]) if isinstance(layer, Activation) else layer


def _moved(problem: Problem, unit: float, rng: np.random.Generator) -> Problem:
    """Every number of the inputs times 1 + unit · N(0, 1); zeros, and so exact ties of zeros, stay."""

    def moved(a: Array) -> Array:
        return a * (1 + unit * rng.standard_normal(a.shape))

    return replace(
        problem,
        params={name: moved(p) for name, p in problem.params.items()},
        buffers={name: moved(b) for name, b in problem.buffers.items()},
        x=moved(problem.x),
        y=problem.y if problem.loss_function.labels else moved(problem.y),
        x_eval=moved(problem.x_eval),
    )
