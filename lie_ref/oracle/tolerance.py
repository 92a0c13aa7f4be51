"""The error that a correct implementation may have, in a given precision and on a given problem.

The reference itself is evaluated in that precision with the usual formulas for derivatives, once on the inputs and a
few times on inputs changed by `STEP` rounding errors each, whose effect is divided by `STEP`.  Other implementations,
which round in another order, may have `MARGIN` times the largest error of these trials.  Near a kink a trial may fall
on the other side; then much is allowed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.layers import Activation, Layer
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast.norms import row_norms
from ..fast.trees import with_layers
from .answers import Answers, keyed, mapped, quantity_of
from .textbook_formulas import TEXTBOOK_ACTIVATIONS, textbook_loss

MARGIN = 128.0  # other libraries add up in another order, and their functions are off by a few units in the last place
TRIALS = 3  # with changed inputs, and one more without
STEP = 8.0  # rounding errors by which inputs are changed; a single one could be lost in the last place of an answer
# The number of leading axes that count the rows of a quantity.  Each row is compared on its own.
ROWS = {"logits": 1, "loss": 1, "grad": 1, "hvp": 2, "bracket": 1, "logit_delta": 1}


def allowed_errors(exact: Answers, quantities: Iterable[str], dtype: Any, bits: int | None = None) -> Arrays:
    """The error ‖a − b‖ that is allowed to each row, for each key of these quantities.

    A row is the part of one gradient, Hessian-vector product, bracket, … in one tensor.  The inputs are changed by
    `STEP` times 2^−bits, by default the precision of `dtype`.
    """
    dtype = np.dtype(dtype)
    unit = 2.0 ** -(bits or np.finfo(dtype).nmant + 1)
    right = {q: keyed(q, exact[q]) for q in quantities}
    errors = {key: unit * scale for q in right for key, scale in scales(exact, q).items()}
    for trial, step in trials(exact.problem, dtype, unit):
        for q, answers in right.items():
            with np.errstate(all="ignore"):  # a low precision may overflow
                found = keyed(q, trial[q])
            for key, a in found.items():
                error = norms(a - answers[key], key) / step
                errors[key] = np.maximum(errors[key], np.where(np.isnan(error), np.inf, error))
    smallest = float(np.finfo(dtype).tiny)
    return {
        key: MARGIN * (errors[key] + smallest * np.sqrt(a[(0,) * ROWS[q]].size))
        for q, answers in right.items()
        for key, a in answers.items()
    }


def norms(a: Array, key: str) -> Array:
    """The norm of each row of an array under this key of a test vector."""
    return row_norms(a, ROWS[quantity_of(key)])


def scales(exact: Answers, quantity: str) -> Arrays:
    """The size of what each row is computed from: its own norm, or the norms of the terms that are subtracted."""
    if quantity == "loss":
        return {"loss": row_norms(exact.logits, 1) + np.abs(exact.loss)}
    if quantity == "bracket":
        return {f"bracket/{name}": row_norms(h, 2).sum(axis=1) for name, h in exact.hvp.items()}
    if quantity == "logit_delta":
        terms = mapped(lambda h: h.reshape(-1, *h.shape[2:]), exact.hvp)
        changes = exact.engine.push_forward(exact.problem, exact.problem.x_eval, terms)[1]
        return {"logit_delta": row_norms(changes, 1).reshape(-1, 2).sum(axis=1)}
    return {key: norms(a, key) for key, a in keyed(quantity, exact[quantity]).items()}


def trials(problem: Problem, dtype: Any, unit: float) -> Iterator[tuple[Answers, float]]:
    """The reference in this precision, on the inputs and on changed ones; each with a number that divides its error."""
    rng = np.random.default_rng(0)
    usual = replace(problem, model=with_layers(problem.model, _textbook), loss=textbook_loss(problem.loss_function))
    yield Answers(usual.astype(dtype)), 1.0
    for _ in range(TRIALS):
        yield Answers(_moved(usual, STEP * unit, rng).astype(dtype)), STEP


def _textbook(layer: Layer) -> Layer:
    if not isinstance(layer, Activation):
        return layer
    return replace(layer, function=TEXTBOOK_ACTIVATIONS.get(layer.function, layer.function))


def _moved(problem: Problem, unit: float, rng: np.random.Generator) -> Problem:
    """The problem with every number times 1 + unit · N(0, 1); zeros, and so exact ties of zeros, stay."""
    keys = ("params", "buffers", "x", *(() if problem.loss_function.labels else ("y",)), "x_eval")

    def moved(a: Array) -> Array:
        return a * (1 + unit * rng.standard_normal(a.shape))

    return replace(problem, **{key: mapped(moved, getattr(problem, key)) for key in keys})
