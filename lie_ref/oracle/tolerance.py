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

from ..core.layers import Activation
from ..core.losses import LOSSES, LossFunction
from ..core.networks import Arrays, swapped, with_layers
from ..fast.dual import Array
from ..fast.engine import push_forward
from .problems import Problem, Solution, keyed, sweeping
from .textbook_formulas import STRAIGHTFORWARD_LOSSES, StraightforwardActivation

MARGIN = 128.0  # JAX's float32 Mish, compiled without optimization, is 51 times as far off as the trials
TRIALS = 3  # with moved inputs, besides the one without
# How many leading axes of a quantity number its rows, each of which is compared for itself
ROWS = {"logits": 1, "loss": 1, "grad": 1, "hvp": 2, "bracket": 1, "logit_delta": 1}


def allowed_errors(exact: Solution, quantities: Iterable[str], dtype: Any, bits: int | None = None) -> Arrays:
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
            for key, a in keyed(q, trial[q]).items():
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


def _scales(exact: Solution, quantity: str) -> Arrays:
    """The size of what each row is computed from: its own norm, or that of the terms whose difference it is."""
    problem, lead = exact.problem, ROWS[quantity]
    if quantity == "loss":
        return {"loss": row_norms(exact["logits"], 1) + np.abs(exact["loss"])}
    if quantity == "bracket":
        return {f"bracket/{name}": row_norms(h, 2).sum(axis=1) for name, h in exact["hvp"].items()}
    if quantity == "logit_delta":
        terms = {name: h.reshape(-1, *h.shape[2:]) for name, h in exact["hvp"].items()}
        changes = push_forward(problem.model, problem.params, problem.buffers, problem.x_eval, terms)
        return {"logit_delta": row_norms(changes, 1).reshape(-1, 2).sum(axis=1)}
    return {key: row_norms(a, lead) for key, a in keyed(quantity, exact[quantity]).items()}


def _trials(problem: Problem, dtype: Any, unit: float) -> Iterator[Solution]:
    """The reference in this precision, on the inputs and on moved ones."""
    rng = np.random.default_rng(0)
    model = with_layers(problem.model, swapped(Activation, StraightforwardActivation)) or problem.model
    problem = replace(problem, model=model)
    stages = _quietly(STRAIGHTFORWARD_LOSSES[problem.loss])
    yield Solution(problem.astype(dtype), stages)
    for _ in range(TRIALS):
        yield Solution(_moved(problem, unit, rng).astype(dtype), stages)


def _moved(problem: Problem, unit: float, rng: np.random.Generator) -> Problem:
    """Every number of the inputs times 1 + unit · N(0, 1); zeros, and so exact ties of zeros, stay."""

    def moved(a: Array) -> Array:
        return a * (1 + unit * rng.standard_normal(a.shape))

    return replace(
        problem,
        params={name: moved(p) for name, p in problem.params.items()},
        buffers={name: moved(b) for name, b in problem.buffers.items()},
        x=moved(problem.x),
        y=problem.y if LOSSES[problem.loss].labels else moved(problem.y),
        x_eval=moved(problem.x_eval),
    )


def _quietly(loss: LossFunction) -> dict[str, Any]:
    """The stages by sweeps, which may overflow where the precision is too low."""

    def quiet(stage: Any) -> Any:
        def run(solution: Solution) -> Any:
            with np.errstate(all="ignore"):
                return stage(solution)

        return run

    return {quantity: quiet(stage) for quantity, stage in sweeping(loss).items()}
