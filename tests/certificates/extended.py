"""Computes every output of a test vector twice in extended precision: by sweeps, and by autograd, reverse over reverse.

The two share no differentiation code, nor the definitions of the derivatives of any layer or loss.  Both round to 64
bits, so the digits to which they agree tell how far rounding, or an error in either, has gone.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from lie_ref.core.fields import hvp_reverse_over_reverse
from lie_ref.core.losses import LOSSES
from lie_ref.core.networks import Arrays
from lie_ref.oracle.problems import Solution, both_ways, by_definition, solve
from lie_ref.oracle.tolerance import ROWS, row_norms
from lie_ref.oracle.vectors import read_vector

from .multiprecision import Certificate

AVAILABLE = np.finfo(np.longdouble).nmant >= 63


def certify(path: str | PathLike[str]) -> Certificate:
    """How far the two derivations agree, and how far the file's values are from that by sweeps."""
    vector = read_vector(Path(path))
    problem = vector.astype(np.longdouble)
    found, other = solve(problem).outputs(), reverse_over_reverse(solve(problem)).outputs()
    return Certificate(
        values={key: a.astype(np.float64) for key, a in found.items()},
        agreement={key: float(-np.log10(max(_relative(key, other[key], a), 1e-30))) for key, a in found.items()},
        ulps={key: 2.0**53 * _relative(key, vector.outputs[key], a) for key, a in found.items()},
    )


def reverse_over_reverse(exact: Solution) -> Solution:
    """The answers by autograd from the definitions; products as gradients of ⟨gradient, direction⟩."""
    p, definition = exact.problem, LOSSES[exact.problem.loss].definition
    x, y = p.groups
    stages = by_definition(lambda params, inputs, mode: p.model.apply(params, p.buffers, inputs, mode), definition)

    def products(s: Solution) -> Arrays:
        def product(field: int, other: int) -> Arrays:
            def loss(params: Arrays) -> np.ndarray:
                return definition(p.model.apply(params, p.buffers, x[field], p.training), y[field]).mean()

            return hvp_reverse_over_reverse(loss, p.params, {name: g[other] for name, g in s["grad"].items()})

        return both_ways(p.pairs, product)

    return Solution(p, stages | {"hvp": products})


def _relative(key: str, a: np.ndarray, b: np.ndarray) -> float:
    """The largest ‖a − b‖ / ‖b‖ of any row; 0 where both are zero."""
    lead = ROWS[key.partition("/")[0]]
    error, size = row_norms(a - b, lead), row_norms(b, lead)
    return float(np.divide(error, size, out=np.where(error > 0, np.inf, 0.0), where=size > 0).max())
